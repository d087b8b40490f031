"""MovieLens: downloaded, checked and cached, or read from a folder that the user already has.

The data belong to GroupLens. Their licence forbids redistribution and asks for a citation: Harper and Konstan, The
MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015.
"""

import io
import re
import zipfile
import zlib
from os import PathLike
from pathlib import Path

import pandas as pd

from rfm_recsys.core.extras import extra
from rfm_recsys.datasets.interactions import Interactions, from_frame
from rfm_recsys.datasets.reading import read_interactions
from rfm_recsys.errors import DataError, ParameterError

BASE_URL = "https://files.grouplens.org/datasets/movielens/"
CACHE_VARIABLE = "RFM_RECSYS_DATA"  # environment variable that overrides the folder of the cache

# the file to read, and the archive's published MD5; None: the sum that is served beside the archive
MOVIELENS: dict[str, tuple[str, str | None]] = {
    "100k": ("u.data", "0e33842e24a9c977be4e0107933c0723"),
    "latest-small": ("ratings.csv", None),
    "1m": ("ratings.dat", "c4d9eecfca2ab87c1945afe126590906"),
    "10m": ("ratings.dat", "ce571fd55effeba0271552578f2648bd"),
    "20m": ("ratings.csv", "cd245b17a1ae2cc31bb14903e1204af3"),
    "25m": ("ratings.csv", "6b51fb2759a8657d3bfcbfc42b592ada"),
    "32m": ("ratings.csv", None),
}
COLUMNS = ["userId", "movieId", "rating", "timestamp"]


def load_movielens(name: str, folder: str | PathLike[str] | None = None, progress: bool = True) -> Interactions:
    """Load a MovieLens data set: ids are GroupLens' own, values the ratings, timestamps Unix time in nanoseconds.

    The licence forbids redistribution and asks for a citation, see ``datasets/README.md``.

    Parameters
    ----------
    name : str
        "100k", "latest-small", "1m", "10m", "20m", "25m" or "32m".
    folder : path, optional
        The unpacked folder, or the zip, where the user has it. A re-export as ``ratings.csv`` or ``ratings.csv.gz``,
        with or without timestamps, is read too. Without it, the archive is downloaded once into the cache folder of
        the system, or into ``$RFM_RECSYS_DATA``.
    progress : bool
        Whether to show the download.

    Returns
    -------
    Interactions

    Raises
    ------
    ParameterError
        An unknown name.
    DataError
        No network, a wrong checksum (the download is deleted), a missing or empty file, a broken line.

    Examples
    --------
    >>> from rfm_recsys.datasets import load_movielens
    >>> data = load_movielens("100k")  # doctest: +SKIP
    """
    if name not in MOVIELENS:
        raise ParameterError(f"there is no MovieLens data set {name!r}; pass one of {', '.join(MOVIELENS)}")
    source = Path(folder) if folder is not None else _download(name, progress)
    wanted = MOVIELENS[name][0]
    if source.is_dir():
        for file in (wanted, "ratings.csv", "ratings.csv.gz"):
            if (source / file).is_file():
                return _read(source / file)
        raise DataError(f"there is no {wanted}, ratings.csv or ratings.csv.gz in {source}; pass the unpacked folder")
    try:
        with zipfile.ZipFile(source) as archive:
            member = next((m for m in archive.namelist() if Path(m).name == wanted), None)
            if member is None:
                raise DataError(f"there is no {wanted} in {source}; pass the archive of MovieLens {name}")
            return _parse(archive.read(member), wanted, f"{source}:{member}")
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{source} is no MovieLens folder or zip ({error}); pass the one from GroupLens") from error


def is_movielens(path: str | PathLike[str]) -> bool:
    """Whether there is a folder or a zip that holds one of GroupLens' files."""
    source, wanted = Path(path), {file for file, _ in MOVIELENS.values()}
    if source.is_dir():
        return any((source / file).is_file() for file in (*wanted, "ratings.csv.gz"))
    if not source.is_file() or not zipfile.is_zipfile(source):
        return False
    with zipfile.ZipFile(source) as archive:
        return any(Path(name).name in wanted and "/" in name for name in archive.namelist())


def _read(path: Path) -> Interactions:
    if path.name.startswith("ratings.csv"):
        return read_interactions(path)
    return _parse(path.read_bytes(), path.name, str(path))


def _parse(content: bytes, name: str, where: str) -> Interactions:
    """Read one of GroupLens' own formats: tabs (u.data), ``::`` (ratings.dat) or CSV."""
    if name == "ratings.dat":
        content = content.replace(b"::", b"\t")
    header = name == "ratings.csv"
    try:
        frame = pd.read_csv(
            io.BytesIO(content),
            sep="," if header else "\t",
            names=None if header else COLUMNS,
            index_col=False,
            skip_blank_lines=False,
        )
    except ValueError as error:  # pandas' parser errors name the line
        raise DataError(f"{where} cannot be read: {str(error).strip()}; download it again") from error
    frame.index = pd.RangeIndex(1 + header, len(frame) + 1 + header, name="line")
    bad = frame.apply(pd.to_numeric, errors="coerce").isna().any(axis=1).to_numpy()
    if bad.any():
        line = frame.index[bad.argmax()]
        raise DataError(f"{where}, line {line}: not user, movie, rating and timestamp; download it again")
    try:
        return from_frame(frame, user="userId", item="movieId", value="rating", timestamp="timestamp")
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _download(name: str, progress: bool) -> Path:
    with extra("datasets"):
        import pooch
    archive, checksum = f"ml-{name}.zip", MOVIELENS[name][1]
    fetcher = pooch.create(path=pooch.os_cache("rfm_recsys"), base_url=BASE_URL, registry={}, env=CACHE_VARIABLE)
    sums = fetcher.abspath / f"{archive}.md5"
    try:
        if checksum is None:
            pooch.retrieve(f"{BASE_URL}{sums.name}", None, sums.name, sums.parent)
            found = re.search(r"\b[0-9a-f]{32}\b", sums.read_text(), re.IGNORECASE)
            if found is None:
                raise ValueError(f"{sums.name} holds no MD5")
            checksum = found[0].lower()
        fetcher.registry[archive] = f"md5:{checksum}"
        return Path(fetcher.fetch(archive, progressbar=progress))
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong checksum is a ValueError
        sums.unlink(missing_ok=True)  # the sum itself may be the broken one
        raise DataError(
            f"{BASE_URL}{archive} cannot be had: {error}; check the network, or download it by hand and pass folder="
        ) from error
