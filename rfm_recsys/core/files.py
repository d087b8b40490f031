"""Files written whole, or not at all."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from rfm_recsys.core.checks import shown
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
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name, too
        finally:
            os.close(folder)
    finally:
        partial.unlink(missing_ok=True)
