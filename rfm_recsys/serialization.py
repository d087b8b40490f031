"""Model files: NumPy's npz, without pickle, versioned, and written whole or not at all."""

import json
import os
import secrets
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from rfm_recsys.errors import ModelFileError

FORMAT, VERSION = "rfm_recsys model", 1

PathOrFile = str | os.PathLike[str] | IO[bytes]


@contextmanager
def replacing(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path to write to, which takes the place of ``target`` once all is on the disk, or never."""
    path = Path(target)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def save(target: PathOrFile, parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Write parameters (JSON values) and arrays to exactly the path given, or to a binary file.

    The path holds the old file until the new one is complete.
    """
    header = json.dumps({"format": FORMAT, "version": VERSION, "parameters": parameters})
    content = {"header": np.array(header), **arrays}
    if not isinstance(target, str | os.PathLike):
        np.savez(target, **content)  # type: ignore[arg-type]
        return
    with replacing(target) as partial, partial.open("xb") as file:
        np.savez(file, **content)  # type: ignore[arg-type]


def load(source: PathOrFile) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the parameters and arrays that :func:`save` wrote; raises ModelFileError for any other content."""
    name = getattr(source, "name", source) if not isinstance(source, str | os.PathLike) else os.fspath(source)
    try:
        with np.load(source, allow_pickle=False) as content:
            header = json.loads(str(content["header"]))
            if header["format"] != FORMAT:
                raise ModelFileError(f"{name} is a {header['format']!r} file; pass one that LinRFM.save wrote")
            if header["version"] > VERSION:
                raise ModelFileError(
                    f"{name} has the format version {header['version']}, and this is version {VERSION}; "
                    "upgrade rfm_recsys, or save the model again with the version in use"
                )
            parameters = dict(header["parameters"])
            arrays = {key: content[key] for key in content.files if key != "header"}
    except FileNotFoundError:
        raise
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"{name} is not a whole model file ({error}); save the model again") from error
    return parameters, arrays
