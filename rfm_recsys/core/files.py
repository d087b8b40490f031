"""Files and folders written whole, or not at all."""

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import IO

from rfm_recsys.core.checks import shown
from rfm_recsys.core.wording import option
from rfm_recsys.errors import ParameterError, ParameterTypeError

PathOrFile = str | os.PathLike[str] | IO[bytes]


def check_target(target: str | os.PathLike[str]) -> Path:
    """Return the path of a file to write; raises ParameterError or OSError at once for one that cannot be written."""
    try:
        path = Path(target)
        named = bool(path.name) and b"\0" not in os.fsencode(path)
    except TypeError as error:
        raise ParameterTypeError(f"{shown(target)} is no path; pass the path of a file to write") from error
    except ValueError:  # characters that no file name can have
        named = False
    if not named:
        raise ParameterError(f"{shown(target)} names no file; pass the path of a file to write")
    folder = path.parent
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder to write to; make it first", str(folder))
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "this is a folder; pass the path of a file to write", str(path))
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, "this folder may not be written to; pass a file in another", str(folder))
    return path


@contextmanager
def replacing(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path to write to, which takes the place of ``target`` once all is on the disk, or never."""
    path = check_target(target)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        yield partial
        with partial.open("r+b") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        _keep_name(path)
    finally:
        partial.unlink(missing_ok=True)


def _keep_name(path: Path) -> None:
    """Have the new name of a file on the disk, too, where the system can be told to: Windows opens no folder."""
    if hasattr(os, "O_DIRECTORY"):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def check_folder(target: str | os.PathLike[str], overwrite: bool = False, pattern: str = "*") -> Path:
    """Return the path of a folder to make; raises ParameterError or OSError at once where it cannot be made.

    With ``overwrite`` there may be one already that holds nothing but files of this pattern.
    """
    path = Path(os.fspath(target)).absolute()
    there = list(path.iterdir()) if path.is_dir() else []
    if path.is_dir() and (not there or (overwrite and all(fnmatch(file.name, pattern) for file in there))):
        check_target(path / "any")
    elif path.exists():
        way = (
            f"it holds {there[0].name}, which is none of its files"
            if there and overwrite
            else f"pass {option('overwrite', True)} to replace it"
        )
        raise ParameterError(f"{path} is there already, and not an empty folder; {way}, or pass another path")
    else:
        check_target(path)
    return path


@contextmanager
def scratch(path: Path, what: str = "partial") -> Iterator[Path]:
    """Yield a folder beside a folder to make, which is there as long as this context."""
    beside = path.with_name(f".{path.name}.{what}")
    shutil.rmtree(beside, ignore_errors=True)  # of a fit that was killed
    beside.mkdir()
    try:
        yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def filling(path: Path) -> Iterator[Path]:
    """Yield a folder to write to, which becomes ``path`` when all is in it, or never; what was there stays until then.

    A kill between the two renames leaves the former folder beside it, as ``.NAME.former``.
    """
    former = path.with_name(f".{path.name}.former")
    with scratch(path) as partial:
        yield partial
        if path.exists():
            shutil.rmtree(former, ignore_errors=True)
            path.replace(former)
        partial.replace(path)
        shutil.rmtree(former, ignore_errors=True)
