"""complete(): the equivalence with IRLS-p, each step against a naive twin, recovery, and what is not to matter."""

from collections.abc import Callable
from itertools import islice
from typing import Any

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import bsr_matrix, coo_matrix, csc_matrix, csr_matrix, dia_matrix

import rfm_recsys
import rfm_recsys.completion.model as completion_model
from rfm_recsys import complete
from rfm_recsys.completion import one_sided, two_sided
from rfm_recsys.completion.model import Completion
from rfm_recsys.completion.observations import Observations
from rfm_recsys.completion.one_sided import inverse_root, matrix_power, one_sided_rounds
from rfm_recsys.completion.two_sided import RankSearch, TangentSystem, determined_rank, leading_triplets
from rfm_recsys.core import kernels, memory
from rfm_recsys.core.arrays import Floats
from rfm_recsys.core.runtime import threads
from rfm_recsys.datasets import synthetic_low_rank
from rfm_recsys.errors import DataError, IdError, InsufficientMemoryError, ParameterError, ParameterTypeError


def problem(
    shape: tuple[int, int], rank: int, oversampling: float, condition_number: float = 1.0, seed: int = 0
) -> tuple[csr_matrix, Floats]:
    """Return the observed entries, and the matrix."""
    n_observed = int(oversampling * rank * (sum(shape) - rank))
    observed, left, right = synthetic_low_rank(shape, rank, n_observed, condition_number, seed)
    return observed, left @ right.T


def distance(a: Any, b: Any) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def random_problem(m: int, n: int, density: float, seed: int = 0) -> csr_matrix:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(m, n)) * (rng.random((m, n)) < density)
    matrix[m // 2] = 0
    return csr_matrix(matrix)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("power", [1 / 4, 1 / 3, 3 / 8, 1 / 2, 1])
def test_one_sided_it_is_irls_iterate_by_iterate(power: float, seed: int) -> None:
    observed, Y = problem((45, 30), 2, 2.5, seed=seed)
    rounds = list(islice(one_sided_rounds(Observations(observed), power, 0.0, 0.9), 40))
    twins = naive.matrix_irls(Y, observed.toarray() != 0, 2 - 4 * power, [X.eps for X in rounds[1:]])
    for X, twin in zip(rounds, twins, strict=True):
        assert distance(X.X, twin) < 1e-8
    assert distance(rounds[0].X, Y) > 0.3  # there was something to iterate for
    assert distance(rounds[-1].X, Y) < 0.5 * distance(rounds[0].X, Y)


@pytest.mark.parametrize("power", [0, 1 / 4, 1 / 3, 1 / 2, 1, 1.2])
@pytest.mark.parametrize("regularization", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(9, 7), (6, 8)])
def test_a_two_sided_step_solves_its_system(
    power: float, regularization: float, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(two_sided, "PRECISION", 0)
    rng = np.random.default_rng(0)
    observed = random_problem(*shape, 0.6)
    U, V = (np.linalg.qr(rng.normal(size=(size, 2)))[0] for size in shape)
    s, eps = np.array([3.0, 1.0]), 0.4
    data = Observations(observed)
    system = TangentSystem(data, U, s, V, eps, power, regularization)
    left, right = system.solve()
    values = (observed.data - data.sampled(left, right)) * system.shrinkage
    X = left @ right.T + data.sparse(values).toarray()
    w, rest = s ** (2 * power), eps ** (2 * power)
    means = [(w.sum() + (size - 2) * rest) / size for size in shape]
    penalty = regularization * means[0] * means[1]
    twin = naive.two_sided_completion(observed.toarray(), observed.toarray() != 0, (U, w, V), rest, penalty)
    np.testing.assert_allclose(X, twin, atol=1e-9 * np.abs(twin).max())


def test_a_one_sided_step_with_regularization() -> None:
    observed, _ = problem((45, 30), 2, 2.5)
    _, X = islice(one_sided_rounds(Observations(observed), 0.5, 0.2, 0.9), 2)
    before = observed.toarray() / 1.2
    eps = 0.9 * np.linalg.norm(before.T @ before) ** 0.5
    K = before.T @ before + eps**2 * np.eye(30)
    K *= 30 / np.trace(K)
    for row, y in zip(X.X, observed.toarray(), strict=True):
        o = np.flatnonzero(y)
        np.testing.assert_allclose(row, K[:, o] @ np.linalg.solve(K[np.ix_(o, o)] + 0.2 * np.eye(len(o)), y[o]))
    assert X.eps == pytest.approx(eps)


@pytest.mark.parametrize("sizes", [(3, 2), (10, 5), (1, 1)])
def test_the_kernels_and_their_twins(sizes: tuple[int, int]) -> None:
    k, r = sizes
    rng = np.random.default_rng(0)
    observed = random_problem(70, 50, 0.2)
    A, B = rng.normal(size=(70, k)), rng.normal(size=(50, k))
    data = Observations(observed)
    np.testing.assert_allclose(data.sampled(A, B), naive.sampled_product(observed, A, B), atol=1e-13)
    out = np.full((70, r), np.nan)
    kernels.sampled_gram(data.indptr, data.indices, A, B, out)
    np.testing.assert_allclose(out, naive.sampled_gram(observed, A, B, r), atol=1e-12)


@pytest.mark.parametrize("least", [0.0, 1e-12, 2.0])
def test_shifted_rows_and_their_twin(least: float) -> None:
    rng = np.random.default_rng(0)
    observed = random_problem(60, 20, 0.3)
    B = rng.normal(size=(20, 30))
    K, shift = B @ B.T, rng.random(60) * least
    data = Observations(observed)
    a, fitted = np.empty_like(data.values), np.empty_like(data.values)
    with threads(0):
        status = kernels.solve_rows_shifted(data.indptr, data.indices, shift, data.values, K, a, fitted)
    assert not status.any()
    for ours, twin in zip((a, fitted), naive.solve_rows_shifted(observed, shift, K), strict=True):
        np.testing.assert_allclose(ours, twin, atol=1e-10 * np.abs(twin).max())


@pytest.mark.parametrize("exponent", [0, 0.5, 2 / 3, 0.75, 1, 1.5, 2, 2.5, 3, 5 / 4, 0.7071])
def test_powers_of_a_matrix_are_those_of_its_eigenvalues(exponent: float) -> None:
    rng = np.random.default_rng(0)
    V: Floats = np.linalg.qr(rng.normal(size=(40, 40)))[0]
    values = np.append(np.geomspace(1e-6, 0.9, 39), 1e-6)
    S = V @ np.diag(values) @ V.T
    K = matrix_power((S + S.T) / 2, exponent, 1e-6)
    np.testing.assert_allclose(K, V @ np.diag(values**exponent) @ V.T, atol=1e-8)
    assert np.linalg.eigvalsh(K)[0] > -1e-14


@pytest.mark.parametrize("p", [2, 3, 4, 16])
@pytest.mark.parametrize("least", [1.0, 0.6, 1e-3, 1e-8])
def test_inverse_roots(p: int, least: float) -> None:
    V = np.linalg.qr(np.random.default_rng(0).normal(size=(20, 20)))[0]
    values = np.geomspace(least, 1, 20)
    X = inverse_root(V @ np.diag(values) @ V.T, p, least)
    np.testing.assert_allclose(X, V @ np.diag(values ** (-1 / p)) @ V.T, atol=1e-13 * least**-1)


def test_leading_triplets_are_those_of_the_matrix() -> None:
    rng = np.random.default_rng(0)
    observed = random_problem(40, 30, 0.3)
    left, right = rng.normal(size=(40, 3)), rng.normal(size=(30, 3))
    data = Observations(observed)
    V: Floats = rng.normal(size=(30, 12))
    for _ in range(4):
        U, s, V = leading_triplets(data, left, right, observed.data, V)
    X = left @ right.T + observed.toarray()
    np.testing.assert_allclose(s[:4], np.linalg.svd(X)[1][:4], rtol=1e-6)
    np.testing.assert_allclose(X @ V[:, :3], U[:, :3] * s[:3], atol=1e-3)
    assert s[12:].tolist() == [0, 0]


def test_the_search_for_the_rank() -> None:
    assert RankSearch(3, np.array([1, 0.9, 0.3, 0.2, 0.1])).rank == 2
    assert RankSearch(3, np.array([1, 0.9, 0.8, 0.7, 0.1])).rank == 1  # three are the most there may be
    search = RankSearch(3, np.array([1, 0.5, 0.5, 0.5, 0.5]))
    assert search.rank == 1
    for _ in range(two_sided.PATIENCE):
        assert not search.update(np.array([1, 0.5, 0.5, 0.5, 0.5]))
    assert search.rank == 2  # the second does not fall
    for fallen in (0.5, 0.4, 0.3):
        assert not search.update(np.array([1, 0.5, fallen, fallen, fallen]))
    assert search.rank == 2
    assert search.update(np.array([1, 0.04, 0.01, 0.01, 0.01]))  # there is a matrix of rank 1, after all
    assert search.rank == 1
    for _ in range(40):
        search.update(np.array([1, 0.04, 0.01, 0.01, 0.01]))
    assert search.rank == 3  # and not beyond what there may be
    clear = np.array([1, 1e-3, 1e-3, 1e-3, 1e-3])
    search = RankSearch(3, clear)
    for _ in range(two_sided.PATIENCE * two_sided.CLEARLY - 1):
        search.update(clear)
    assert search.rank == 1
    search.update(clear)
    assert search.rank == 2


def test_the_rank_that_entries_can_determine() -> None:
    assert determined_rank((100, 80), 5 * 175, 50) == 5
    assert determined_rank((100, 80), 5 * 175 - 1, 50) == 4
    assert determined_rank((100, 80), 8000, 50) == 50
    assert determined_rank((100, 80), 8000, 100) == 80
    assert determined_rank((100, 80), 3, 50) == 1


@pytest.mark.parametrize("power", [0.5, 0.75, 1])
@pytest.mark.parametrize("shape", [(120, 100), (60, 250)])
def test_two_sided_it_recovers_and_finds_the_rank(power: float, shape: tuple[int, int]) -> None:
    for seed in range(3):
        observed, Y = problem(shape, 3, 3, 10, seed)
        completion = complete(observed, power)
        assert distance(completion.toarray(), Y) < 1e-6
        assert completion.stopped == "rank"
        np.testing.assert_allclose(completion.singular_values, np.linalg.svd(Y)[1][:3], rtol=1e-5)


@pytest.mark.parametrize(("oversampling", "condition_number"), [(1.5, 10), (1.9, 1e5)])
def test_from_few_entries_and_ill_conditioned(oversampling: float, condition_number: float) -> None:
    errors = []
    for seed in range(3):
        observed, left, right = synthetic_low_rank((500, 500), 5, int(oversampling * 5 * 995), condition_number, seed)
        errors.append(distance(complete(observed).toarray(), left @ right.T))
    assert np.median(errors) < 1e-4


@pytest.mark.parametrize("power", [0.5, 1])
def test_the_demonstration_of_the_paper(power: float) -> None:
    for seed in range(2):
        observed, left, right = synthetic_low_rank((500, 500), 5, 10_000, random_state=seed)
        assert distance(complete(observed, power).toarray(), left @ right.T) < 1e-6


@pytest.mark.parametrize("power", [0.5, 0.75, 1])
@pytest.mark.parametrize("shape", [(60, 40), (40, 60)])
def test_one_sided_it_recovers_from_more_entries(power: float, shape: tuple[int, int]) -> None:
    observed, Y = problem(shape, 1, 7)
    completion = complete(observed, power, two_sided=False)
    assert distance(completion.toarray(), Y) < 1e-5
    assert completion.singular_values[1] < 1e-5 * completion.singular_values[0]
    assert completion.sparse.nnz == 0


def test_with_noise_a_prior_helps() -> None:
    observed, Y = problem((150, 120), 2, 6)
    rng = np.random.default_rng(0)
    noise = 0.3 * rng.normal(size=observed.nnz)
    noisy = csr_matrix((observed.data + noise, observed.indices, observed.indptr), shape=observed.shape)
    with_prior, without = (
        complete(noisy, regularization=regularization, factors=2, iterations=60) for regularization in (0.1, 0.0)
    )
    assert distance(with_prior.toarray(), Y) < distance(without.toarray(), Y) < 0.6
    assert distance(with_prior.left @ with_prior.right.T, Y) < 0.25
    np.testing.assert_allclose(without.toarray()[observed.nonzero()], noisy.data)


@pytest.mark.parametrize("two_sided", [True, False])
def test_order_and_unit_do_not_matter(two_sided: bool) -> None:
    observed, Y = problem((50, 40), 2, 3)
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(50), rng.permutation(40)
    options: dict[str, Any] = {"two_sided": two_sided, "iterations": 500 if two_sided else 30}

    def completed(matrix: csr_matrix, seed: int = 0) -> Floats:
        return complete(matrix, random_state=seed, **options).toarray()

    plain = completed(observed)
    for other in (
        completed(observed.T.tocsr()).T if two_sided else plain,
        completed(observed[rows]).take(np.argsort(rows), axis=0),
        completed(observed[:, columns]).take(np.argsort(columns), axis=1),
        completed(1e200 * observed) * 1e-200,
        completed(1e-200 * observed) * 1e200,
        completed(-observed, seed=1) * -1,
    ):
        np.testing.assert_allclose(other, plain, atol=1e-6)
    if two_sided:
        assert distance(plain, Y) < 1e-6


def test_the_shorter_side_is_worked_on() -> None:
    observed, _ = problem((50, 40), 2, 3)
    tall, wide = (complete(matrix, two_sided=False, iterations=20) for matrix in (observed, observed.T.tocsr()))
    np.testing.assert_array_equal(tall.toarray().T.round(9), wide.toarray().round(9))
    np.testing.assert_array_equal(tall.singular_values, wide.singular_values)


@pytest.mark.parametrize("two_sided", [True, False])
@pytest.mark.parametrize("power", [0, 0.25, 0.5, 1, 7.3])
def test_shapes_at_the_edge(two_sided: bool, power: float) -> None:
    full = np.random.default_rng(0).normal(size=(6, 5))
    for matrix in (full, full[:1], full[:, :1], full[:1, :1], full[:1] * [1, 1, 0, 0, 0], np.diag([1.0, 2, 3])):
        observed = csr_matrix(matrix)
        completion = complete(observed, power, two_sided=two_sided, iterations=40)
        assert completion.stopped in ("rank", "tol", "max_iter")
        X = completion.toarray()
        assert np.isfinite(X).all()
        if power <= 1:  # beyond, one-sided weights are soon lost to rounding
            np.testing.assert_allclose(X[observed.nonzero()], observed.data, atol=1e-4)


def test_a_stored_zero_is_an_observation() -> None:
    rows, columns = np.indices((6, 5)).reshape(2, -1)
    zeros = csr_matrix((np.zeros(30), (rows, columns)), shape=(6, 5))
    completion = complete(zeros)
    assert (completion.stopped, completion.n_iter, completion.singular_values.size) == ("zero", 0, 0)
    assert not completion.toarray().any()
    assert not completion.entries([0, 5], [1, 4]).any()
    some = csr_matrix(([1.0, 0.0, 2.0], ([0, 0, 1], [0, 1, 0])), shape=(2, 2))
    np.testing.assert_allclose(complete(some).toarray()[0], [1, 0], atol=1e-8)


@pytest.mark.parametrize("power", [0, 0.5])
def test_power_zero_leaves_out_what_is_not_observed(power: float) -> None:
    observed = random_problem(20, 15, 0.5)
    for both_sides in (True, False):
        completion = complete(observed, power, regularization=0.25, two_sided=both_sides, iterations=1 if power else 5)
        np.testing.assert_allclose(completion.toarray(), observed.toarray() / 1.25, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    seed=st.integers(0, 1000),
    power=st.sampled_from([0, 0.25, 0.4, 0.5, 1]),
    two_sided=st.booleans(),
    scale=st.sampled_from([1e-250, 1.0, 1e250]),
)
def test_whatever_is_observed(shape: tuple[int, int], seed: int, power: float, two_sided: bool, scale: float) -> None:
    rng = np.random.default_rng(seed)
    observed = csr_matrix(rng.integers(-2, 3, size=shape) * scale)
    if observed.nnz == 0:
        with pytest.raises(DataError, match="has no stored entry; pass what was observed"):
            complete(observed)
        return
    completion = complete(observed, power, two_sided=two_sided, iterations=15)
    X = completion.toarray() / scale
    assert np.isfinite(X).all()
    np.testing.assert_allclose(X[observed.nonzero()], observed.data / scale, atol=1e-4)
    i, j = np.indices(shape).reshape(2, -1)
    np.testing.assert_allclose(completion.entries(i, j) / scale, X.ravel(), atol=1e-12)
    assert len(completion.history) == completion.n_iter <= 15


@pytest.mark.parametrize("two_sided", [True, False])
def test_one_thread_and_many_give_the_same_bits(two_sided: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    observed, _ = problem((300, 700), 3, 2.5)
    results = []
    for number in (1, 2):
        monkeypatch.setattr(completion_model, "threads", lambda _, number=number: threads(number))
        completion = complete(observed, two_sided=two_sided, iterations=12)
        results.append((completion.toarray().tobytes(), str(completion.history)))
    assert results[0] == results[1]


def test_what_is_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    observed, _ = problem((80, 60), 2, 3)
    completion = complete(observed)
    assert capsys.readouterr() == ("", "")
    first, second, *_, last = completion.history
    assert len(completion.history) == completion.n_iter
    assert (first["eps"], first["change"], first["residual"]) == (np.inf, None, 1)
    assert second["eps"] is not None
    assert last["eps"] is not None
    assert last["eps"] < 1e-3 * second["eps"]
    assert last["residual"] is not None
    assert last["residual"] < 1e-6
    assert last["rank"] == len(completion.singular_values) == 2
    one_sided = complete(observed, two_sided=False, iterations=8)
    assert (one_sided.stopped, one_sided.n_iter, one_sided.history[-1]["rank"]) == ("max_iter", 8, None)
    eps = [entry["eps"] or 0 for entry in one_sided.history[1:]]
    np.testing.assert_allclose(np.divide(eps[1:], eps[:-1]), 0.9)
    assert all((entry["residual"] or 0) < 1e-9 for entry in one_sided.history)
    assert complete(observed, two_sided=False, tol=0.1).stopped == "tol"
    complete(observed, iterations=2, show_progress=True)
    assert "complete" in capsys.readouterr().err


def test_factors_bound_the_rank() -> None:
    observed, _ = problem((80, 60), 4, 3)
    completion = complete(observed, factors=2, iterations=40)
    assert len(completion.singular_values) == 2
    assert completion.left.shape == (80, 4)
    assert completion.stopped in ("max_iter", "tol")


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"power": -1}, ParameterError, "power is -1; pass a finite number at least 0"),
        ({"power": "a"}, ParameterTypeError, "power is 'a'"),
        ({"regularization": np.nan}, ParameterError, "regularization is nan"),
        ({"iterations": 0}, ParameterError, "iterations is 0"),
        ({"tol": -1e-3}, ParameterError, "tol is -0.001"),
        ({"annealing": 1}, ParameterError, "annealing is 1; pass a finite number above 0"),
        ({"two_sided": "no"}, ParameterTypeError, "two_sided is 'no'"),
        ({"factors": 0}, ParameterError, "factors is 0"),
        ({"factors": 3, "two_sided": False}, ParameterError, "factors is 3, and one-sided completion has no limit"),
        ({"random_state": -1}, ParameterError, "random_state is -1"),
        ({"show_progress": "x"}, ParameterTypeError, "show_progress is 'x'"),
    ],
)
def test_parameters_out_of_bounds(parameters: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        complete(csr_matrix(np.eye(3)), **parameters)


@pytest.mark.parametrize(
    ("observed", "error", "message"),
    [
        (np.eye(3), ParameterTypeError, "observed is a ndarray; pass a SciPy sparse matrix"),
        (csr_matrix(1j * np.eye(3)), ParameterTypeError, "observed holds complex128"),
        (dia_matrix(np.eye(3)), ParameterTypeError, "observed is a DIA matrix, which stores entries that nobody"),
        (bsr_matrix(np.eye(4)), ParameterTypeError, "observed is a BSR matrix"),
        (csr_matrix((3, 4)), DataError, r"observed, of shape \(3, 4\), has no stored entry"),
        (csr_matrix((0, 4)), DataError, "has no stored entry"),
        (csr_matrix(np.diag([1, np.nan])), DataError, "the value of row 1, column 1 is not a finite float64: nan"),
        (csc_matrix(np.diag([np.inf, 1])), DataError, "row 0, column 0 is not a finite"),
        (coo_matrix(([1, 2, 3], ([0, 0, 1], [1, 1, 0]))), DataError, "1 of the 3 entries of observed are there twice"),
        (csr_matrix(([1, 2.0], [1, 1], [0, 2]), shape=(1, 3)), DataError, "1 of the 2 entries"),
    ],
)
@pytest.mark.parametrize("two_sided", [True, False])
def test_what_cannot_be_completed(observed: Any, error: type[Exception], message: str, two_sided: bool) -> None:
    with pytest.raises(error, match=message):
        complete(observed, two_sided=two_sided)


@pytest.mark.parametrize("convert", [csc_matrix, coo_matrix, csr_matrix.tolil, csr_matrix.todok])
def test_formats(convert: Callable[[csr_matrix], Any]) -> None:
    observed, _ = problem((40, 30), 2, 3)
    before = observed.copy()
    X = complete(observed, iterations=5).toarray()
    np.testing.assert_array_equal(complete(convert(observed), iterations=5).toarray(), X)
    assert (observed != before).nnz == 0


def test_entries_outside() -> None:
    completion = complete(problem((40, 30), 2, 3)[0], iterations=3)
    with pytest.raises(IdError, match=r"row 40 is outside 0\.\.39"):
        completion.entries([40], [0])
    with pytest.raises(IdError, match="column -1"):
        completion.entries([0], [-1])
    with pytest.raises(ParameterError, match="there are 2 rows and 1 columns"):
        completion.entries([0, 1], [0])
    assert completion.entries([], []).shape == (0,)


def test_memory_that_is_not_there_is_told_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    observed, _ = problem((40, 30), 2, 3)
    completion = complete(observed, iterations=1)
    monkeypatch.setattr(memory, "available_memory", lambda: 10_000)
    with pytest.raises(InsufficientMemoryError, match="the completion of 40 x 30 to a rank of up to 6 needs about"):
        complete(observed)
    with pytest.raises(InsufficientMemoryError, match="a one-sided completion of 40 x 30 needs about"):
        complete(observed, two_sided=False)
    with pytest.raises(InsufficientMemoryError, match=r"a matrix of 40 x 30 .* ask for some of its entries"):
        completion.toarray()


def test_a_system_that_is_lost_to_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_sided, "ROUNDING", 1e-30)
    with pytest.raises(DataError, match="the system of equations of row 0 is lost to rounding; pass a regularization"):
        one_sided.complete_rows(Observations(csr_matrix(np.ones((1, 4)))), np.ones((4, 4)), 0.0)


def test_more_rows_than_columns_that_a_short_integer_counts() -> None:
    observed, left, right = synthetic_low_rank((70_000, 12), 1, 300_000)
    completion = complete(observed, factors=1)
    rows = np.arange(0, 70_000, 7)
    np.testing.assert_allclose(completion.entries(rows, rows % 12), (left[rows] * right[rows % 12])[:, 0], atol=1e-6)


def test_the_public_names() -> None:
    assert (rfm_recsys.complete, rfm_recsys.Completion) == (complete, Completion)


def test_the_former_name_of_iterations_works_with_a_warning() -> None:
    observed = problem((40, 30), 2, 3)[0]
    with pytest.warns(DeprecationWarning, match="max_iter of complete is now iterations"):
        former = complete(observed, max_iter=3)  # type: ignore[call-arg]
    assert (former.n_iter, former.stopped) == (3, "max_iter")
