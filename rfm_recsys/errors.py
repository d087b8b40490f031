"""The exceptions that rfm_recsys raises on purpose.

Each is also the built-in exception that a caller of implicit, NumPy or SciPy would already be catching.
Every message gives the value, the bound and the remedy.
"""

import sys
from functools import cache


class RfmRecsysError(Exception):
    """The base of every error that this library raises on purpose.

    Examples
    --------
    >>> from rfm_recsys import LinRFM
    >>> from rfm_recsys.errors import RfmRecsysError
    >>> try:
    ...     LinRFM(0)
    ... except RfmRecsysError as error:
    ...     print(type(error).__name__)
    ParameterError
    """


class ParameterError(RfmRecsysError, ValueError):
    """An argument has a value outside its bounds.

    Examples
    --------
    >>> from rfm_recsys import LinRFM
    >>> from rfm_recsys.errors import ParameterError
    >>> try:
    ...     LinRFM(0)
    ... except ParameterError as error:
    ...     print(type(error).__name__)
    ParameterError
    """


class NotSupportedError(ParameterError, NotImplementedError):
    """The model's form cannot do what is asked of it; another form can.

    Examples
    --------
    >>> from rfm_recsys import LinRFM
    >>> from rfm_recsys.errors import NotSupportedError
    >>> from scipy.sparse import csr_matrix
    >>> plays = csr_matrix([[1, 1, 0], [0, 1, 1]])
    >>> model = LinRFM(None).fit(plays, show_progress=False)
    >>> try:
    ...     model.partial_fit_items([3], csr_matrix([[1, 0]]))
    ... except NotSupportedError as error:
    ...     print(type(error).__name__)
    NotSupportedError
    """


class ParameterTypeError(RfmRecsysError, TypeError):
    """An argument has the wrong type.

    Examples
    --------
    >>> from rfm_recsys import LinRFM
    >>> from rfm_recsys.errors import ParameterTypeError
    >>> try:
    ...     LinRFM("64")
    ... except ParameterTypeError as error:
    ...     print(type(error).__name__)
    ParameterTypeError
    """


class DataError(RfmRecsysError, ValueError):
    """Interactions cannot be used: not finite, of a wrong shape, empty, or a broken file.

    Examples
    --------
    >>> from rfm_recsys import LinRFM
    >>> from rfm_recsys.errors import DataError
    >>> from scipy.sparse import csr_matrix
    >>> plays = csr_matrix([[1, 1, 0], [0, 1, 1]])
    >>> try:
    ...     LinRFM(2).fit(0 * plays, show_progress=False)
    ... except DataError as error:
    ...     print(type(error).__name__)
    DataError
    """


class IdError(RfmRecsysError, IndexError):
    """A user or item id is outside the range seen in ``fit``.

    Examples
    --------
    >>> from rfm_recsys import LinRFM
    >>> from rfm_recsys.errors import IdError
    >>> from scipy.sparse import csr_matrix
    >>> plays = csr_matrix([[1, 1, 0], [0, 1, 1]])
    >>> model = LinRFM(2).fit(plays, show_progress=False)
    >>> try:
    ...     model.recommend(7, None, filter_already_liked_items=False)
    ... except IdError as error:
    ...     print(type(error).__name__)
    IdError
    """


class NotFittedError(RfmRecsysError, TypeError, ValueError):
    """The model was used before ``fit``.

    Examples
    --------
    >>> from rfm_recsys import LinRFM
    >>> from rfm_recsys.errors import NotFittedError
    >>> try:
    ...     LinRFM(2).recommend(0, None)
    ... except NotFittedError as error:
    ...     print(type(error).__name__)
    NotFittedError
    """


class ModelFileError(RfmRecsysError, ValueError):
    """A model file is truncated, altered, foreign, or written by a newer version.

    Examples
    --------
    >>> from rfm_recsys import LinRFM
    >>> from rfm_recsys.errors import ModelFileError
    >>> import io
    >>> try:
    ...     LinRFM.load(io.BytesIO(b"no model"))
    ... except ModelFileError as error:
    ...     print(type(error).__name__)
    ModelFileError
    """


class InsufficientMemoryError(RfmRecsysError, MemoryError):
    """The work would need more memory than there is; raised before the work starts.

    Examples
    --------
    >>> from rfm_recsys import LinRFM
    >>> from rfm_recsys.errors import InsufficientMemoryError
    >>> from scipy.sparse import csr_matrix
    >>> wide = csr_matrix(([1.0], ([0], [2**31 - 2])), shape=(1, 2**31 - 1))
    >>> try:
    ...     LinRFM(1000, 1, 1, 1).fit(wide, show_progress=False)
    ... except InsufficientMemoryError as error:
    ...     print(type(error).__name__)
    InsufficientMemoryError
    """


class MissingExtraError(RfmRecsysError, ModuleNotFoundError):
    """A package is not installed; the message names the extra of rfm-recsys that brings it.

    Examples
    --------
    >>> from rfm_recsys.errors import MissingExtraError
    >>> issubclass(MissingExtraError, ImportError)
    True
    """


class ParameterWarning(UserWarning):
    """An argument works, but costs something that another form of it would not.

    Examples
    --------
    >>> import warnings
    >>> from rfm_recsys import LinRFM
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     _ = LinRFM(use_gpu=True)
    >>> caught[0].category.__name__
    'ParameterWarning'
    """


def parameter_warning(message: str) -> ParameterWarning:
    """Return a warning to give; where implicit is in use, also one of its ParameterWarnings, which its users know."""
    theirs = getattr(sys.modules.get("implicit.utils"), "ParameterWarning", None)
    return (ParameterWarning if theirs is None else _also(theirs))(message)


@cache
def _also(theirs: type[Warning]) -> type[ParameterWarning]:
    return type("ParameterWarning", (ParameterWarning, theirs), {"__module__": __name__})
