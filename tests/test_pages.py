"""Every Python and shell block of the README and the pages runs as it is printed, page by page, in an empty folder."""

import os
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
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


def _pages_script() -> Any:
    spec = spec_from_file_location("pages", ROOT / "benchmarks" / "pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_numbers_are_those_of_the_result_files() -> None:
    script = _pages_script()
    regions = 0
    for path in PAGES:
        text = path.read_text()
        assert script.rendered(text) == text, f"{path.name} is not what the results say: python benchmarks/pages.py"
        regions += len(script.REGION.findall(text))
    assert regions >= len(script.REGIONS)


def test_the_readme_has_no_measured_number_of_its_own() -> None:
    text = _pages_script().REGION.sub("", (ROOT / "README.md").read_text())
    prose = re.sub(r"```.*?```|\(http[^)]*\)|\[arXiv [^]]*\]|`[^`]*`", "", text, flags=re.DOTALL)
    assert not re.findall(r"(?<![\w.])\.\d+|\d+\.\d+ s\b|\d%", prose.replace("95% interval", "").replace("3.11", ""))


def test_links_of_the_readme_lead_to_files() -> None:
    links = re.findall(
        r"\]\((?!http)([^)#]+)", (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    )
    assert links
    assert all((ROOT / link).exists() for link in links)
