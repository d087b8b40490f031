"""Model files: NumPy's npz, without pickle, versioned, checksummed, and written whole or not at all."""

import errno
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from rfm_recsys.errors import ModelFileError, ParameterError, ParameterTypeError
from rfm_recsys.validation import shown

VERSION = 2
SEAL = b"sha256:"  # begins the archive's comment, which ends the file with the digest of all that stands before it
DIGEST = 64

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
