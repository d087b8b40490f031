"""The command line, as somebody types it."""

import errno
import inspect
import io
import json
import subprocess
import sys
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from places import ROOT
from scipy.sparse import csr_matrix

from rfm_recsys import LinRFM, __version__
from rfm_recsys.cli import COMMANDS
from rfm_recsys.cli.compare import _say_what_is_slow
from rfm_recsys.cli.fit import fit
from rfm_recsys.datasets import example_films, synthetic_movielens
from rfm_recsys.evaluation import CANDIDATES
from rfm_recsys.recommender import rounds as recommender_rounds
from rfm_recsys.recommender.blocks import CHOSEN
from rfm_recsys.recommender.rounds import low_rank_rounds
from rfm_recsys.tables import TableModel

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
    assert [row["model"] for row in result["models"]] == [
        "LinRFM", "ALS", "ALS (implicit's defaults)", "EASE", "ItemKNN-cosine", "Popularity"
    ]  # fmt: skip
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


def test_the_example_overwrites_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, "example", "made").returncode == 0
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["films.csv", "ratings.csv"]
    (tmp_path / "made" / "ratings.csv").unlink()
    answer = run(tmp_path, "example", "made")
    assert answer.returncode == 2
    assert "films.csv is there already; pass another folder" in answer.stderr
    assert not (tmp_path / "made" / "ratings.csv").exists()


def test_new_items_are_compared_by_their_features(tmp_path: Path) -> None:
    table, films = example_films(100, 60, 1500)
    table.to_csv(tmp_path / "ratings.csv", index=False)
    films.to_csv(tmp_path / "films.csv", index=False)
    how = ("compare", "--protocol", "cold-items", "--dataset", "ratings.csv")
    answer = run(tmp_path, *how)
    assert answer.returncode == 2
    assert "pass --item-table" in answer.stderr
    answer = run(tmp_path, *how, "--item-table", "films.csv")
    assert answer.returncode == 0, answer.stderr
    assert "features of items: title (a year), title (a text of" in answer.stdout
    result = json.loads((tmp_path / "compare.json").read_text())
    assert [row["model"] for row in result["models"]] == ["LinRFM", "ALS-features", "Popularity"]
    assert not any("error" in row for row in result["models"])


def test_what_is_slow_is_said_beforehand(capsys: Any) -> None:
    data = csr_matrix(([1.0], ([0], [19_999])), shape=(1, 20_000))
    _say_what_is_slow(["LinRFM", "EASE", "BPR"], (data, data))
    assert capsys.readouterr().out == "EASE takes about 240 s a fit here; --models leaves it out\n"
    _say_what_is_slow(["EASE"], (data[:, :1000],))
    assert capsys.readouterr().out == ""


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


def test_the_help_lists_all_commands_and_imports_none() -> None:
    program = (
        "import sys\nfrom rfm_recsys.cli import main\ntry: main()\nfinally: print({'numba', 'pandas'} & {*sys.modules})"
    )
    answer = subprocess.run([sys.executable, "-c", program, "--help"], capture_output=True, text=True, check=True)
    assert answer.stdout.endswith("set()\n")
    text = " ".join(answer.stdout.replace("│", " ").split())
    for name in COMMANDS:
        module = import_module(f"rfm_recsys.cli.{name}")
        assert f"{name} {getattr(module, name).__doc__.splitlines()[0]}" in text


def test_the_help_lists_all_models_and_protocols() -> None:
    protocols = ROOT / "evaluation" / "protocols"
    known = " ".join(run(Path.cwd(), "compare", "--help").stdout.replace("│", " ").split())
    assert all(path.stem in known for path in protocols.glob("*.toml"))
    assert f"Some of {', '.join(CANDIDATES)};" in known


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
        (["--output", "no-such-folder/out.json"], "no such folder"),
        (["--output", "out.html"], "pass --output with a .json file"),
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


# --- fit, recommend, similar, explain ---


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a folder with a table of 60 users, numbered from 1000, and 40 items, a to z and beyond, and its model."""
    folder = tmp_path_factory.mktemp("shop")
    data = synthetic_movielens(60, 40, 900)
    names = [f"{'abcdefghijklmnopqrstuvwxyz'[item % 26]}{item // 26 or ''}" for item in range(40)]
    bought = {"customer": data.users + 1000, "product": [names[item] for item in data.items], "stars": data.values}
    pd.DataFrame(bought).to_parquet(folder / "bought.parquet")
    answer = run(
        folder, "fit", "bought.parquet", "--model", "shop.rfm", "--user", "customer", "--item", "product",
        "--value", "stars", "--factors", "8",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert "60 users, 40 items, 900 interactions: fitted in" in " ".join(answer.stdout.split())
    assert answer.stderr == ""
    assert sorted(path.name for path in folder.iterdir()) == ["bought.parquet", "shop.rfm"]
    return folder


def test_recommend_prints_and_writes_the_lists_of_some_users(shop: Path, tmp_path: Path) -> None:
    expected = TableModel.load(shop / "shop.rfm").recommend([1042, 1007], N=3)
    arguments = ["recommend", str(shop / "shop.rfm"), "--user", "1042", "--user", "1007", "-N", "3"]
    pd.testing.assert_frame_equal(
        pd.read_csv(io.StringIO(run(tmp_path, *arguments).stdout), sep="\t"), expected, check_dtype=False
    )
    lines = [json.loads(line) for line in run(tmp_path, *arguments, "--json").stdout.splitlines()]
    pd.testing.assert_frame_equal(pd.DataFrame(lines), expected, check_dtype=False)
    readers: dict[str, Any] = {
        "some.csv": pd.read_csv, "some.parquet": pd.read_parquet, "some.jsonl": partial(pd.read_json, lines=True)
    }  # fmt: skip
    for name, read in readers.items():
        answer = run(tmp_path, *arguments, "--output", name)
        assert answer.returncode == 0, answer.stderr
        pd.testing.assert_frame_equal(read(tmp_path / name), expected, check_dtype=False)


def test_recommend_explores_and_shows_deviations(shop: Path, tmp_path: Path) -> None:
    model = TableModel.load(shop / "shop.rfm")
    expected = model.recommend(model.user_ids.tolist(), 3, return_std=True, explore="thompson", random_state=7)
    arguments = ["recommend", str(shop / "shop.rfm"), "-N", "3", "--std", "--explore", "thompson", "--seed", "7"]
    answer = run(tmp_path, *arguments, "--all", "--output", "all.parquet")
    assert answer.returncode == 0, answer.stderr
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "all.parquet"), expected, check_dtype=False)
    refused = run(tmp_path, *arguments, "--history", str(model.item_ids[0]))
    assert refused.returncode == 2
    assert "--std and --explore are for users of the table" in refused.stderr


def test_recommend_writes_the_lists_of_all_users(shop: Path, tmp_path: Path) -> None:
    answer = run(tmp_path, "recommend", str(shop / "shop.rfm"), "--all", "--output", "all.parquet", "--include-liked")
    assert answer.returncode == 0, answer.stderr
    assert answer.stderr == ""
    expected = TableModel.load(shop / "shop.rfm").recommend(filter_already_liked_items=False)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "all.parquet"), expected)


def test_similar_and_explain_print_what_the_model_says(shop: Path) -> None:
    model = TableModel.load(shop / "shop.rfm")
    score, shares = model.explain(1042, "c1", N=4)
    answer = run(shop, "explain", "shop.rfm", "--user", "1042", "--item", "c1", "-N", "4")
    assert f"item c1 scores {score:.4f} for user 1042" in answer.stderr
    printed = pd.read_csv(io.StringIO(answer.stdout), sep="\t")
    pd.testing.assert_frame_equal(printed[:4], shares, check_dtype=False)
    assert printed["item_id"][4] == f"({shares.attrs['others']} others)"
    assert printed["share"].sum() == pytest.approx(score, abs=1e-6)  # the lines add up

    printed = pd.read_csv(io.StringIO(run(shop, "similar", "shop.rfm", "--item", "c1", "-N", "4").stdout), sep="\t")
    pd.testing.assert_frame_equal(printed, model.similar("c1", 4), check_dtype=False)


def test_an_id_is_a_number_where_ids_are_numbers_and_else_a_string(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("user_id,item_id\n007,1\n007,2\n7,1\n8,3\n8,-4\n")
    fitted = run(tmp_path, "fit", "table.csv", "--factors", "full", "--no-checkpoint")
    assert fitted.returncode == 0, fitted.stderr
    answer = run(tmp_path, "explain", "model.rfm", "--user", "007", "--item", "-4")
    assert "item -4 scores" in answer.stderr
    assert {"1", "2"} < {*answer.stdout.split()}
    everything = run(tmp_path, "recommend", "model.rfm", "--user", "7", "-N", "9").stdout.split()
    assert {*everything} > {"2", "3", "-4"}


def test_a_foreign_file_in_the_place_of_the_checkpoint_is_refused_or_left_alone(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("user_id,item_id\nann,x\nann,y\nbob,x\n")
    (tmp_path / "model.rfm.checkpoint").write_text("mine")
    refused = run(tmp_path, "fit", "table.csv")
    assert refused.returncode == 2
    assert "is not a whole checkpoint file" in " ".join(refused.stderr.split())
    assert not (tmp_path / "model.rfm").exists()
    assert run(tmp_path, "fit", "table.csv", "--no-checkpoint").returncode == 0
    assert (tmp_path / "model.rfm.checkpoint").read_text() == "mine"


def test_a_full_disk_costs_no_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "table.csv").write_text("user_id,item_id\nann,x\nann,y\nbob,x\n")
    rounds = []

    def counted(*arguments: Any) -> Any:
        rounds.append(len(arguments[2]))
        return low_rank_rounds(*arguments)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(recommender_rounds, "low_rank_rounds", counted)
    with monkeypatch.context() as while_full:
        while_full.setattr(TableModel, "save", full)
        with pytest.raises(OSError, match="No space"):
            fit(str(tmp_path / "table.csv"), tmp_path / "model.rfm")
    fit(str(tmp_path / "table.csv"), tmp_path / "model.rfm")
    assert rounds == [2, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.rfm", "table.csv"]


def test_a_line_is_not_broken_where_it_is_not_read_on_a_terminal(tmp_path: Path) -> None:
    long = 30 * "long "
    (tmp_path / "table.csv").write_text(f"user_id,item_id\nann,{long}x\nann,{long}y\nbob,{long}x\n")
    assert run(tmp_path, "fit", "table.csv").returncode == 0
    assert f"{long}y\t" in run(tmp_path, "recommend", "model.rfm", "--user", "bob").stdout
    refused = run(tmp_path, "recommend", "model.rfm", "--user", long)
    assert len(refused.stderr.splitlines()) == 1


def test_a_user_who_has_everything_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("user_id,item_id\nann,x\nann,y\nbob,x\n")
    assert run(tmp_path, "fit", "table.csv").returncode == 0
    answer = run(tmp_path, "recommend", "model.rfm", "--user", "ann")
    assert answer.returncode == 0
    assert "no item is left" in answer.stdout


def test_the_options_of_fit_are_those_of_the_model_and_so_are_their_defaults() -> None:
    options = {name: option.default for name, option in inspect.signature(fit).parameters.items()}
    parameters = LinRFM().get_params()
    assert int(options["factors"]) == parameters["factors"]
    for name in CHOSEN:
        assert options[name] == parameters[name]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "no-such-file.csv"], "no-such-file.csv is neither a data set nor a file"),
        (["fit", "{bought}", "--model", "no-such-folder/shop.rfm"], "no such folder"),
        (["fit", "{bought}", "--user", "who"], "column 'who' stands 0 times"),
        (["fit", "{bought}", "--user", "customer", "--item", "thing"], "'thing' stands 0 times"),
        (["fit", "{bought}", "--factors", "many"], "factors is 'many'"),
        (["fit", "{bought}", "--alpha", "0"], "alpha is 0.0"),
        (["recommend", "no-such.rfm", "--user", "1042"], "there is no file no-such.rfm"),
        (["recommend", "{bought}", "--user", "1042"], "is not a whole table model file"),
        (["recommend", "{model}"], "pass either --user"),
        (["recommend", "{model}", "--all", "--user", "1042"], "pass either --user"),
        (["recommend", "{model}", "--all"], "pass --output with a .parquet, .csv or .jsonl file"),
        (
            ["recommend", "{model}", "--user", "1042", "--output", "a.txt"],
            "with a .parquet, .pq, .csv, .jsonl file",
        ),
        (["recommend", "{model}", "--all", "--output", "no-such-folder/all.parquet"], "no such folder"),
        (["recommend", "{model}", "--user", "1042", "--user", "9"], "user id '9' is not among the 60 known ones"),
        (["explain", "{model}", "--user", "1042", "--item", "42"], "item id '42' is not among the 40 known ones"),
        (["similar", "{model}", "--item", "A"], "item id 'A' is not among"),
    ],
)
def test_errors_around_models_are_one_line_with_the_remedy_and_exit_status_2(
    shop: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    paths = {"bought": shop / "bought.parquet", "model": shop / "shop.rfm"}
    answer = run(tmp_path, *(argument.format(**paths) for argument in arguments))
    assert answer.returncode == 2
    assert message in " ".join(answer.stderr.split())
    assert "Traceback" not in answer.stderr
    assert not [*tmp_path.iterdir()]


def test_a_table_of_items_is_taken_in_and_what_matters_is_printed_and_drawn(tmp_path: Path) -> None:
    plays = [(f"u{u}", i) for u in range(30) for i in range(12) if (u + i) % 2 == 0 and (u * i) % 5]
    pd.DataFrame(plays, columns=["user_id", "item_id"]).to_csv(tmp_path / "plays.csv", index=False)
    films = pd.DataFrame({"item_id": range(14), "genre": [["odd", "even"][i % 2] for i in range(14)]})
    films.to_csv(tmp_path / "films.csv", index=False)
    done = run(tmp_path, "fit", "plays.csv", "--item-table", "films.csv", "--model", "m.rfm", "--factors", "4")
    assert done.returncode == 0, done.stderr
    assert "features of items: genre (2 categories)" in done.stdout + done.stderr
    done = run(tmp_path, "recommend", "m.rfm", "--user", "u2", "-N", "20", "--json")
    best = [json.loads(line)["item_id"] for line in done.stdout.splitlines()]
    assert best.index(12) < best.index(13)  # nobody has met either
    done = run(tmp_path, "features", "m.rfm", "--plot", "weights.png", "--json")
    assert [json.loads(line)["feature"] for line in done.stdout.splitlines()] in (
        ["genre=even", "genre=odd"],
        ["genre=odd", "genre=even"],
    )
    assert (tmp_path / "weights.png").read_bytes().startswith(b"\x89PNG")
    done = run(tmp_path, "explain", "m.rfm", "--user", "u2", "--item", "12")
    assert "is from features of the item" in done.stdout + done.stderr
    done = run(tmp_path, "fit", "plays.csv", "--item-table", "none.csv", "--model", "n.rfm")
    assert done.returncode == 2
    assert "there is no file none.csv" in done.stderr
