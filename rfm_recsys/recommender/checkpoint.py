"""A checkpoint: the last finished round of a fit, in a file."""

import hashlib
import json
import os
import warnings
from collections.abc import Iterable
from typing import Any

from rfm_recsys.core import modelfile
from rfm_recsys.errors import ModelFileError, parameter_warning
from rfm_recsys.recommender.blocks import CHOSEN, WAYS, Settings, Users

# parameters that a round's bits do not depend on; iterations only where others are chosen, see fingerprint()
NO_EFFECT = ("iterations", "calculate_training_loss", "num_threads", "use_native", "use_cg", "use_gpu")


def fingerprint(parameters: dict[str, Any], shape: tuple[int, int], parts: Iterable[bytes]) -> str:
    """Return a digest of all that a round's bits depend on, but for the draws of a random generator.

    Parameters
    ----------
    parameters : dict
        Those of the model, as JSON values. What is chosen depends on whether ``iterations`` are to be chosen too, 1, or
        more, and on nothing else of them.
    shape, parts
        Of the interactions, and bytes that stand for them.
    """
    effective = {name: repr(value) for name, value in parameters.items() if name not in NO_EFFECT}
    if None in (parameters[name] for name in CHOSEN):
        effective["iterations"] = repr(parameters["iterations"] and min(parameters["iterations"], max(WAYS)[0]))
    if parameters["oversampling"]:  # the last round is another than it would be with one more
        effective["iterations"] = repr(parameters["iterations"])
    digest = hashlib.sha256(json.dumps([effective, shape], sort_keys=True).encode())
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


class Checkpoint:
    """A file that holds what a fit chose and its last finished round; a fingerprint identifies the fit.

    What is kept of another fit is warned of, and replaced.
    """

    def __init__(self, path: str | os.PathLike[str], fingerprint: str) -> None:
        self.path, self.fingerprint = path, fingerprint
        self.search: tuple[dict[str, Any], list[dict[str, Any]]] | None = None  # what was chosen, and the table
        self.done = 0
        self.arrays: dict[str, Any] = {}
        if not os.path.lexists(path):
            return
        header, arrays = modelfile.load(path, "checkpoint")
        done = header.get("done")
        if header.get("fingerprint") != fingerprint or not (isinstance(done, int) and done >= 0):
            self._warn()
            return
        self.done, self.arrays = done, arrays
        if header.get("search") is not None:
            chosen, table = header["search"]
            self.search = chosen, table

    def _warn(self) -> None:
        message = (
            f"{os.fspath(self.path)} is the checkpoint of a fit to other interactions or with other parameters, or "
            "of more rounds; this fit starts from its first round, after which it replaces it"
        )
        warnings.warn(parameter_warning(message), stacklevel=5)

    def keep_search(self, chosen: dict[str, Any], table: list[dict[str, Any]]) -> None:
        """Keep what was chosen, before the first round; :meth:`keep` keeps it on."""
        self.search = chosen, table
        if table:
            modelfile.save(self.path, "checkpoint", self._header(0), {})

    def _header(self, done: int) -> dict[str, Any]:
        return {"fingerprint": self.fingerprint, "search": self.search, "done": done}

    def resume(self, users: Users, settings: Settings) -> int:
        """Give ``users`` the round that is kept, and return the number of rounds done; 0 where none is of use."""
        done, arrays, self.arrays = self.done, self.arrays, {}
        if done > settings.iterations:
            self._warn()
            return 0
        if done == 0:
            return 0
        shapes = users.state_shapes(settings.rank if done < settings.iterations else settings.factors or 0)
        if {name: (part.shape, part.dtype) for name, part in arrays.items()} != {
            name: (shape, users.dtype) for name, shape in shapes.items()
        }:
            raise ModelFileError(f"{os.fspath(self.path)} does not hold the parts of a round; remove it")
        users.restore(arrays)
        return done

    def keep(self, users: Users, done: int) -> None:
        """Replace the round that is kept by the last one of ``users``."""
        modelfile.save(self.path, "checkpoint", self._header(done), users.state())
