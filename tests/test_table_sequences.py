"""Random sequences of what a service does with a TableModel: never a raw error, never a file that does not load.

``SEQUENCES=1000`` tries as many; by default, a few dozen.
"""

import os
import random
import warnings
from pathlib import Path
from typing import Any

import pandas as pd

from rfm_recsys import LinRFM, TableModel
from rfm_recsys.errors import RfmRecsysError

SEQUENCES = int(os.environ.get("SEQUENCES", "40"))
GIVEN: dict[str, Any] = {
    "regularization": 4.0,
    "alpha": 7.0,
    "iterations": 1,
    "power": 0.35,
    "item_norm": 0.8,
    "user_norm": 0.8,
}


def rows(rng: random.Random, name: Any, most: int) -> pd.DataFrame:
    n = rng.randrange(1, 30)
    table: dict[str, Any] = {
        "user": [name(rng.randrange(most)) for _ in range(n)],
        "item": [name(rng.randrange(most // 2 + 1)) for _ in range(n)],
    }
    if rng.random() < 0.6:
        table["value"] = [rng.choice((1, 2, 5, 0, -1, 0.5, 1e4)) for _ in range(n)]
    if rng.random() < 0.3:
        table["timestamp"] = [rng.randrange(10**9) for _ in range(n)]
    return pd.DataFrame(table)


def test_random_sequences(tmp_path: Path) -> None:
    """Errors are ours, and say what to do; the model answers on as before them."""
    refused: dict[str, int] = {}
    shared = LinRFM(4, **GIVEN)
    for seed in range(SEQUENCES):
        rng = random.Random(seed)
        name = rng.choice([lambda k: k, lambda k: f"n{k}", lambda k: k + 0.5])
        model: TableModel | None = None
        given = rng.choice([shared, LinRFM(3, **GIVEN), LinRFM(None, **GIVEN)])
        for _ in range(12):
            action = rng.choice(["fit", "update", "known", "all", "history", "unknown", "save", "similar", "explain"])
            if model is None:
                action = "fit"
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    model = act(action, rng, name, model, given, tmp_path / f"{seed}.rfm")
            except RfmRecsysError as error:
                reason = f"{action}: {type(error).__name__}: {str(error)[:40]}"
                refused[reason] = refused.get(reason, 0) + 1
        if model is not None:
            model.save(tmp_path / f"{seed}.rfm")
            loaded = TableModel.load(tmp_path / f"{seed}.rfm")
            pd.testing.assert_frame_equal(loaded.recommend(), model.recommend())
    print(refused)
    assert sum(refused.values()) < SEQUENCES * 4


def act(action: str, rng: random.Random, name: Any, model: Any, given: LinRFM, path: Path) -> TableModel:
    if action == "fit":
        duplicates = rng.choice(["last", "sum"])
        return TableModel.from_table(rows(rng, name, 12), given, show_progress=False, duplicates=duplicates)
    assert isinstance(model, TableModel)
    if action == "update":
        model.update(rows(rng, name, rng.choice((12, 20))), duplicates=rng.choice(["last", "sum"]))
    elif action == "known":
        users = rng.choices(model.user_ids.tolist(), k=3)
        lists = model.recommend(users, N=rng.randrange(9), filter_items=[name(1)])
        assert name(1) not in lists["item_id"].tolist()
    elif action == "all":
        lists = model.recommend(N=50)
        coo = model.user_items.tocoo()
        has = set(zip(model.user_ids[coo.row].tolist(), model.item_ids[coo.col].tolist(), strict=True))
        assert not has & set(zip(lists["user_id"].tolist(), lists["item_id"].tolist(), strict=True))
    elif action == "history":
        known = rng.choice(model.item_ids.tolist())
        lists = model.recommend_for([known, name(99)], N=5)
        assert known not in lists["item_id"].tolist()
        assert lists.attrs["unknown_items"] == [name(99)]
    elif action == "unknown":
        wanted = [name(77), *model.user_ids.tolist()[:2]]
        lists = model.recommend(wanted, N=3, unknown=rng.choice(["popular", "skip", "error"]))
        assert lists.attrs["unknown_users"] == [name(77)]
    elif action == "save":
        model.save(path)
        return TableModel.load(path)
    elif action == "similar":
        model.similar(rng.choice(model.item_ids.tolist()), 5, rng.randrange(3))
    else:
        model.explain(rng.choice(model.user_ids.tolist()), rng.choice(model.item_ids.tolist()), 3)
    return model
