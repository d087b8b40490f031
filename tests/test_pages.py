"""Every Python and shell block of the README and the pages runs as it is printed, page by page, in an empty folder."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from places import ROOT

pytest.importorskip("sybil", reason="the extra 'test' is not installed")
pytest.importorskip("distributed", reason="the extra 'distributed' is not installed")
from unittest import SkipTest

from sybil import Document, Example, Sybil
from sybil.parsers.markdown import CodeBlockParser, SkipParser

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
GUARD = 'if __name__ == "__main__":'  # of what starts processes that import it


def run_python(example: Example) -> None:
    """Run a block in the namespace of its page, or as a script where it says that it is one."""
    if GUARD in example.parsed:
        Path("script.py").write_text(example.parsed)
        _run([sys.executable, "script.py"])
        return
    padded = "\n" * (example.line + example.parsed.line_offset) + example.parsed
    exec(compile(padded, example.path, "exec", dont_inherit=True), example.namespace)


def run_shell(example: Example) -> None:
    _run(["bash", "-euo", "pipefail", "-c", example.parsed])


def run_diff(example: Example) -> None:
    """Run what a script is after the change, and before it, too."""
    for old, new in (("-", "+"), ("+", "-")):
        lines = [line for line in example.parsed.splitlines() if not line.startswith(old)]
        exec("\n".join(line.removeprefix(new).removeprefix(" ") for line in lines), {})


def _run(command: list[str]) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    answer = subprocess.run(command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


SYBIL = Sybil(
    parsers=[
        CodeBlockParser("python", run_python),
        CodeBlockParser("sh", run_shell),
        CodeBlockParser("diff", run_diff),
        SkipParser(),
    ]
)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    document: Any = SYBIL.parse(path)
    assert isinstance(document, Document)
    for example in document.examples():
        try:
            example.evaluate()
        except SkipTest:  # a block says why it is not run
            continue
