"""The command line, as somebody types it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rfm_recsys import __version__, cli
from rfm_recsys.datasets import synthetic_movielens
from rfm_recsys.evaluation import CANDIDATES

COMMAND = str(Path(sys.executable).with_name("rfm-recsys"))


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([COMMAND, *arguments], cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    data = synthetic_movielens(200, 80, 4000)
    rows = zip(data.users, data.items, data.values, strict=True)
    path = tmp_path / "ratings.csv"
    path.write_text("userId,movieId,rating\n" + "".join(f"{u},{i},{v}\n" for u, i, v in rows))
    return path


def test_compare_prints_a_table_and_writes_json_and_a_report(tmp_path: Path, ratings: Path) -> None:
    answer = run(tmp_path, "compare", "--dataset", str(ratings))
    assert answer.returncode == 0, answer.stderr
    result = json.loads((tmp_path / "compare.json").read_text())
    assert [row["model"] for row in result["models"]] == ["LinRFM", "ALS", "EASE", "ItemKNN-cosine", "Popularity"]
    for row in result["models"]:
        value = row["metrics"]["ndcg@100"]["mean"]
        assert 0 < value <= 1
        assert f"{value:.4f}".removeprefix("0") in answer.stdout
    assert result["data"]["name"] == "ratings.csv"
    page = (tmp_path / "compare.html").read_text()
    assert "LinRFM" in page
    assert result["data"]["sha256"] in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["compare.html", "compare.json", "ratings.csv"]
    assert "UserWarning" not in answer.stderr
    assert "ParameterWarning" not in answer.stderr


def test_models_tuning_seeds_and_output_can_be_chosen(tmp_path: Path, ratings: Path) -> None:
    answer = run(
        tmp_path, "compare", "--dataset", str(ratings), "--models", "ItemKNN-BM25, Popularity", "--tune",
        "--budget", "3", "--seeds", "2", "--output", "out.json",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    result = json.loads((tmp_path / "out.json").read_text())
    assert [len(run["trials"]) for run in result["models"][0]["runs"]] == [3, 3]
    assert result["tuning"]["trials"] == 3
    assert (tmp_path / "out.html").exists()


def test_a_published_split_is_recognised_with_and_without_a_validation_set(tmp_path: Path) -> None:
    data = synthetic_movielens(60, 40, 900).to_csr()
    lines = {"train": [], "test": []}  # type: dict[str, list[str]]
    for user in range(60):
        items = data.indices[data.indptr[user] : data.indptr[user + 1]].tolist()
        lines["test"].append(" ".join(map(str, [user, *items[::5]])))
        lines["train"].append(" ".join(map(str, [user, *(i for i in items if i not in items[::5])])))
    for part, text in lines.items():
        (tmp_path / f"{part}.txt").write_text("\n".join(text) + "\n")
    answer = run(tmp_path, "compare", "--dataset", ".", "--models", "LinRFM,BPR", "--tune", "--budget", "2")
    assert answer.returncode == 0, answer.stderr
    assert json.loads((tmp_path / "compare.json").read_text())["protocol"]["name"] == "gowalla-lightgcn"


def test_a_star_marks_the_better_end_of_a_metric_and_none_where_there_is_none(tmp_path: Path, ratings: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'title = "T"\ndataset = "synthetic"\nsplit = "leave_k_out"\nmetric = "ndcg@10"\n'
        'table = ["gini@10", "novelty@10"]\ncutoffs = [10]\n'
    )
    answer = run(
        tmp_path, "compare", "--dataset", "ratings.csv", "--protocol", "mine.toml", "--models", "ALS,Popularity"
    )
    assert answer.returncode == 0, answer.stderr
    als = next(line.split() for line in answer.stdout.splitlines() if line.strip().startswith("ALS "))
    assert als[1].endswith("*")
    assert not als[2].endswith("*")


def test_the_help_lists_all_models_and_protocols() -> None:
    assert cli.ALL.split(",") == [*CANDIDATES]
    protocols = Path(__file__).parents[1] / "evaluation" / "protocols"
    known = " ".join(run(Path.cwd(), "compare", "--help").stdout.replace("│", " ").split())
    assert all(path.stem in known for path in protocols.glob("*.toml"))


def test_the_version() -> None:
    assert run(Path.cwd(), "--version").stdout.strip() == __version__


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "no-such-file.csv"], "neither a data set nor a file"),
        (["--protocol", "no-such"], "there is no protocol"),
        (["--models", "LinRFM,SVD"], "there is no model 'SVD'"),
        (["--tune", "--budget", "none"], "budget is 'none'"),
        (["--budget", "10"], "pass --tune, too"),
        (["--output", "no-such-folder/out.json"], "cannot be written"),
        (["--output", "out.html"], "cannot be written"),
        (["--protocol", "gowalla-lightgcn", "--dataset", "synthetic"], "split already"),
        (["--dataset", "broken.csv"], "line 3"),
    ],
)
def test_errors_are_one_line_with_the_remedy_and_exit_status_2(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "broken.csv").write_text("userId,movieId,rating\n1,2,3\n1,3,x\n")
    answer = run(tmp_path, "compare", *arguments)
    assert answer.returncode == 2
    assert message in " ".join(answer.stderr.split())
    assert "Traceback" not in answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["broken.csv"]


def test_an_unfinished_run_of_another_comparison_is_not_overwritten(tmp_path: Path, ratings: Path) -> None:
    state = tmp_path / "compare.json.unfinished"
    state.write_text('"another"\n["a", 1]\n')
    answer = run(tmp_path, "compare", "--dataset", str(ratings), "--models", "Popularity")
    assert answer.returncode == 2
    assert "another comparison" in " ".join(answer.stderr.split())
    assert state.read_text() == '"another"\n["a", 1]\n'
