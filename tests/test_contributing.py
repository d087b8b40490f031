"""CONTRIBUTING.md is right: a copy of the package with what it adds compares models with all of it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import PACKAGE, ROOT

pytest.importorskip("optuna", reason="the extra 'evaluation' is not installed")
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
APPENDED = {
    "A metric": "evaluation/metrics.py",
    "A baseline": "evaluation/candidates.py",
    "A split": "evaluation/splits.py",
    "A data set": "datasets/catalogue.py",
    "A kernel": "core/kernels.py",
}


def block(heading: str) -> str:
    section = PAGE.split(f"### {heading}\n")[1]
    found = re.search(r"```(?:python|toml)\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a copy of the package to which the page's blocks are added."""
    folder = tmp_path_factory.mktemp("contributing")
    package = shutil.copytree(PACKAGE, folder / "rfm_recsys", ignore=shutil.ignore_patterns("__pycache__"))
    for heading, name in APPENDED.items():
        with (package / name).open("a") as file:
            file.write("\n\n" + block(heading))
    candidates = package / "evaluation" / "candidates.py"
    candidates.write_text("import numpy as np\n" + candidates.read_text())
    (package / "evaluation" / "protocols").mkdir()
    (package / "evaluation" / "protocols" / "third.toml").write_text(block("A protocol"))
    (package / "cli" / "hello.py").write_text(block("A command"))
    commands = package / "cli" / "__init__.py"
    commands.write_text(commands.read_text().replace('    "fit": "cli",\n', '    "fit": "cli",\n    "hello": "cli",\n'))
    return folder


def run(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    answer = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


MAIN = "from rfm_recsys.cli import main; main()"


def test_a_comparison_uses_what_the_page_adds(copy: Path) -> None:
    out = run(
        copy, "-c", MAIN, "compare", "--protocol", "third", "--models", "Popularity,AnyItems", "--tune", "--budget", "2"
    )
    result = json.loads((copy / "compare.json").read_text())
    assert (result["data"]["name"], result["data"]["users"]) == ("tiny", 120)
    assert [row["model"] for row in result["models"]] == ["Popularity", "AnyItems"]
    assert all(0 < row["metrics"]["last_hit@10"]["mean"] <= 10 for row in result["models"])
    assert "last hit@10" in out
    page = (copy / "compare.html").read_text()
    assert "The place of the last held-out item among the first k." in page


def test_the_command_is_listed_and_runs(copy: Path) -> None:
    assert re.search(r"hello\s+Say hello\.", run(copy, "-c", MAIN, "--help"))
    assert run(copy, "-c", MAIN, "hello", "--name", "ann") == "hello ann\n"


def test_the_kernel_runs(copy: Path) -> None:
    program = "import numpy as np; from rfm_recsys.core import kernels; "
    program += "print(kernels.row_sums(np.array([0, 2, 2, 3]), np.array([1.0, 2.0, 4.0])).tolist())"
    assert run(copy, "-c", program) == "[3.0, 0.0, 4.0]\n"
