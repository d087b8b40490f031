"""Runs fuzz.py in a process of its own, so that a crash of the interpreter or a hang is a failing test."""

import os
import re
import subprocess
import sys
from pathlib import Path

from places import ROOT, TESTS

SCALE = int(os.environ.get("RFM_FUZZ", "1"))


def test_hostile_arguments_are_answered_or_refused_and_never_crash(tmp_path: Path) -> None:
    command = [sys.executable, "-X", "faulthandler", "-m", "pytest", "-s", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*command, str(TESTS / "fuzz.py"), "--rootdir", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(ROOT)])},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300 * SCALE,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-20_000:]
    counts = {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", run.stdout.split("FUZZ")[1])}
    print(counts)
    assert counts["cases"] >= 1000 * SCALE
    assert counts["runs"] >= 12 * SCALE
    assert counts["answered"] > counts["refused"] / 2 > 0
