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
        self._unwritten = [request]
        self._exists = path is not None and path.exists()
        if path is None or not path.exists():
            return
        whole, _, _ = path.read_bytes().rpartition(b"\n")  # what follows is a line that a kill has torn
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
            pieces = dict(lines[1:])
        except (ValueError, TypeError) as error:
            raise DataError(f"{path} is not the state of a comparison ({error}); remove it") from error
        if lines and lines[0] != json.loads(json.dumps(request)):
            raise DataError(
                f"{path} holds an unfinished run of another comparison; repeat that one, remove the file, or pass "
                "another output"
            )
        os.truncate(path, len(whole) + 1 if lines else 0)
        if lines:
            self._unwritten, self.pieces = [], pieces

    def add(self, key: str, piece: Any) -> None:
        """Keep a finished piece; on return it is on the disk."""
        self.pieces[key] = piece
        if self.path is not None:
            lines = [*self._unwritten, (key, piece)]
            try:
                file = self.path.open("xb" if self._unwritten and not self._exists else "ab")
            except FileExistsError as error:
                raise DataError(f"another comparison has begun to write {self.path}; pass another output") from error
            self._unwritten = []
            with file:
                file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
                file.flush()
                os.fsync(file.fileno())
