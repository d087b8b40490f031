"""Every data set and file format that :func:`load` knows, for the command line and Python alike."""

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from scipy.sparse import csr_matrix

from rfm_recsys.core.wording import named
from rfm_recsys.datasets.films import described_films
from rfm_recsys.datasets.interactions import Interactions, read_lightgcn
from rfm_recsys.datasets.movielens import MOVIELENS, is_movielens, load_movielens
from rfm_recsys.datasets.reading import is_table, read_interactions
from rfm_recsys.datasets.synthetic import synthetic_movielens
from rfm_recsys.errors import DataError, ParameterError

Data = Interactions | tuple[csr_matrix, ...]


@dataclass(frozen=True)
class Source:
    """A data set or a file format.

    Attributes
    ----------
    shown : str
        What to pass, in the words of a help text.
    matches : function of a name or path
        Whether it means this source.
    read : function of a name or path, and options
        The options are those of :func:`read_interactions`, which only a table takes.
    """

    shown: str
    matches: Callable[[str], bool]
    read: Callable[..., Data]


def _read_published_split(folder: str) -> tuple[csr_matrix, ...]:
    train, validation, test = (Path(folder, f"{part}.txt") for part in ("train", "valid", "test"))
    return read_lightgcn(train, *([validation] if validation.is_file() else []), test)


def _read_movielens(path: str) -> Interactions:
    name = Path(path).stem.removeprefix("ml-")
    return load_movielens(name if name in MOVIELENS else "1m", path)


SOURCES = [  # the first that matches is read
    Source("'synthetic'", lambda name: name == "synthetic", lambda _: synthetic_movielens()),
    Source("'films'", lambda name: name == "films", lambda _: described_films()),
    Source(
        "a folder with train.txt and test.txt in LightGCN's format",
        lambda path: Path(path, "train.txt").is_file(),
        _read_published_split,
    ),
    Source("a MovieLens folder or zip", is_movielens, _read_movielens),
    Source(
        "a table: CSV and its kin, JSON lines, Parquet (a file or a folder)",
        lambda path: is_table(path) or Path(path).exists(),
        read_interactions,
    ),
    Source(
        f"ml-{', ml-'.join(MOVIELENS)}",
        lambda name: name.removeprefix("ml-") in MOVIELENS,
        lambda name: load_movielens(name.removeprefix("ml-")),
    ),
]


def load(dataset: str | PathLike[str], **options: Any) -> Data:
    """Load a data set by its name or path.

    Parameters
    ----------
    dataset : str or path
        "synthetic", a MovieLens name ("ml-100k", "ml-1m", ...), a file that :func:`read_interactions` reads, or a
        folder: of Parquet files, MovieLens, or ``train.txt``, ``test.txt`` and perhaps ``valid.txt`` in LightGCN's
        format.
    options
        Those of :func:`read_interactions`, for a table.

    Returns
    -------
    Interactions, or tuple of csr_matrix for a published split
        The parts of a split: train, validation if there is one, and test.

    Raises
    ------
    DataError
        There is no such data set or file, or it is broken.

    Examples
    --------
    >>> from rfm_recsys.datasets import load
    >>> load("synthetic").shape
    (6040, 3706)
    """
    name = fspath(dataset)
    for source in SOURCES:
        if source.matches(name):
            if options and source.read is not read_interactions:
                raise ParameterError(f"{named(next(iter(options)))} is for a table, and {name} is {source.shown}")
            return source.read(name, **options)
    *others, last = (source.shown for source in SOURCES)
    raise DataError(f"{name} is neither a data set nor a file; pass {', '.join(others)} or {last}")
