"""The call that users of ``implicit.als`` have: the same name, the same arguments in the same order."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from rfm_recsys.errors import parameter_warning
from rfm_recsys.recommender.model import LinRFM

_said = False


def AlternatingLeastSquares(  # noqa: N802  # implicit's name
    factors: int = 100,
    regularization: float = 0.01,
    alpha: float = 1.0,
    dtype: DTypeLike = np.float32,
    use_native: bool = True,
    use_cg: bool = True,
    use_gpu: bool = False,
    iterations: int = 15,
    calculate_training_loss: bool = False,
    num_threads: int = 0,
    random_state: Any = None,
) -> LinRFM:
    """Return a :class:`rfm_recsys.LinRFM` for a call of ``implicit.als.AlternatingLeastSquares``, as it stands.

    ``factors``, ``dtype``, ``calculate_training_loss``, ``num_threads`` and ``random_state`` are kept.
    ``regularization``, ``alpha`` and ``iterations`` mean something else to ALS: ``fit`` chooses its own from the data,
    which a warning says once in a process. (implicit's name stands for a function, too.)

    Parameters
    ----------
    factors, dtype, calculate_training_loss, num_threads, random_state
        As in :class:`rfm_recsys.LinRFM`.
    regularization, alpha, iterations
        Of ALS: taken, and chosen anew by ``fit``.
    use_native, use_cg, use_gpu
        Taken, without effect.

    Returns
    -------
    LinRFM

    Raises
    ------
    ParameterError, ParameterTypeError
        As :class:`rfm_recsys.LinRFM`, of what is kept.

    Examples
    --------
    >>> import warnings
    >>> from rfm_recsys.als import AlternatingLeastSquares
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     model = AlternatingLeastSquares(64, regularization=0.05, alpha=2.0, iterations=15)
    >>> model.factors, model.alpha
    (64, None)
    """
    global _said  # noqa: PLW0603  # once in a process
    if not _said and (regularization, alpha, iterations) != (0.01, 1.0, 15):
        _said = True
        message = (
            f"regularization={regularization}, alpha={alpha} and iterations={iterations} are ALS's; LinRFM chooses its "
            "own from the data, see model.chosen_ after the fit"
        )
        warnings.warn(parameter_warning(message), stacklevel=2)
    return LinRFM(
        factors=factors,
        dtype=dtype,
        calculate_training_loss=calculate_training_loss,
        num_threads=num_threads,
        random_state=random_state,
        use_native=use_native,
        use_cg=use_cg,
        use_gpu=use_gpu,
    )
