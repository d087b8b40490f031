"""Every data set and file format that :func:`load` knows, for the command line and Python alike."""

from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path

from scipy.sparse import csr_matrix

from rfm_recsys.datasets.interactions import Interactions, read_interactions, read_lightgcn
from rfm_recsys.datasets.movielens import MOVIELENS, load_movielens
from rfm_recsys.datasets.synthetic import synthetic_movielens
from rfm_recsys.errors import DataError

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
    read : function of a name or path
    """

    shown: str
    matches: Callable[[str], bool]
    read: Callable[[str], Data]


def _read_published_split(folder: str) -> tuple[csr_matrix, ...]:
    train, validation, test = (Path(folder, f"{part}.txt") for part in ("train", "valid", "test"))
    return read_lightgcn(train, *([validation] if validation.is_file() else []), test)


def _read_movielens(path: str) -> Interactions:
    name = Path(path).stem.removeprefix("ml-")
    return load_movielens(name if name in MOVIELENS else "1m", path)


SOURCES = [  # the first that matches is read
    Source("'synthetic'", lambda name: name == "synthetic", lambda _: synthetic_movielens()),
    Source(
        "a folder with train.txt and test.txt in LightGCN's format",
        lambda path: Path(path, "train.txt").is_file(),
        _read_published_split,
    ),
    Source(
        "a MovieLens folder or zip",
        lambda path: Path(path).is_dir() or Path(path).suffix == ".zip",
        _read_movielens,
    ),
    Source("a CSV or Parquet file", lambda path: Path(path).is_file(), read_interactions),
    Source(
        f"ml-{', ml-'.join(MOVIELENS)}",
        lambda name: name.removeprefix("ml-") in MOVIELENS,
        lambda name: load_movielens(name.removeprefix("ml-")),
    ),
]


def load(dataset: str | PathLike[str]) -> Data:
    """Load a data set by its name or path.

    Parameters
    ----------
    dataset : str or path
        "synthetic", a MovieLens name ("ml-100k", "ml-1m", ...), a CSV or Parquet file, or a folder: MovieLens, or
        ``train.txt``, ``test.txt`` and perhaps ``valid.txt`` in LightGCN's format.

    Returns
    -------
    Interactions, or tuple of csr_matrix for a published split
        The parts of a split: train, validation if there is one, and test.

    Raises
    ------
    DataError
        There is no such data set or file, or it is broken.
    """
    name = fspath(dataset)
    for source in SOURCES:
        if source.matches(name):
            return source.read(name)
    *others, last = (source.shown for source in SOURCES)
    raise DataError(f"{name} is neither a data set nor a file; pass {', '.join(others)} or {last}")
