"""Made-up films and their viewers: tables to try everything with, without a download."""

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rfm_recsys.core.checks import check_integer
from rfm_recsys.datasets.interactions import Interactions, from_frame
from rfm_recsys.errors import ParameterError

NAMES = (
    "ann", "bob", "cid", "dan", "eva", "fay", "gil", "hal", "ida", "jim", "kay", "leo", "mia", "ned", "oda", "pam",
    "rex", "sue", "tom", "uma", "val", "wes", "xia", "yan", "zoe", "abe", "bea", "cal", "dee", "eli", "flo", "gus",
    "hana", "ivo", "jan", "kim", "liv", "max", "nia", "oto", "per", "quin", "ros", "sam", "tia", "ugo", "vic", "wim",
    "yul", "zac",
)  # fmt: skip
WORDS = {
    "Action": ("Final Steel Double Burning", "Strike Chase Mission Barrage Target"),
    "Adventure": ("Lost Golden Distant Forbidden", "Voyage Island Summit Caravan River"),
    "Animation": ("Tiny Singing Paper Clockwork", "Dragon Toymaker Robot Fox Balloon"),
    "Comedy": ("Accidental Awkward Cheap Borrowed", "Wedding Roommates Holiday Landlord Cousin"),
    "Crime": ("Crooked Midnight Unsolved Patient", "Heist Alibi Detective Verdict Witness"),
    "Documentary": ("Real Hidden Last Living", "Glacier Orchestra Factory Harvest Archive"),
    "Drama": ("Quiet Broken Long Unspoken", "Letters House Winter Promise Daughter"),
    "Horror": ("Haunted Bleeding Silent Hollow", "Crypt Cellar Possession Scream Mirror"),
    "Romance": ("Second Stolen Parisian Almost", "Kiss Summer Rendezvous Heart Waltz"),
    "Sci-Fi": ("Electric Orbital Infinite Frozen", "Colony Signal Android Nebula Paradox"),
}
FIRST_YEAR, YEARS = 1960, 64
FOLLOWING = 1.0  # spread of what users think of a series
START = 1_600_000_000  # Unix seconds


def example_films(
    n_users: int = 600, n_films: int = 400, n_ratings: int = 30_000, random_state: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Generate ratings of made-up films, and a table of these films: the data of the guides and of the gallery.

    Viewers have tastes in genres and years, follow series, and agree on what is good; who rates what and how well
    follows these tastes and chance. The same seed gives the same tables. They show how things are done, and are no
    evidence for any model.

    Parameters
    ----------
    n_users, n_films, n_ratings : int
        At most half of all pairs are rated.
    random_state : int

    Returns
    -------
    ratings : DataFrame, columns user, film, rating (1 to 5), timestamp (Unix seconds), in order of time
        Users are names, films are numbers. A film that nobody has rated is not in it.
    films : DataFrame, columns film, title, genres, with a film a row
        Titles end in a year; genres are separated by a bar.

    Raises
    ------
    ParameterError
        Fewer than one of each, or more ratings than half of all pairs.

    Examples
    --------
    >>> from rfm_recsys.datasets import example_films
    >>> ratings, films = example_films()
    >>> len(ratings), len(films), ratings["user"].nunique()
    (30000, 400, 600)
    >>> films.columns.tolist()
    ['film', 'title', 'genres']
    """
    check_integer("n_users", n_users, 1)
    check_integer("n_films", n_films, 2)
    if not 1 <= check_integer("n_ratings", n_ratings, 1) <= n_users * n_films // 2:
        raise ParameterError(f"n_ratings is {n_ratings}; pass at most half of all pairs, {n_users * n_films // 2}")
    rng = np.random.default_rng(check_integer("random_state", random_state, 0))
    films, belongs, series = _films(n_films, rng)
    years = films["title"].str.extract(r"\((\d{4})\)$")[0].astype(int).to_numpy()
    n_genres = len(WORDS)
    taste = rng.normal(0, 1.8, (n_users, n_genres)) @ belongs.T
    era, patience = rng.normal(FIRST_YEAR + 0.7 * YEARS, 12, n_users), rng.uniform(5, 20, n_users)
    taste += 1 - np.abs(years - era[:, None]) / patience[:, None]
    taste += 0.6 * rng.normal(0, 1, (n_users, 4)) @ rng.normal(0, 1, (4, n_films)) / 2
    taste += rng.normal(0, FOLLOWING, (n_users, series.max() + 1))[:, series]
    quality = rng.normal(0, 0.5, n_films)
    fame = rng.normal(0, 0.6, n_films) + quality + 0.5 * belongs @ np.linspace(0.6, -0.6, n_genres)
    activity = np.exp(rng.normal(0, 0.8, n_users))
    keys = np.log(activity)[:, None] + fame + taste + rng.gumbel(size=taste.shape)
    pairs = np.sort(np.argpartition(-keys, n_ratings - 1, axis=None)[:n_ratings])
    user, film = np.divmod(pairs, n_films)
    said = 2.2 + quality[film] + 0.35 * taste[user, film] + rng.normal(0, 0.7, n_ratings)
    signed_up = rng.uniform(0, 3e7, n_users)
    ratings = pd.DataFrame(
        {
            "user": [_name(k) for k in user],
            "film": film + 1,
            "rating": np.clip(np.rint(said), 1, 5).astype(int),
            "timestamp": (START + signed_up[user] + rng.exponential(3e6, n_ratings)).astype(np.int64),
        }
    )
    return ratings.sort_values("timestamp", kind="stable", ignore_index=True), films


def described_films() -> Interactions:
    """Return the ratings of :func:`example_films`, with the features of the films."""
    from rfm_recsys.datasets.encoding import FeatureEncoder

    ratings, films = example_films()
    data = from_frame(ratings, "user", "film", "rating", "timestamp")
    films = films.set_index("film").loc[data.item_ids]
    return replace(data, item_features=FeatureEncoder.of(films).encode(films))


def _films(n: int, rng: np.random.Generator) -> tuple[pd.DataFrame, NDArray[np.float64], NDArray[np.intp]]:
    """Return the table of films, how far they belong to each genre, shape (n, genres), and the series of each."""
    names = [*WORDS]
    main, other = (rng.integers(len(names), size=n) for _ in range(2))
    both = (rng.random(n) < 0.5) & (main != other)
    belongs = np.zeros((n, len(names)))
    belongs[np.arange(n)[both], other[both]] = 0.5
    belongs[np.arange(n), main] = 1
    stems = []
    for k in main:
        adjectives, nouns = (words.split() for words in WORDS[names[k]])
        stems.append(f"{rng.choice(adjectives)} {rng.choice(nouns)}")
    years = pd.Series(FIRST_YEAR + np.floor(YEARS * rng.beta(3, 1.2, n)).astype(int))
    series = pd.Series(pd.factorize(np.array(stems))[0])
    part = series.groupby(series).cumcount() + 1
    years = years.groupby(series).transform(np.sort)  # the second part is the later one
    titles = [f"{stem}{f' {k}' if k > 1 else ''} ({year})" for stem, k, year in zip(stems, part, years, strict=True)]
    genres = [
        "|".join(sorted({names[a], names[b]} if two else {names[a]}))
        for a, b, two in zip(main, other, both, strict=True)
    ]
    return pd.DataFrame({"film": np.arange(n) + 1, "title": titles, "genres": genres}), belongs, series.to_numpy()


def _name(k: int) -> str:
    """Return the name of user k: ann, bob, ..., ann2, bob2, ..."""
    again, which = divmod(k, len(NAMES))
    return NAMES[which] + (str(again + 1) if again else "")
