"""Each extra on its own: what it is for works, and everything else says which extra it needs.

An environment is simulated: a process in which no package can be found but those that the extra brings.
"""

import json
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from places import ROOT

import rfm_recsys
from rfm_recsys.cli import COMMANDS, summary

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
FOR_DEVELOPERS = {"benchmarks", "docs", "test"}
PYTHON = {  # what a user writes, and the extra that it needs
    "from rfm_recsys import *": "",
    "from rfm_recsys import Completion, LinRFM, LinRFMRatings, complete": "",
    "from rfm_recsys import TableModel": "tables",
    "import rfm_recsys.tables": "tables",
    "import rfm_recsys.datasets": "tables",
    "from rfm_recsys import LinRFMRegressor": "regression",
    "import rfm_recsys.regression": "regression",
    "import rfm_recsys.evaluation": "evaluation",
    "import rfm_recsys.report.comparison": "evaluation",
    "import rfm_recsys.paper.experiments": "paper",
    "import rfm_recsys.distributed": "distributed",
}
LATER = [  # what finds only as it runs that it needs another extra, too
    ("tables", "from rfm_recsys.datasets import load; load('ml-1m')", "datasets"),
    ("tables", "from rfm_recsys.datasets import FeatureEncoder", "features"),
    ("evaluation", "from rfm_recsys.datasets import load; load('films')", "features"),
    ("cli", "command('fit', 'x', '--workers', '1')", "distributed"),
]
PROGRAM = """
import contextlib, importlib.machinery, io, json, sys

hidden, lines = json.load(sys.stdin)
Finder = importlib.machinery.PathFinder
find = Finder.find_spec
Finder.find_spec = lambda name, *more: None if name.split(".")[0] in hidden else find(name, *more)

def command(*arguments):
    from rfm_recsys.cli import main
    sys.argv = ["rfm-recsys", *arguments]
    main()

answers = []
for line in lines:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):
        try:
            exec(line)
        except ImportError as error:
            print(f"{type(error).__name__}: {error}")
        except SystemExit as error:
            print(f"status {error.code}")
    answers.append(out.getvalue())
print(json.dumps(answers))
"""


def included(extra: str) -> set[str]:
    """Return the extra and those that it includes."""
    ours = [requirement for requirement in map(Requirement, EXTRAS.get(extra, ())) if requirement.name == "rfm-recsys"]
    return {extra, ""}.union(*(included(name) for requirement in ours for name in requirement.extras))


def installed_with(extra: str) -> set[str]:
    """Return the distributions that are installed with an extra, and with what these require in turn."""
    names = set()
    pending = [Requirement(text) for each in included(extra) for text in EXTRAS.get(each, PROJECT["dependencies"])]
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        if (name, *requirement.extras) in names or name == "rfm-recsys":
            continue
        names.add((name, *requirement.extras))
        for needed in map(Requirement, metadata.requires(name) or ()):
            wanted = [{"extra": each} for each in ("", *requirement.extras)]
            if needed.marker is None or any(needed.marker.evaluate(each) for each in wanted):
                pending.append(needed)
    return {"rfm-recsys", *(name for name, *_ in names)}


def hint(extra: str) -> str:
    return f"install it with: pip install 'rfm-recsys[{extra}]'\n"


def answers(extra: str, lines: list[str], folder: Path) -> list[str]:
    """Return what each line of Python prints where only the packages of an extra are installed."""
    here = installed_with(extra)
    hidden = [
        module
        for module, names in metadata.packages_distributions().items()
        if not here & {canonicalize_name(name) for name in names}
    ]
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=json.dumps([hidden, lines]), capture_output=True, text=True, cwd=folder,
        check=True,
    )  # fmt: skip
    printed: list[str] = json.loads(answer.stdout)
    return printed


@pytest.mark.parametrize("extra", ["", *sorted(EXTRAS.keys() - FOR_DEVELOPERS)])
def test_an_extra_has_all_that_it_needs_and_the_rest_names_its_own(extra: str, tmp_path: Path) -> None:
    here = included(extra)
    python = {**PYTHON, **{line: needed for base, line, needed in LATER if base in here and needed not in here}}
    commands = {f"command('{name}', '--help')": needed for name, needed in COMMANDS.items()}
    help_text, *rest = answers(extra, ["command('--help')", *python, *commands], tmp_path)
    for name in COMMANDS:
        assert f"{name} {summary(name)}"[:40] in " ".join(help_text.replace("│", " ").split())
    for (line, needed), printed in zip((python | commands).items(), rest, strict=True):
        if needed not in here:
            assert hint(needed) in printed, line
            assert "MissingExtraError" in printed or printed.endswith("status 2\n"), line
            assert len(printed.splitlines()) <= 2, line
        elif line in commands:
            assert "Usage: rfm-recsys" in printed, line
        else:
            assert printed == "", line


def test_every_name_of_the_package_can_be_had_where_all_is_installed(tmp_path: Path) -> None:
    assert {"LinRFM", "LinRFMRegressor", "TableModel"} < {*dir(rfm_recsys)}
    assert not [name for name in dir(rfm_recsys) if getattr(rfm_recsys, name) is None]
    with pytest.raises(AttributeError, match="no attribute 'LinRMF'"):
        _ = rfm_recsys.LinRMF
    assert answers("", ["import rfm_recsys; print(dir(rfm_recsys))"], tmp_path) == [f"{sorted(rfm_recsys.__all__)}\n"]


def test_importing_the_models_imports_nothing_that_only_an_extra_brings() -> None:
    program = "import sys; from rfm_recsys import LinRFM, LinRFMRatings, complete; print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"pandas", "sklearn", "dask", "distributed", "implicit", "typer"} & {*answer.stdout.split()}
