"""Imports run one way, down a list of layers; what stands side by side does not import one another."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from places import PACKAGE, ROOT

import rfm_recsys

LAYERS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("core",),
    ("recommender", "completion", "ratings", "regression", "reranking"),  # the four algorithms, and a step after them
    ("als",),
    ("datasets",),
    ("tables",),
    ("evaluation", "distributed", "diagnosis"),
    ("paper",),
    ("report",),
    ("cli",),
)
LEVELS = {part: level for level, parts in enumerate(LAYERS) for part in parts}


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(file: Path) -> Iterator[str]:
    """Yield the parts of the package that a file imports."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.split(".")[1] for name in names if name.startswith("rfm_recsys."))


def test_imports_run_down_the_layers() -> None:
    faces = {"LinRFM": "recommender", "LinRFMRatings": "ratings", "complete": "completion", "Completion": "completion"}
    faces |= {"TableModel": "tables", "LinRFMRegressor": "regression"}
    for file in PACKAGE.rglob("*.py"):
        part = part_of(file)
        if part in ("__init__", "model", "recovery"):  # faces: the last two are former places of names
            continue
        for name in imports_of(file):
            other = faces.get(name, name)
            if other != "__version__":
                assert other == part or LEVELS[other] < LEVELS[part], f"{file} imports {other}"


def test_importing_the_package_needs_no_dask() -> None:
    program = (
        "import sys, rfm_recsys, rfm_recsys.tables, rfm_recsys.cli; print({'dask', 'distributed'} & {*sys.modules})"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "set()\n"


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == rfm_recsys.__version__
    assert f"version: {rfm_recsys.__version__}\n" in (ROOT / "CITATION.cff").read_text()
