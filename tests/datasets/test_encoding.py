"""Columns of a table as features."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from rfm_recsys.datasets import FeatureEncoder
from rfm_recsys.errors import DataError

N = 40


def encoder_of(**columns: Any) -> FeatureEncoder:
    return FeatureEncoder.of(pd.DataFrame(columns))


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (np.arange(N), ["c"]),
        ([str(k) for k in range(N)], ["c"]),
        ([None, *range(1, N)], ["c"]),
        ([True, False] * (N // 2), ["c"]),
        (["rock", "pop"] * (N // 2), ["c=pop", "c=rock"]),
        (["a|b", "b|d"] * (N // 2), ["c=a", "c=b", "c=d"]),
        ([["a", "b"], ["b"]] * (N // 2), ["c=a", "c=b"]),
        ([[0.5, 1.0, 2.0]] * N, ["c[0]", "c[1]", "c[2]"]),
        (pd.date_range("1990-01-01", periods=N, freq="YS"), ["c: year"]),
        ([f"0{1 + k % 9}-Jan-{1960 + k}" for k in range(N)], ["c: year"]),
        ([f"Film number {k} ({1960 + k})" for k in range(N)], ["c: year", "c=film", "c=number"]),
        ([f"the story of {k}x" for k in range(N)], ["c=of", "c=story", "c=the"]),
        (pd.Categorical(["x", "y"] * (N // 2)), ["c=x", "c=y"]),
    ],
)
def test_what_a_column_is(values: Any, names: list[str]) -> None:
    assert encoder_of(c=values).names == names


@pytest.mark.parametrize("values", [[1] * N, [None] * N, [f"http://a.b/{k}" for k in range(N)], [""] * N])
def test_a_column_that_says_nothing_is_left_out(values: list[Any]) -> None:
    with pytest.raises(DataError, match="in common"):
        encoder_of(c=values)
    assert encoder_of(c=values, d=np.arange(N)).names == ["d"]


def test_numbers_that_are_missing_are_the_mean_and_further_rows_are_encoded_alike() -> None:
    films = pd.DataFrame({"price": [1.0, 3.0, None], "genre": ["a|b", "b", "a"], "title": ["x y", "y z", "z x"]})
    encoder = FeatureEncoder.of(films)
    assert encoder.encode(films)[:, 0].toarray().ravel().tolist() == [1, 3, 2]
    new = pd.DataFrame({"title": ["x unheard-of", None], "genre": [None, "b|c"], "price": ["free", 7]})
    rows = encoder.encode(new).toarray()
    assert rows[:, encoder.names.index("price")].tolist() == [2, 7]
    assert rows[1, encoder.names.index("genre=b")] == 1
    assert not rows[0, encoder.names.index("genre=a")]
    assert np.isfinite(rows).all()
    again = FeatureEncoder.from_json(encoder.to_json())
    assert again == encoder
    assert (again.encode(new) != encoder.encode(new)).nnz == 0


def test_columns_are_chosen_by_name_and_shown() -> None:
    films = pd.DataFrame({"price": [1.0, 3.0], "genre": ["a", "a"], "year": [1999, 2001]})
    assert str(FeatureEncoder.of(films, ["year", "genre"])) == "year (a number), genre (1 categories)"
    with pytest.raises(DataError, match="no column 'prize'"):
        FeatureEncoder.of(films, ["prize"])
    with pytest.raises(DataError, match="no column 'price'"):
        FeatureEncoder.of(films, ["price"]).encode(films[["year"]])
