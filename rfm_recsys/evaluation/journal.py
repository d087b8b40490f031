"""The memory of a run that may be killed: finished pieces of work, one JSON value a line."""

import json
import os
from pathlib import Path
from typing import Any

from rfm_recsys.errors import DataError


class Journal:
    """Append pieces of work as they are finished, and give back those of an earlier, interrupted run.

    Parameters
    ----------
    path : Path or None
        The file; None keeps nothing.
    request : JSON value
        What was asked for: an earlier run of another request is not continued.

    Attributes
    ----------
    pieces : dict
        What is finished, by key.

    Raises
    ------
    DataError
        The file belongs to another request.
    """

    def __init__(self, path: Path | None, request: Any) -> None:
        self.path = path
        self.pieces: dict[str, Any] = {}
        if path is None:
            return
        if path.exists():
            whole, _, _ = path.read_bytes().rpartition(b"\n")  # what follows is a line that a kill has torn
            lines = whole.splitlines()
            if lines and json.loads(lines[0]) != json.loads(json.dumps(request)):
                raise DataError(
                    f"{path} holds an unfinished run of another comparison; repeat that one, remove the file, or pass "
                    "another output"
                )
            os.truncate(path, len(whole) + 1 if lines else 0)
            self.pieces = dict(json.loads(line) for line in lines[1:])
            if lines:
                return
        self._write(request)

    def add(self, key: str, piece: Any) -> None:
        """Keep a finished piece; on return it is on the disk."""
        self.pieces[key] = piece
        if self.path is not None:
            self._write((key, piece))

    def close(self) -> None:
        """Remove the file: the result that it was kept for is written."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _write(self, value: Any) -> None:
        assert self.path is not None
        with self.path.open("ab") as file:
            file.write(json.dumps(value).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
