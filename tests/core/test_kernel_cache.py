"""Compiled code is kept on disk where that is possible, shared between processes, and done without elsewhere."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from places import PACKAGE

WORK = """
import numpy as np
from rfm_recsys.core import kernels
A = np.arange(12, dtype=np.float32).reshape(4, 3)
print(kernels._add_partials.stats.cache_path, kernels.__file__)
print(kernels.symmetric_product(A, A, np.empty(0)).tolist())
"""
RESULT = "[[126.0, 144.0, 162.0], [144.0, 166.0, 188.0], [162.0, 188.0, 214.0]]"


def start(folder: Path, **environment: str) -> "subprocess.Popen[str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "XDG_"))}
    return subprocess.Popen(
        [sys.executable, "-c", WORK],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: "subprocess.Popen[str]") -> list[str]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out.splitlines()


def test_where_no_folder_can_be_written_every_process_compiles_for_itself(tmp_path: Path) -> None:
    copy = shutil.copytree(PACKAGE, tmp_path / "rfm_recsys", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in (copy, copy / "core"):
        (folder / "__pycache__").touch()  # a file where the folder would be: not even root can write into that
    nowhere = str(copy / "__pycache__" / "home")
    said, result = finish(start(tmp_path, HOME=nowhere, XDG_CACHE_HOME=nowhere))
    assert said == f"None {copy / 'core' / 'kernels.py'}"
    assert result == RESULT


def test_two_processes_at_once_share_one_empty_cache(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    both = [start(PACKAGE.parent, NUMBA_CACHE_DIR=str(cache)) for _ in range(2)]
    for process in both:
        said, result = finish(process)
        assert said.startswith(str(cache))
        assert result == RESULT
    assert list(cache.rglob("*partial_products*.nbc"))
