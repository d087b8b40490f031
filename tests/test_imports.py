"""Imports run one way: cli -> paper, tables, evaluation, datasets -> the models -> completion -> agop -> kernels."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "rfm_recsys"
FORBIDDEN = {
    "kernels.py": {"agop", "completion", "model", "validation", "errors", "datasets", "evaluation", "cli"},
    "agop.py": {"completion", "model", "datasets", "evaluation", "cli"},
    "completion.py": {"model", "datasets", "evaluation", "cli"},
    "recovery.py": {"model", "datasets", "evaluation", "tables", "paper", "cli"},
    "model.py": {"datasets", "evaluation", "tables", "cli"},
    "ratings.py": {"model", "datasets", "evaluation", "tables", "paper", "cli"},
    "tables.py": {"evaluation", "cli"},
    "regression.py": {"model", "datasets", "evaluation", "tables", "paper", "cli"},
    "paper": {"model", "tables", "cli"},
    "datasets": {"model", "completion", "agop", "kernels", "evaluation", "tables", "cli"},
    "evaluation": {"model", "completion", "agop", "kernels", "tables", "cli"},
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
