"""Model files: NumPy's npz, without pickle, versioned, checksummed, and written whole or not at all."""

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from rfm_recsys.core.checks import shown
from rfm_recsys.core.files import PathOrFile, replacing
from rfm_recsys.errors import ModelFileError, ParameterTypeError

VERSION = 3

SEAL = b"sha256:"  # begins the archive's comment, which ends the file with the digest of all that stands before it

DIGEST = 64


def save(target: PathOrFile, kind: str, parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Write parameters (JSON values) and arrays to exactly the path given, or to a binary file.

    The path holds the old file until the new one is complete. ``kind`` says what the file is, and what :func:`load` has
    to ask for.
    """
    header = json.dumps({"format": f"rfm_recsys {kind}", "version": VERSION, "parameters": parameters})
    content = {"header": np.array(header), **arrays}
    if isinstance(target, str | os.PathLike):
        with replacing(target) as partial, partial.open("x+b") as file:
            _write(file, content)
        return
    if not callable(getattr(target, "write", None)):
        raise ParameterTypeError(f"{shown(target)} is neither a path nor a file; pass one of them")
    with tempfile.TemporaryFile() as file:
        _write(file, content)
        file.seek(0)
        try:
            shutil.copyfileobj(file, target)
        except OSError:
            raise
        except (TypeError, ValueError) as error:  # of a file of text, and of a closed one
            raise ParameterTypeError(f"{shown(target)} takes no bytes ({error}); open it with mode='wb'") from error


def _write(file: IO[bytes], content: dict[str, NDArray[Any]]) -> None:
    np.savez(file, **content)  # type: ignore[arg-type]
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = SEAL + b"0" * DIGEST
    file.seek(-DIGEST, os.SEEK_END)
    size = file.tell()
    digest = _digest(file, size)
    file.seek(size)
    file.write(digest)


def _digest(file: IO[bytes], size: int) -> bytes:
    """Return the SHA-256 of the first ``size`` bytes, in hexadecimal."""
    file.seek(0)
    digest = hashlib.sha256()
    while size > 0 and (part := file.read(min(size, 2**20))):
        digest.update(part)
        size -= len(part)
    return digest.hexdigest().encode()


def load(source: PathOrFile, kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the parameters and arrays that :func:`save` wrote; raises ModelFileError for any other content."""
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        try:
            with open(source, "rb") as file:
                return _read(file, name, kind)
        except (IsADirectoryError, ValueError) as error:
            if isinstance(error, ModelFileError):
                raise
            raise ModelFileError(f"{shown(name)} is no file; pass the path of one that save() wrote") from error
    name = str(getattr(source, "name", "the file"))
    with tempfile.TemporaryFile() as file:  # whatever can be read, from where it stands
        try:
            shutil.copyfileobj(source, file)
        except OSError:
            raise
        except (AttributeError, TypeError, ValueError) as error:  # of no file, a file of text, and a closed one
            raise ModelFileError(f"{shown(source)} gives no bytes ({error}); pass a path, or a binary file") from error
        return _read(file, name, kind)


def _read(file: IO[bytes], name: str, kind: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    wanted = f"rfm_recsys {kind}"
    try:
        size = file.seek(0, os.SEEK_END) - DIGEST
        if size < 0:
            raise ValueError(f"it has {size + DIGEST} bytes")
        file.seek(max(size - len(SEAL), 0))
        seal, digest = file.read(len(SEAL)), file.read(DIGEST)
        if seal != SEAL:
            raise ValueError("it does not end with a checksum")
        if digest != _digest(file, size):
            raise ValueError("its checksum does not match its content")
        file.seek(0)
        with np.load(file, allow_pickle=False) as content:
            # NumPy stores and does not compress: a file that says otherwise might be much larger than it looks
            if any(member.compress_type != zipfile.ZIP_STORED for member in content.zip.infolist()):
                raise ValueError("it is compressed")
            header = json.loads(str(content["header"]))
            if header["format"] != wanted:
                raise ModelFileError(f"{name} is a {header['format']!r} file, not a {wanted!r} one; pass another file")
            if header["version"] > VERSION:
                raise ModelFileError(
                    f"{name} has the format version {header['version']}, and this is version {VERSION}; "
                    "upgrade rfm_recsys, or save it again with the version in use"
                )
            arrays = {key: content[key] for key in content.files if key != "header"}
            return dict(header["parameters"]), arrays
    except ModelFileError:
        raise
    except Exception as error:  # whatever zipfile, NumPy and json say of a file that is something else
        raise ModelFileError(f"{name} is not a whole {kind} file ({error}); save it again") from error
