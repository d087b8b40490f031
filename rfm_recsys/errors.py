"""The exceptions that rfm_recsys raises on purpose.

Each is also the built-in exception that a caller of implicit, NumPy or SciPy would already be catching.
Every message gives the value, the bound and the remedy.
"""

import sys
from functools import cache


class RfmRecsysError(Exception):
    """The base of every error that this library raises on purpose."""


class ParameterError(RfmRecsysError, ValueError):
    """An argument has a value outside its bounds."""


class NotSupportedError(ParameterError, NotImplementedError):
    """The model's form cannot do what is asked of it; another form can."""


class ParameterTypeError(RfmRecsysError, TypeError):
    """An argument has the wrong type."""


class DataError(RfmRecsysError, ValueError):
    """Interactions cannot be used: not finite, of a wrong shape, empty, or a broken file."""


class IdError(RfmRecsysError, IndexError):
    """A user or item id is outside the range seen in ``fit``."""


class NotFittedError(RfmRecsysError, TypeError, ValueError):
    """The model was used before ``fit``."""


class ModelFileError(RfmRecsysError, ValueError):
    """A model file is truncated, altered, foreign, or written by a newer version."""


class InsufficientMemoryError(RfmRecsysError, MemoryError):
    """The work would need more memory than there is; raised before the work starts."""


class MissingExtraError(RfmRecsysError, ModuleNotFoundError):
    """A package is not installed; the message names the extra of rfm-recsys that brings it."""


class ParameterWarning(UserWarning):
    """An argument works, but costs something that another form of it would not."""


def parameter_warning(message: str) -> ParameterWarning:
    """Return a warning to give; where implicit is in use, also one of its ParameterWarnings, which its users know."""
    theirs = getattr(sys.modules.get("implicit.utils"), "ParameterWarning", None)
    return (ParameterWarning if theirs is None else _also(theirs))(message)


@cache
def _also(theirs: type[Warning]) -> type[ParameterWarning]:
    return type("ParameterWarning", (ParameterWarning, theirs), {"__module__": __name__})
