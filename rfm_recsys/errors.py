"""The exceptions that rfm_recsys raises on purpose.

Each is also the built-in exception that a caller of implicit, NumPy or SciPy would already be catching.
Every message gives the value, the bound and the remedy.
"""


class RfmRecsysError(Exception):
    """The base of every error that this library raises on purpose."""


class ParameterError(RfmRecsysError, ValueError):
    """An argument has a value outside its bounds."""


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


class ParameterWarning(UserWarning):
    """An argument works, but costs something that another form of it would not."""
