"""The made-up films: as they are promised, and such that features of films tell something."""

import re

import numpy as np
import pandas as pd
import pytest

from rfm_recsys.datasets import Interactions, example_films, load
from rfm_recsys.errors import ParameterError


def test_the_tables_are_as_promised() -> None:
    ratings, films = example_films()
    assert ratings.columns.tolist() == ["user", "film", "rating", "timestamp"]
    assert (len(ratings), len(films)) == (30_000, 400)
    assert {*ratings["rating"]} == {1, 2, 3, 4, 5}
    assert not ratings.duplicated(["user", "film"]).any()
    assert ratings["timestamp"].is_monotonic_increasing
    assert ratings["film"].isin(films["film"]).all()
    assert films["title"].is_unique
    assert films["title"].map(lambda title: re.fullmatch(r".+ \(\d{4}\)", title) is not None).all()


def test_a_seed_gives_the_same_tables_and_another_one_others() -> None:
    same = zip(example_films(), example_films(), strict=True)
    assert all(left.equals(right) for left, right in same)
    assert not example_films()[0].equals(example_films(random_state=1)[0])


def test_a_later_part_of_a_series_is_no_older() -> None:
    _, films = example_films()
    parts = films["title"].str.extract(r"^(\D+?)(?: (\d+))? \((\d{4})\)$")
    parts = pd.DataFrame({"stem": parts[0], "part": parts[1].fillna("1").astype(int), "year": parts[2].astype(int)})
    assert parts.sort_values(["stem", "part"]).groupby("stem")["year"].is_monotonic_increasing.all()


def test_people_like_what_is_of_their_genres() -> None:
    ratings, films = example_films()
    genre = films.set_index("film")["genres"].str.split("|").str[0].loc[ratings["film"]].to_numpy()
    shares = pd.crosstab(ratings["user"], genre, normalize="index")
    by_chance = np.sqrt(shares.mean() * (1 - shares.mean()) / 50)
    assert (shares.std() > 1.3 * by_chance).all()


@pytest.mark.parametrize("sizes", [(10, 20, 101), (0, 20, 1), (10, 1, 1), (10, 20, 0)])
def test_sizes_out_of_bounds_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ParameterError, match="pass"):
        example_films(*sizes)


def test_the_data_set_has_the_features_of_its_films() -> None:
    data = load("films")
    assert isinstance(data, Interactions)
    assert data.item_features is not None
    assert data.item_features.shape[0] == data.shape[1]
