"""A checkpoint: the last finished round of a fit, in a file."""

import hashlib
import json
import os
import warnings
from collections.abc import Iterable
from typing import Any

from rfm_recsys.core import modelfile
from rfm_recsys.errors import ModelFileError, parameter_warning
from rfm_recsys.recommender.blocks import Users

# parameters that a round's bits do not depend on
NO_EFFECT = ("iterations", "calculate_training_loss", "num_threads", "use_native", "use_cg", "use_gpu")


def fingerprint(parameters: dict[str, Any], shape: tuple[int, int], parts: Iterable[bytes]) -> str:
    """Return a digest of all that a round's bits depend on, but for the draws of a random generator.

    Parameters
    ----------
    parameters : dict
        Those of the model, as JSON values.
    shape, parts
        Of the confidences, and bytes that stand for them.
    """
    effective = {name: repr(value) for name, value in parameters.items() if name not in NO_EFFECT}
    digest = hashlib.sha256(json.dumps([effective, shape], sort_keys=True).encode())
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


class Checkpoint:
    """A file that holds the last finished round of one fit, which a fingerprint identifies."""

    def __init__(self, path: str | os.PathLike[str], fingerprint: str) -> None:
        self.path, self.fingerprint = path, fingerprint

    def resume(self, users: Users, factors: int, iterations: int) -> int:
        """Give ``users`` the round that is kept, and return the number of rounds done; 0 where none is of use."""
        if not os.path.lexists(self.path):
            return 0
        header, arrays = modelfile.load(self.path, "checkpoint")
        done = header.get("done")
        if header.get("fingerprint") != self.fingerprint or not (isinstance(done, int) and 0 < done <= iterations):
            message = (
                f"{os.fspath(self.path)} is the checkpoint of a fit to other interactions or with other parameters, or "
                "of more rounds; this fit starts from its first round, after which it replaces it"
            )
            warnings.warn(parameter_warning(message), stacklevel=4)
            return 0
        shapes = users.state_shapes(factors)
        if {name: (part.shape, part.dtype) for name, part in arrays.items()} != {
            name: (shape, users.dtype) for name, shape in shapes.items()
        }:
            raise ModelFileError(f"{os.fspath(self.path)} does not hold the parts of a round; remove it")
        users.restore(arrays)
        return done

    def keep(self, users: Users, done: int) -> None:
        """Replace the round that is kept by the last one of ``users``."""
        header = {"fingerprint": self.fingerprint, "done": done}
        modelfile.save(self.path, "checkpoint", header, users.state())
