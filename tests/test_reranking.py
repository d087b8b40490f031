"""Re-ranking: every list against one that is made by hand, item by item."""

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from rfm_recsys.errors import DataError, ParameterError
from rfm_recsys.reranking import SMOOTHING, mix_of, rerank

LOWEST = np.finfo(np.float64).min
USERS, CANDIDATES, ITEMS = 25, 12, 40


def candidates(seed: int = 0) -> tuple[Any, Any]:
    """Make lists as recommend returns them: some end with items that are left out, and with -1."""
    rng = np.random.default_rng(seed)
    ids = np.array([rng.choice(ITEMS, CANDIDATES, replace=False) for _ in range(USERS)], dtype=np.int32)
    scores = -np.sort(-rng.random((USERS, CANDIDATES)), axis=1)
    scores[3, 9:], scores[4, 2:], ids[4, 5:] = LOWEST, LOWEST, -1
    return ids, scores


def by_hand(ids: Any, scores: Any, N: int, **how: Any) -> list[list[int]]:
    """Do what rerank does, user by user and in plain Python, but for most_lists."""
    unit: Any = how.get("vectors")
    unit = None if unit is None else unit / np.linalg.norm(unit, axis=1, keepdims=True)
    flags: Any = how.get("categories")
    most: int = how.get("most_of_a_category", 0)
    lists = []
    for user, (own_ids, own_scores) in enumerate(zip(ids, scores, strict=True)):
        left = [k for k in range(len(own_ids)) if own_ids[k] >= 0 and own_scores[k] > LOWEST]
        low, high = (f((own_scores[k] for k in left), default=0) for f in (min, max))
        listed: list[int] = []
        while left and len(listed) < N:
            values = {}
            for k in left:
                item = own_ids[k]
                of_item: Any = np.flatnonzero(flags[item]) if most else []
                if any(sum(flags[i][c] > 0 for i in listed) >= most for c in of_item):
                    continue
                relevance = (own_scores[k] - low) / (high - low if high > low else 1)
                value = (1 - how.get("variety", 0)) * relevance
                if how.get("variety") and listed:
                    value -= how["variety"] * max(unit[item] @ unit[i] for i in listed)
                if how.get("calibration"):
                    own = how["mix"][user] / max(how["mix"][user].sum(), 1e-300)
                    shares = [flags[i] / max(flags[i].sum(), 1e-300) for i in [*listed, item]]
                    mixed = (1 - SMOOTHING) * np.mean(shares, axis=0) + SMOOTHING * own
                    pairs = [(p, q) for p, q in zip(own, mixed, strict=True) if p > 0]
                    value -= how["calibration"] * sum(p * np.log(p / q) for p, q in pairs)
                values[k] = value
            if not values:
                break
            best = max(values, key=lambda k: (values[k], -k))
            listed.append(int(own_ids[best]))
            left.remove(best)
        lists.append(listed + [-1] * (N - len(listed)))
    return lists


def arrays() -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(5)
    flags = (rng.random((ITEMS, 4)) < 0.4).astype(float)
    mix = rng.random((USERS, 4))
    mix[2] = 0
    return rng.normal(size=(ITEMS, 3)), flags, mix


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"variety": 0.4},
        {"variety": 1.0},
        {"calibration": 0.5},
        {"most_of_a_category": 2},
        {"variety": 0.3, "calibration": 0.2, "most_of_a_category": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("N", [1, 6, 15])
def test_lists_are_those_made_by_hand(how: dict[str, Any], N: int) -> None:
    ids, scores = candidates()
    vectors, flags, mix = arrays()
    how = how | {"vectors": vectors, "categories": flags, "mix": mix}
    found, kept = rerank(ids, scores, N, **how)
    assert found.tolist() == by_hand(ids, scores, N, **how)
    given = [dict(zip(own.tolist(), row.tolist(), strict=True)) for own, row in zip(ids, scores, strict=True)]
    assert kept.tolist() == [
        [given[user][item] if item >= 0 else LOWEST for item in row] for user, row in enumerate(found.tolist())
    ]
    one, score = rerank(ids[3], scores[3], N, **(how | {"mix": mix[3]}))
    assert one.tolist() == found[3].tolist()
    assert score.tolist() == kept[3].tolist()


def test_without_a_wish_the_lists_are_cut() -> None:
    ids, scores = candidates()
    found, kept = rerank(ids, scores, 2)
    assert found[:4].tolist() == ids[:4, :2].tolist()
    assert kept[:4].tolist() == scores[:4, :2].tolist()
    assert rerank(ids, scores, 0)[0].shape == (USERS, 0)
    assert rerank(ids[:0], scores[:0], 3)[0].shape == (0, 3)
    assert rerank(ids[:, :0], scores[:, :0], 3)[0].tolist() == [[-1] * 3] * USERS


@pytest.mark.parametrize("most", [1, 2, 5])
def test_no_item_is_in_more_lists_and_who_values_it_most_has_it(most: int) -> None:
    ids, scores = candidates()
    found, _ = rerank(ids, scores, 4, most_lists=most)
    counts = np.bincount(found[found >= 0], minlength=ITEMS)
    assert counts.max() <= most
    for row in found:
        listed = row[row >= 0]
        assert len(set(listed.tolist())) == len(listed)
    # nobody waits for an item that has room, while the list has places
    for user in range(USERS):
        if (found[user] < 0).any():
            free = [
                i for i, s in zip(ids[user], scores[user], strict=True) if i >= 0 and s > LOWEST and counts[i] < most
            ]
            assert set(free) <= set(found[user].tolist())
    first = rerank(np.array([[7, 8], [7, 9]]), np.array([[0.5, 0.1], [0.9, 0.2]]), 1, most_lists=1)[0]
    assert first.tolist() == [[7], [9]] or first.tolist() == [[8], [7]]


def test_steps_compose() -> None:
    ids, scores = candidates()
    vectors, flags, _ = arrays()
    longer = rerank(ids, scores, 8, vectors=vectors, variety=0.5)
    assert rerank(*longer, 3, most_of_a_category=1, categories=flags)[0].shape == (USERS, 3)


def test_the_mix_of_users() -> None:
    rows = csr_matrix(np.array([[5.0, 1, 0], [0, 0, 2], [0, 0, 0]]))
    mix = mix_of(rows, np.array([[1, 0], [1, 1], [0, 1]]))
    np.testing.assert_allclose(mix, np.array([[0.75, 0.25], [0.0, 1.0], [0.0, 0.0]]))


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ({"variety": 0.1}, "variety is given without vectors; pass vectors, or leave variety out"),
        ({"variety": 2.0}, "variety is 2.0; pass a finite number at least 0 and at most 1"),
        ({"calibration": 1.0, "categories": np.eye(ITEMS)}, "calibration is given without mix"),
        ({"most_of_a_category": 1}, "most_of_a_category is given without categories"),
        ({"most_lists": 0}, r"most_lists is 0; pass an integer in 1\.\."),
    ],
)
def test_what_is_missing_or_out_of_bounds(how: dict[str, Any], match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        rerank(*candidates(), 3, **how)


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ({"vectors": np.ones((3, 2))}, "vectors are float64 of the shape"),
        ({"vectors": np.full((ITEMS, 2), np.nan)}, "a row of finite numbers an item"),
        ({"categories": -np.eye(ITEMS)}, "categories are float64"),
        ({"categories": np.eye(ITEMS), "mix": np.ones((2, ITEMS))}, r"mix has the shape \(2, 40\)"),
    ],
)
def test_arrays_that_do_not_fit(how: dict[str, Any], match: str) -> None:
    with pytest.raises(DataError, match=match):
        rerank(*candidates(), 3, **how)
    ids, scores = candidates()
    with pytest.raises(DataError, match="pass both as recommend returns them"):
        rerank(ids, scores[:, :3])
