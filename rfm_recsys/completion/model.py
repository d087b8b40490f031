"""Matrix completion: lin-RFM on the observed entries of a matrix of low rank.

Symbols and equation numbers are those of ``docs/algorithm/``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_matrix

from rfm_recsys.completion.observations import Observations
from rfm_recsys.completion.one_sided import one_sided_memory, one_sided_rounds
from rfm_recsys.completion.two_sided import determined_rank, two_sided_memory, two_sided_rounds
from rfm_recsys.core.arrays import Floats
from rfm_recsys.core.checks import check_flag, check_generator, check_ids, check_integer, check_number, check_observed
from rfm_recsys.core.memory import check_memory
from rfm_recsys.core.progress import progress
from rfm_recsys.core.renamed import former_names
from rfm_recsys.core.runtime import threads
from rfm_recsys.errors import ParameterError

MOST_FACTORS = 50  # that are looked for when it is not said how many


@dataclass(frozen=True)
class Completion:
    """A completed matrix ``X = left right^T + sparse``, as :func:`complete` returns it.

    Attributes
    ----------
    left, right : arrays, shape (rows, k) and (columns, k)
    sparse : csr_matrix, shape (rows, columns)
        What X has on top at observed entries; it vanishes as a matrix of low rank is recovered.
    singular_values : array, descending
        Of X: all of them (one-sided), or those that stand out from the rest (two-sided), whose number is the rank.
    history : list of dict
        For every round: ``eps`` (inf in the first, where all features weigh the same), ``rank`` (two-sided: of the
        features that weigh more than eps; else None), ``change`` (of the completion, relative to its norm; None in the
        first) and ``residual`` (norm of what the low-rank part leaves of the observed entries, relative to theirs).
    n_iter : int
        Rounds run.
    stopped : str
        Why the rounds ended: ``"rank"`` (what is beyond the rank has vanished), ``"tol"`` (the completion does not
        change), ``"max_iter"`` (no more ``iterations``), or ``"zero"`` (all observed entries are 0).

    Examples
    --------
    >>> from rfm_recsys import complete
    >>> from rfm_recsys.datasets import synthetic_low_rank
    >>> observed, left, right = synthetic_low_rank((60, 40), 2, 1200)
    >>> completion = complete(observed)
    >>> len(completion.singular_values), completion.stopped
    (2, 'rank')
    >>> bool(abs(completion.entries(0, 0) - left[0] @ right[0]).max() < 1e-6)
    True
    >>> completion.toarray().shape
    (60, 40)
    """

    left: Floats
    right: Floats
    sparse: csr_matrix
    singular_values: Floats
    history: list[dict[str, float | None]]
    n_iter: int
    stopped: str

    def entries(self, rows: ArrayLike, columns: ArrayLike) -> Floats:
        """Return X at the entries (rows[k], columns[k]), shape (n,); raises IdError where one is outside of X.

        Parameters
        ----------
        rows, columns : int, or arrays of ints, shape (n,)

        Returns
        -------
        array, shape (n,)

        Raises
        ------
        IdError (an IndexError)
            An entry outside of X.
        """
        i, _ = check_ids(rows, len(self.left), "row")
        j, _ = check_ids(columns, len(self.right), "column")
        if len(i) != len(j):
            raise ParameterError(f"there are {len(i)} rows and {len(j)} columns; pass one column for each row")
        values: Floats = np.einsum("ek,ek->e", self.left[i], self.right[j])
        return values + np.asarray(self.sparse[i, j], dtype=np.float64).ravel() if len(i) else values

    def toarray(self) -> Floats:
        """Return X, shape (rows, columns); raises InsufficientMemoryError where it does not fit.

        Returns
        -------
        array, shape (rows, columns)

        Raises
        ------
        InsufficientMemoryError
            X does not fit.
        """
        check_memory(
            16 * len(self.left) * len(self.right),
            f"a matrix of {len(self.left)} x {len(self.right)}",
            "ask for some of its entries()",
        )
        with threads(0):
            X: Floats = self.left @ self.right.T
        X += self.sparse.toarray()
        return X


@former_names(max_iter="iterations")
def complete(
    observed: Any,
    power: float = 0.5,
    regularization: float = 0.0,
    iterations: int = 500,
    tol: float = 1e-9,
    annealing: float = 0.9,
    two_sided: bool = True,
    factors: int | None = None,
    random_state: Any = None,
    show_progress: bool = False,
) -> Completion:
    """Complete a matrix of low rank from some of its entries: lin-RFM, which is IRLS-p with ``p = 2 - 4 power``.

    Ridge regression on reweighted features and a new weighting from the completion (its AGOP), in turns. Without noise
    it recovers the matrix. Neither the rank nor any other entry takes part in a choice.

    Parameters
    ----------
    observed : sparse matrix, shape (rows, columns)
        Every stored entry is an observation, a stored zero that of a zero.
    power : float, at least 0
        Power of the AGOP: 0 is ridge regression, 1/4 penalises singular values like the nuclear norm, 1/2 like the sum
        of their logarithms. The higher, the lower the rank. Two-sided, a power above 1/2 takes over from 1/2 when the
        rank is clear.
    regularization : float, at least 0
        Variance of the noise of an entry, in units of that of the signal as the prior has it; 0 interpolates.
    iterations : int, at least 1
        The most rounds to run.
    tol : float, at least 0
        The rounds end when the completion changes by at most this, relative to its norm, two-sided at the highest rank
        only; and, two-sided, when the singular value after the rank is at most this, relative to the largest.
    annealing : float, above 0 and below 1
        One-sided: what the smoothing eps is multiplied by in every round. Two-sided, eps is the singular value after
        the rank.
    two_sided : bool
        Whether rows and columns are both reweighted (M3), each with the AGOP to half the power, or only the shorter
        side of the matrix (M1). Two-sided, which never forms the matrix, recovers from fewer entries.
    factors : int, at least 1, or None
        Two-sided: the highest rank. None: what the number of entries could determine, at most 50.
    random_state : int, RandomState, Generator or None
        Two-sided: where the search for singular vectors starts.
    show_progress : bool
        Whether to show a bar over rounds.

    Returns
    -------
    Completion

    Raises
    ------
    ParameterError, ParameterTypeError
        A parameter is out of its bounds, or ``observed`` is no sparse matrix.
    DataError
        The entries are not finite, corrupt, none, or one is there twice.
    InsufficientMemoryError
        Before any work: the rounds do not fit.

    Notes
    -----
    The same entries and seed give the same bits, whatever the number of threads. A one-sided round costs
    ``rows columns min(rows, columns)``; a two-sided one ``entries rank`` times some tens to hundreds of iterations.

    References
    ----------
    Radhakrishnan, Belkin, Drusvyatskiy: Linear Recursive Feature Machines provably recover low-rank matrices.
    arXiv 2401.04553.
    Kuemmerle, Mayrink Verdun: A scalable second order method for ill-conditioned matrix completion from few samples.
    ICML 2021. Its MatrixIRLS is the two-sided form at power 1/2, for a rank that is known.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_matrix
    >>> from rfm_recsys import complete
    >>> generator = np.random.default_rng(0)
    >>> Y = generator.normal(size=(60, 2)) @ generator.normal(size=(2, 50))
    >>> rows, columns = np.nonzero(generator.random(Y.shape) < 0.3)
    >>> completion = complete(csr_matrix((Y[rows, columns], (rows, columns)), shape=Y.shape))
    >>> len(completion.singular_values), completion.stopped
    (2, 'rank')
    >>> bool(np.allclose(completion.toarray(), Y))
    True
    """
    power = check_number("power", power, 0)
    regularization = check_number("regularization", regularization, 0)
    iterations = check_integer("iterations", iterations, 1)
    tol = check_number("tol", tol, 0)
    annealing = check_number("annealing", annealing, 0, 1 - np.finfo(float).eps, above=True)
    two_sided = check_flag("two_sided", two_sided)
    if factors is not None:
        factors = check_integer("factors", factors, 1)
        if not two_sided:
            raise ParameterError(f"factors is {factors}, and one-sided completion has no limit on the rank; pass None")
    generator = check_generator(random_state)
    show_progress = check_flag("show_progress", show_progress)
    matrix = check_observed(observed)
    scale = float(np.abs(matrix.data).max())
    if scale == 0:
        empty = np.zeros(0)
        left, right = (np.zeros((size, 0)) for size in matrix.shape)
        return Completion(left, right, csr_matrix(matrix.shape), empty, [], 0, "zero")
    matrix = csr_matrix((matrix.data / scale, matrix.indices, matrix.indptr), shape=matrix.shape)
    rounds: Iterator[Any]
    with threads(0):
        if two_sided:
            most = determined_rank(matrix.shape, matrix.nnz, MOST_FACTORS if factors is None else factors)
            check_memory(
                two_sided_memory(matrix.shape, matrix.nnz, most),
                f"the completion of {matrix.shape[0]} x {matrix.shape[1]} to a rank of up to {most}",
                "pass fewer factors",
            )
            rounds = two_sided_rounds(Observations(matrix), power, regularization, tol, most, generator)
        else:
            check_memory(
                one_sided_memory(matrix.shape),
                f"a one-sided completion of {matrix.shape[0]} x {matrix.shape[1]}",
                "pass two_sided=True, which does not form the matrix",
            )
            rounds = one_sided_rounds(Observations(matrix), power, regularization, annealing)
        return _run(rounds, scale, iterations, tol, show_progress)


def _run(rounds: Iterator[Any], scale: float, iterations: int, tol: float, show_progress: bool) -> Completion:
    """Run rounds, of which there is one at least, until they end, stand still, or were enough; data are over ``scale``.

    What they yield is a :class:`DenseIterate` or a :class:`LowRankIterate`.
    """
    history: list[dict[str, float | None]] = []
    stopped, before = "max_iter", None
    with progress(show_progress, total=iterations, desc="complete", unit="round") as bar:
        for X in rounds:
            change = None if before is None else X.change(before)
            history.append({"eps": float(X.eps * scale), "rank": X.rank, "change": change, "residual": X.residual()})
            if bar is not None:
                bar.set_postfix(eps=f"{X.eps * scale:.1e}", change=change, refresh=False)
                bar.update()
            before = X
            if change is not None and change <= tol and X.settled:
                stopped = "tol"
                break
            if len(history) == iterations:
                break
        else:
            stopped = "rank"
    left, right, sparse, values = X.parts()
    return Completion(left * scale, right, sparse * scale, values * scale, history, len(history), stopped)
