"""Imports run one way: cli -> paper, distributed -> tables, evaluation, datasets -> the models -> ... -> kernels."""

import ast
import subprocess
import sys

import pytest
from places import PACKAGE

FORBIDDEN = {
    "kernels.py": {
        "agop",
        "completion",
        "model",
        "validation",
        "errors",
        "datasets",
        "evaluation",
        "cli",
        "distributed",
    },
    "agop.py": {"completion", "model", "datasets", "evaluation", "cli", "distributed"},
    "completion.py": {"model", "datasets", "evaluation", "cli", "distributed"},
    "recovery.py": {"model", "datasets", "evaluation", "tables", "paper", "cli", "distributed"},
    "model.py": {"datasets", "evaluation", "tables", "cli", "distributed"},
    "ratings.py": {"model", "datasets", "evaluation", "tables", "paper", "cli", "distributed"},
    "tables.py": {"evaluation", "cli", "distributed"},
    "regression.py": {"model", "datasets", "evaluation", "tables", "paper", "cli", "distributed"},
    "paper": {"model", "tables", "cli", "distributed"},
    "distributed": {"evaluation", "paper", "cli"},
    "datasets": {"model", "completion", "agop", "kernels", "evaluation", "tables", "cli", "distributed"},
    "evaluation": {"model", "completion", "agop", "kernels", "tables", "cli", "distributed"},
}


@pytest.mark.parametrize("part", FORBIDDEN)
def test_imports_run_one_way(part: str) -> None:
    files = [PACKAGE / part] if part.endswith(".py") else sorted((PACKAGE / part).glob("*.py"))
    assert files
    files = [file for file in files if file.name != "candidates.py"]  # the list of models by name
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if "rfm_recsys" in names and isinstance(node, ast.ImportFrom):
                names += [f"rfm_recsys.{alias.name}" for alias in node.names]
                assert not any(alias.name == "LinRFM" for alias in node.names), file
            ours = {name.split(".")[1] for name in names if name.startswith("rfm_recsys.")}
            assert not ours & FORBIDDEN[part], file


def test_importing_the_package_needs_no_dask() -> None:
    program = (
        "import sys, rfm_recsys, rfm_recsys.tables, rfm_recsys.cli; print({'dask', 'distributed'} & {*sys.modules})"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "set()\n"
