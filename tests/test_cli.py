import json
from pathlib import Path

from typer.testing import CliRunner

from rfm_recsys.cli import app
from rfm_recsys.datasets import synthetic_movielens


def test_compare_writes_a_complete_result(tmp_path: Path) -> None:
    data = synthetic_movielens(200, 80, 4000)
    rows = zip(data.users, data.items, data.values, strict=True)
    table = tmp_path / "ratings.csv"
    table.write_text("userId,movieId,rating\n" + "".join(f"{u},{i},{v}\n" for u, i, v in rows))
    output = tmp_path / "result.json"
    answer = CliRunner().invoke(app, ["compare", "--dataset", str(table), "--output", str(output)])
    assert answer.exit_code == 0, answer.output
    models = json.loads(output.read_text())["models"]
    assert [model["model"] for model in models] == ["LinRFM", "Popularity", "ALS (implicit)", "EASE"]
    assert all(0 < model["N@100"] <= 1 for model in models)
