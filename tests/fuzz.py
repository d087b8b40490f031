"""Hostile arguments to every public entry point of LinRFM, in any order; test_fuzz.py runs it in another process.

By hand: ``RFM_FUZZ=20 python -m pytest tests/fuzz.py -s``, which prints the counts. RFM_FUZZ multiplies the cases.

The outcome of every call is the right answer, or an RfmRecsysError that says something and leaves the model as it was.
An OSError is right, too, where the file system is at fault.
"""

import copy
import io
import os
import pickle
import tempfile
import time
import warnings
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import chdir, suppress
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from numpy.typing import NDArray
from scipy.sparse import bsr_matrix, coo_array, csr_array, csr_matrix, issparse

from rfm_recsys import LinRFM
from rfm_recsys.core import memory
from rfm_recsys.core.arrays import Floats
from rfm_recsys.errors import RfmRecsysError

SCALE = int(os.environ.get("RFM_FUZZ", "1"))
CASES, RUNS, STEPS = 60 * SCALE, 12 * SCALE, 30  # of each operation; of the state machine; of each of its runs
MEMORY = 2**28  # bytes that there seem to be, so that no accepted size takes long
COUNTS: Counter[str] = Counter()

Draw = Callable[[st.SearchStrategy[Any]], Any]
Rng = np.random.Generator
REFUSED = object()


class StopFitError(Exception):
    """What a callback raises."""


def options(number_of_cases: int, **more: Any) -> settings:
    return settings(
        max_examples=number_of_cases,
        derandomize=SCALE == 1,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        **more,
    )


@pytest.fixture(autouse=True, scope="module")
def counted() -> Iterator[None]:
    before, memory.available_memory = memory.available_memory, lambda: MEMORY
    with tempfile.TemporaryDirectory() as folder, chdir(folder):  # some of the hostile values name files
        yield
    memory.available_memory = before
    print(f"\nFUZZ {' '.join(f'{name}={count}' for name, count in sorted(COUNTS.items()))}")


# --- what a call may do ---


def frozen(value: Any) -> Any:
    """Return the content of factors or of a matrix, to compare."""
    if issparse(value):
        return [frozen(part) for name, part in sorted(vars(value).items()) if name in {"data", "indices", "indptr"}]
    if isinstance(value, np.ndarray):
        return (value.shape, value.dtype, value.tobytes())
    return id(value)


def state(model: LinRFM) -> Any:
    return frozen(model.user_factors), frozen(model.item_factors)


def attempt(model: LinRFM, call: Callable[[], Any], *given: Any, also: tuple[type[Exception], ...] = ()) -> Any:
    """Return the answer, or REFUSED; what is given stays as it was, and so does the model in a call that is refused."""
    before, arguments = state(model), [frozen(value) for value in given]
    refusals: tuple[type[Exception], ...] = (RfmRecsysError, *also)
    begun = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answer = call()
    except refusals as error:
        assert str(error).strip()  # noqa: PT017  # either outcome will do
        assert state(model) == before
        answer = REFUSED
    COUNTS["slowest_ms"] = max(COUNTS["slowest_ms"], int(1000 * (time.perf_counter() - begun)))
    assert [frozen(value) for value in given] == arguments
    COUNTS["refused" if answer is REFUSED else "answered"] += 1
    return answer


# --- arguments ---

_PLAIN: list[Any] = [
    *(None, True, False, 0, 1, -1, 3, 100, 2**31 - 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 10**5000),
    *(0.0, 1.0, -0.5, 1e-320, 1e300, np.nan, np.inf, -np.inf, 1j, "3", "", b"3", "\0", "\ud800", (), (1,)),
    *(np.float16(0.5), np.float32(2), np.longdouble("1e4000"), np.int8(3), np.int8(-3), np.uint64(2**63 + 1)),
    *(np.bool_(True), np.datetime64("2024"), Fraction(1, 2), Fraction(10**400), Decimal("0.5"), slice(3), ...),
    *(int, len, np.float32, np.float64, "float32", "f4", ">f4", "f4,f4", "(2,", np.str_("x"), range(2), []),
    *(NotImplemented, -(10**400), range(0)),
]  # fmt: skip
HOSTILE: list[Callable[[], Any]] = [
    *[partial(copy.copy, value) for value in _PLAIN],
    object,
    lambda: [],
    lambda: [1],
    lambda: [1, [2, 3]],
    lambda: [10**30],
    lambda: {},
    lambda: {1},
    lambda: (number for number in (1, 2)),
    lambda: np.array(3),
    lambda: np.array(0.5),
    lambda: np.array([1, 2]),
    lambda: np.array([], dtype=object),
    lambda: np.array([True, False]),
    lambda: np.array([1, None]),
    lambda: np.array([0.0, 1.0]),
    lambda: np.zeros((2, 2), int),
    lambda: np.zeros(1, [("a", int)]),
    lambda: np.ma.array([1, 2], mask=[True, False]),
    lambda: csr_matrix(np.eye(2)),
    lambda: csr_array(np.arange(3.0)),
    lambda: io.BytesIO(b"bytes"),
    lambda: np.random.default_rng(1),
    lambda: np.random.RandomState(1),
    lambda: np.random.SeedSequence(1),
]  # fmt: skip
seldom = st.sampled_from([False] * 5 + [True])


def anything(draw: Draw) -> Any:
    return HOSTILE[draw(st.integers(0, len(HOSTILE) - 1))]()  # by number, since not all of them can be printed


def one_of(draw: Draw, good: Any) -> Any:
    """Return one of the good values, or, seldom, any value."""
    return anything(draw) if draw(seldom) else draw(st.sampled_from(list(good)))


def sizes(draw: Draw, bound: int) -> Any:
    return one_of(draw, [0, 1, 2, 5, bound, bound + 3, np.int64(4), np.uint8(2), 10])


IDS: list[Callable[[NDArray[np.int64]], Any]] = [
    lambda ids: int(ids[0]) if len(ids) else 0,
    lambda ids: ids[0] if len(ids) else np.uint8(0),
    lambda ids: np.array(ids[0] if len(ids) else 0),
    lambda ids: ids,
    lambda ids: ids.tolist(),
    lambda ids: tuple(ids.tolist()),
    lambda ids: ids.astype(np.uint64),
    lambda ids: ids.astype(np.int8),
    lambda ids: np.repeat(ids, 2)[::2],
    lambda ids: np.broadcast_to(ids[:1], (2 * len(ids[:1]),)),
    lambda ids: memoryview(ids),  # type: ignore[arg-type]  # noqa: PLW0108
    lambda ids: array("i", ids.tolist()),
    lambda ids: range(min(len(ids), 1)),
    lambda ids: np.concatenate([ids, ids]),
    lambda ids: ids[:0],
]
BAD_IDS: list[Callable[[NDArray[np.int64], int], Any]] = [
    lambda ids, bound: bound,
    lambda ids, bound: -1,
    lambda ids, bound: [0, -bound],
    lambda ids, bound: [*ids.tolist(), bound],
    lambda ids, bound: [2**31 - 1],
    lambda ids, bound: 2**31,
    lambda ids, bound: [2**40],
    lambda ids, bound: np.array([2**63 + 1], np.uint64),
    lambda ids, bound: ids.astype(float),
    lambda ids, bound: ids.astype(str),
    lambda ids, bound: ids.astype(object),
    lambda ids, bound: ids.astype(bool),
    lambda ids, bound: ids[None],
    lambda ids, bound: (number for number in ids.tolist()),
    lambda ids, bound: set(ids.tolist()),
    lambda ids, bound: [ids, ids[:-1]],
]


def ids_of(draw: Draw, bound: int, longest: int = 6) -> Any:
    """Return ids below the bound, in any form, or seldom others."""
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    ids = rng.integers(0, max(bound, 1), rng.integers(0, longest + 1))
    if not draw(seldom):
        return draw(st.sampled_from(IDS))(ids)
    if draw(st.booleans()):
        return anything(draw)
    return draw(st.sampled_from(BAD_IDS))(ids, bound)


def listed(ids: Any) -> NDArray[np.int64]:
    """Return the ids of a call that was answered."""
    return np.asarray(ids).reshape(-1).astype(np.int64)


def how_many(ids: Any) -> int:
    with suppress(Exception):
        return int(np.asarray(ids).size)
    return 1


VALUES: list[Callable[[Rng, int], NDArray[Any]]] = [
    lambda rng, n: np.ones(n),
    lambda rng, n: rng.random(n) + 0.1,
    lambda rng, n: rng.choice([-2.0, -0.5, 0.5, 1, 3], n),
    lambda rng, n: rng.choice([0.0, 1.0], n),
    lambda rng, n: 10.0 ** rng.integers(-6, 6, n),
    lambda rng, n: -np.ones(n),
    lambda rng, n: 10.0 ** rng.integers(-40, 38, n),
    lambda rng, n: rng.choice([1.0, 1e-300, 1e300], n),
    lambda rng, n: rng.choice([1.0, np.nan, np.inf, -np.inf], n, p=[0.7, 0.1, 0.1, 0.1]),
]
TAME = 4  # of these are of an ordinary size
DTYPES = [np.float64, np.float32, np.float16, np.longdouble, np.int8, np.int64, np.uint16, bool]


def _in_disorder(m: csr_matrix) -> csr_matrix:
    """Every entry twice, of which one is 0, and in descending order."""
    entries = [(row, column) for row in range(m.shape[0]) for column in range(*m.indptr[row : row + 2])]
    order = np.array([entry for row, entry in sorted(entries, key=lambda pair: (pair[0], -pair[1]))], dtype=np.intp)
    values = np.stack([m.data[order], np.zeros_like(m.data)], axis=1).ravel()
    return csr_matrix((values, np.repeat(m.indices[order], 2), 2 * m.indptr), shape=m.shape)


def _with_parts(m: csr_matrix, convert: Callable[[NDArray[Any]], Any], *names: str) -> csr_matrix:
    for name in names or ("data", "indices", "indptr"):
        setattr(m, name, convert(getattr(m, name)))
    return m


def _read_only(part: NDArray[Any]) -> NDArray[Any]:
    part.flags.writeable = False
    return part


def _lying(m: csr_matrix) -> csr_matrix:
    m = _in_disorder(m)
    m.has_sorted_indices = m.has_canonical_format = True
    return m


def _longer(m: csr_matrix) -> csr_matrix:
    """Room at the end of the arrays, as SciPy permits it."""
    m.indices, m.data = np.append(m.indices, [10**6, -1]), np.append(m.data, np.zeros(2, m.data.dtype))
    return m


FORMS: list[Callable[[csr_matrix], Any]] = [
    lambda m: m,
    csr_array,
    _in_disorder,
    _lying,
    _longer,
    lambda m: _with_parts(m, lambda part: part.astype(np.int64), "indices", "indptr"),
    lambda m: _with_parts(m, lambda part: part.astype(np.uint32), "indices", "indptr"),
    lambda m: _with_parts(m, lambda part: part.astype(np.uint64), "indptr"),
    lambda m: _with_parts(m, _read_only),
    lambda m: _with_parts(m, lambda part: np.repeat(part, 2)[::2]),
    lambda m: _with_parts(m, lambda part: part.astype(part.dtype.newbyteorder(">")), "data"),
    lambda m: _with_parts(m, lambda part: part.tolist()),
    lambda m: m.tocoo(),
    lambda m: coo_array(_in_disorder(m)),
    lambda m: m.tocsc(),
    lambda m: m.tolil(),
    lambda m: m.todok(),
    lambda m: m.todia(),
    lambda m: bsr_matrix(m, blocksize=(1, 1)),
]
CSR_FORMS = 12  # of these


def _set(m: Any, **parts: Any) -> Any:
    for name, part in parts.items():
        setattr(m, name, part)
    return m


def _first(part: NDArray[Any], value: Any) -> NDArray[Any]:
    part = part.astype(np.result_type(part, np.int64))
    part[:1] = value
    return part


BREAKS: list[Callable[[Any], Any]] = [
    lambda m: _set(m, indices=_first(m.indices, m.shape[1])),
    lambda m: _set(m, indices=_first(m.indices, -1)),
    lambda m: _set(m, indices=_first(m.indices, 2**40)),
    lambda m: _set(m, indices=_first(m.indices, m.shape[1]).astype(np.uint64)),
    lambda m: _set(m, indices=m.indices + 0.5),
    lambda m: _set(m, indices=m.indices[:-1]),
    lambda m: _set(m, indices=m.indices[None]),
    lambda m: _set(m, indices=None),
    lambda m: _set(m, indices=np.array(["x"] * len(m.indices))),
    lambda m: _set(m, indptr=np.append(m.indptr[:-1], 0)),
    lambda m: _set(m, indptr=np.append(m.indptr[:-1], -5)),
    lambda m: _set(m, indptr=np.append(m.indptr[:-1], 2**40)),
    lambda m: _set(m, indptr=m.indptr[::-1]),
    lambda m: _set(m, indptr=m.indptr[::-1].astype(np.uint64)),
    lambda m: _set(m, indptr=np.where(np.arange(len(m.indptr)) == 1, 2**20, m.indptr).astype(np.uint32)),
    lambda m: _set(m, indptr=np.append(m.indptr, m.indptr[-1:])),
    lambda m: _set(m, indptr=m.indptr[:1]),
    lambda m: _set(m, indptr=m.indptr[:0]),
    lambda m: _set(m, indptr=m.indptr * np.nan),
    lambda m: _set(m, indptr=np.array(3)),
    lambda m: _set(m, indptr=None),
    lambda m: _set(m, data=m.data[:1]),
    lambda m: _set(m, data=np.append(m.data, m.data)),
    lambda m: _set(m, data=m.data[:, None]),
    lambda m: _set(m, data=m.data.astype(str)),
    lambda m: _set(m, data=m.data.astype(object)),
    lambda m: _set(m, data=m.data * 1j),
    lambda m: _set(m, data=None),
    lambda m: _set(m.tocoo(), row=_first(m.tocoo().row, m.shape[0])),
    lambda m: _set(m.tocoo(), row=_first(m.tocoo().row, -1)),
    lambda m: _set(m.tocoo(), col=_first(m.tocoo().col, 2**40)),
    lambda m: _set(m.tocoo(), col=m.tocoo().col[:-1]),
    lambda m: _set(m.tocoo(), data=m.data.astype(object)),
    lambda m: _set(m.tocoo(), coords=(m.tocoo().row,)),
    lambda m: _set(m.tocsc(), indices=_first(m.tocsc().indices, m.shape[0])),
    lambda m: _set(m.tocsc(), indptr=np.append(m.tocsc().indptr[:-1], 0)),
    lambda m: _set(m.tocsc(), data=m.data[:-1]),
    lambda m: _set(bsr_matrix(m, blocksize=(1, 1)), indices=_first(m.indices, 2**20)),
    lambda m: _set(bsr_matrix(m, blocksize=(1, 1)), data=np.zeros((m.nnz, 0, 3))),
    lambda m: _set(bsr_matrix(m, blocksize=(1, 1)), data=np.zeros((m.nnz, 3, 1))),
    lambda m: _set(bsr_matrix(m, blocksize=(1, 1)), data=m.data),
    lambda m: _set(m.todia(), offsets=np.arange(50)),
    lambda m: _set(m.todia(), data=np.ones((1, 1))),
    lambda m: _set(m.todia(), data=None),
    lambda m: _set(m.tolil(), rows=m.tolil().rows[:-1]),
    lambda m: _set(m.tolil(), rows=np.array([[0]] * m.shape[0] + [None], dtype=object)[:-1]),
    lambda m: _set(m.tolil(), data=np.array([[1.0, 2, 3]] * m.shape[0] + [None], dtype=object)[:-1]),
    lambda m: csr_array(m.toarray().ravel()),
    lambda m: m.toarray(),
    lambda m: m.toarray().tolist(),
    lambda m: np.asmatrix(m.toarray()),
    lambda m: m.T,
]


@dataclass
class Matrix:
    """Interactions as given, their dense truth (None where they are broken), and whether their values are ordinary."""

    given: Any
    truth: NDArray[np.float64] | None
    tame: bool


def matrix_of(draw: Draw, rows: int, columns: int, csr_only: bool = False) -> Matrix:
    """Return interactions in any form, or seldom broken ones."""
    rng = np.random.default_rng(draw(st.integers(0, 9999)))
    broken = draw(seldom)
    reshaped = broken and draw(seldom)
    if reshaped:
        rows, columns = (max(size + int(rng.integers(-1, 2)), 0) for size in (rows, columns))
        if rng.random() < 0.2:
            rows, columns = columns, rows
    kind = draw(st.sampled_from(range(len(VALUES))) if draw(seldom) else st.sampled_from(range(TAME)))
    where = rng.random((rows, columns)) < rng.choice([0.0, 0.3, 0.6, 1.0], p=[0.05, 0.5, 0.35, 0.1])
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dtype = draw(st.sampled_from(DTYPES)) if draw(seldom) else np.float64
        m = csr_matrix((np.ones(where.sum()), where.nonzero()), shape=(rows, columns))
        m.data = VALUES[kind](rng, m.nnz).astype(dtype)
        if reshaped:
            return Matrix(m, None, False)
        if broken:
            return Matrix(anything(draw) if draw(seldom) else _broken(draw, m), None, False)
        truth = np.zeros((rows, columns))
        truth[np.repeat(np.arange(rows), np.diff(m.indptr)), m.indices] = m.data
        tame = kind < TAME and bool((np.abs(m.data.astype(float)) < 100).all())
        form = draw(st.sampled_from(FORMS[:CSR_FORMS] if csr_only else FORMS))
        try:
            return Matrix(form(m), truth, tame)
        except (TypeError, ValueError):  # SciPy does not convert every dtype to every form
            return Matrix(m, truth, tame)


def _broken(draw: Draw, m: csr_matrix) -> Any:
    way = draw(st.sampled_from(BREAKS))
    try:
        return way(m)
    except (TypeError, ValueError, IndexError, AttributeError):  # of an empty matrix, mostly
        return m


SHAPES = [(1, 1), (1, 6), (6, 1), (9, 7), (30, 20)]
MODEL_FACTORS = [3, 1, 40, None]


@cache
def _fitted(factors: int | None, dtype: str, shape: tuple[int, int]) -> LinRFM:
    rng = np.random.default_rng(5)
    data = csr_matrix(np.where(rng.random(shape) < 0.4, rng.choice([1.0, 2.0, -1.0], shape), 0))
    data[0, 0] = 1
    return LinRFM(factors, dtype=np.dtype(dtype).type).fit(data, show_progress=False)


def _full(rng: Rng, n: int, m: int) -> tuple[Any, Any]:
    S = rng.random((m, m))
    return csr_matrix(rng.integers(0, 2, (n, m)).astype(np.float64)), S + S.T


BY_HAND: list[Callable[[Rng, int, int], tuple[Any, Any]]] = [
    lambda rng, n, m: (rng.normal(size=(n, 4)), rng.normal(size=(m, 4))),
    lambda rng, n, m: (np.asfortranarray(rng.normal(size=(n, 4))), np.asfortranarray(rng.normal(size=(m, 4)))),
    lambda rng, n, m: (rng.normal(size=(n, 8))[:, ::2], _read_only(rng.normal(size=(2 * m, 4)))[::2]),
    lambda rng, n, m: (np.zeros((n, 2), np.float32), np.zeros((m, 2), np.float32)),
    lambda rng, n, m: (1e30 * rng.normal(size=(n, 2)).astype(np.float32), 1e30 * np.ones((m, 2), np.float32)),
    lambda rng, n, m: (1e-30 * rng.normal(size=(n, 2)).astype(np.float32), 1e-30 * np.ones((m, 2), np.float32)),
    lambda rng, n, m: (1e200 * rng.normal(size=(n, 2)), 1e200 * rng.normal(size=(m, 2))),
    lambda rng, n, m: (np.zeros((0, 3)), rng.normal(size=(m, 3))),
    lambda rng, n, m: (rng.normal(size=(n, 3)), np.zeros((0, 3))),
    _full,
    lambda rng, n, m: (np.where(rng.random((n, 2)) < 0.3, np.nan, 1.0), np.ones((m, 2))),
    lambda rng, n, m: (np.ones((n, 2)), np.where(rng.random((m, 2)) < 0.3, np.inf, 1.0)),
    lambda rng, n, m: (np.ones((n, 2)), np.ones((m, 3))),
    lambda rng, n, m: (np.ones((n, 0)), np.ones((m, 0))),
    lambda rng, n, m: (np.ones((n, 2), np.float32), np.ones((m, 2))),
    lambda rng, n, m: (np.ones((n, 2), np.float16), np.ones((m, 2), np.float16)),
    lambda rng, n, m: (np.ones((n, 2), int), np.ones((m, 2), int)),
    lambda rng, n, m: (np.ones((n, 2), complex), np.ones((m, 2), complex)),
    lambda rng, n, m: (np.ones((n, 2), ">f8"), np.ones((m, 2), ">f8")),
    lambda rng, n, m: (np.ones((n, 2), object), np.ones((m, 2), object)),
    lambda rng, n, m: (np.ones(n), np.ones((m, 2))),
    lambda rng, n, m: (np.ones((n, 2, 1)), np.ones((m, 2))),
    lambda rng, n, m: ([[1.0, 2.0]] * n, [[1.0, 2.0]] * m),
    lambda rng, n, m: ([[1.0, 2.0], [3.0]], np.ones((m, 2))),
    lambda rng, n, m: (np.asmatrix(np.ones((n, 2))), np.asmatrix(np.ones((m, 2)))),
    lambda rng, n, m: (np.ma.masked_less(np.ones((n, 2)), 0), np.ones((m, 2))),
    lambda rng, n, m: ("factors", np.ones((m, 2))),
    lambda rng, n, m: (np.ones((n, 2)), None),
    lambda rng, n, m: (None, np.ones((m, 2))),
    lambda rng, n, m: (csr_array(np.ones((n, m))), np.ones((m, m))),
    lambda rng, n, m: (csr_matrix(np.ones((n, m))), np.ones((m + 2, m))),
    lambda rng, n, m: (csr_matrix(np.ones((n, m))), csr_matrix(np.ones((m, m)))),
    lambda rng, n, m: (_set(csr_matrix(np.ones((n, m))), indices=np.full(n * m, 2**24, np.int32)), np.ones((m, m))),
    lambda rng, n, m: (_set(csr_matrix(np.ones((n, m))), indptr=np.full(n + 1, 2**24, np.int32)), np.ones((m, m))),
    lambda rng, n, m: (_set(csr_matrix(np.ones((n, m))), indptr=np.zeros(1, np.int32)), np.ones((m, m))),
    lambda rng, n, m: (_set(csr_matrix(np.ones((n, m))), data=None), np.ones((m, m))),
    lambda rng, n, m: (_set(csr_matrix(np.ones((n, m))), data=np.ones(1)), np.ones((m, m))),
]


def set_by_hand(draw: Draw, model: LinRFM) -> None:
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    n, m = draw(st.sampled_from(SHAPES))
    model.user_factors, model.item_factors = draw(st.sampled_from(BY_HAND))(rng, n, m)
    if draw(seldom):
        setattr(model, draw(st.sampled_from(["user_factors", "item_factors"])), anything(draw))


def model_of(draw: Draw) -> LinRFM:
    """Return a model: fitted, as a rule; or without a fit, with factors set by hand, or with a parameter broken."""
    model = copy.deepcopy(
        _fitted(
            draw(st.sampled_from(MODEL_FACTORS)),
            draw(st.sampled_from(["float32", "float64"])),
            draw(st.sampled_from(SHAPES[::-1])),
        )
    )
    how = draw(st.sampled_from(["fitted"] * 8 + ["by hand"] * 2 + ["unfitted", "attribute"]))
    if how == "by hand":
        set_by_hand(draw, model)
    elif how == "unfitted":
        model.user_factors = model.item_factors = None
    elif how == "attribute":
        setattr(model, draw(st.sampled_from(list(PARAMETERS))), anything(draw))
    return model


PARAMETERS: dict[str, list[Any]] = {
    "factors": [3, None, 1, 40, np.int8(100), np.int64(5)],
    "regularization": [4.0, None, 0, 1e-30, 0.5, 1e12, np.float32(2), Fraction(1, 3), np.longdouble(1)],
    "alpha": [7.0, None, 1, 0.3, 1e-30, 1e12, 40],
    "iterations": [2, None, 1, 3, np.uint8(4)],
    "power": [0.35, None, 0, 0.5, 1, 4.0, np.float16(0.25)],
    "item_norm": [0.8, None, 0, -4, 4, 1],
    "prior_norm": [0.8, None, 0, -4, 4, 1],
    "oversampling": [0, None, 1, 40],
    "user_norm": [0.8, None, 0, -4, 4, 1],
    "dtype": [np.float32, np.float64, "float32", np.dtype("f8"), float],
    "calculate_training_loss": [False, True, np.bool_(True), 0],
    "num_threads": [0, 1, 2, 100],
    "random_state": [None, 0, 7, np.int64(3)],
    "use_native": [True, False],
    "use_cg": [True, False],
    "use_gpu": [False, True, None],
    "values": ["relative", "confidence"],
    "trials": [2, 1, 20, np.int8(100)],
}


def shape_of(model: LinRFM) -> tuple[int, int]:
    """Return the numbers of users and items, as well as they can be told."""
    with suppress(Exception):
        return model._form().shape
    return 5, 5


# --- right answers ---


def dense(factors: Any) -> NDArray[np.float64]:
    return np.asarray(factors.toarray() if issparse(factors) else factors, dtype=np.float64)


def stored(matrix: Matrix) -> NDArray[np.bool_] | None:
    """Return which entries there are, whatever their values, as recommend leaves them out."""
    if matrix.truth is None:
        return None
    found = np.zeros(matrix.truth.shape, dtype=bool)
    if matrix.given is not None:
        m = csr_matrix(matrix.given)
        found[np.repeat(np.arange(m.shape[0]), np.diff(m.indptr).astype(np.int64)), m.indices] = True
    return found


def check_top(
    answer: tuple[Any, Any],
    expected: Floats,
    size: Floats,
    excluded: NDArray[np.bool_] | None,
    candidates: NDArray[np.int64] | None,
    N: int,
    shape: tuple[int, ...],
    dtype: Any,
) -> None:
    """Check lists against all scores, shape (rows, columns); ``size`` bounds the terms of which these are sums."""
    ids, scores = answer
    n_columns = expected.shape[1]
    allowed = np.arange(n_columns) if candidates is None else candidates
    assert (ids.dtype, scores.dtype) == (np.int32, dtype)
    assert ids.shape == scores.shape == shape
    ids, scores = np.atleast_2d(ids), np.atleast_2d(scores)
    assert np.isfinite(scores).all()
    assert ((ids >= -1) & (ids < n_columns)).all()
    assert (np.diff(scores) <= 0).all()
    lowest = np.finfo(dtype).min
    assert (scores[ids == -1] == lowest).all()
    tolerance = 64 * np.finfo(dtype).eps * size + 1e-30
    for row in range(len(ids)):
        given = ids[row][ids[row] >= 0]
        assert len(given) == len(set(given.tolist())) == min(N, len(set(allowed.tolist())))
        assert np.isin(given, allowed).all()
        if excluded is None or not (np.abs(expected[row]) < -lowest / 4).all():
            continue
        out = excluded[row, given]
        values = scores[row][ids[row] >= 0]
        assert (values[out] == lowest).all()
        assert (np.abs(values[~out] - expected[row, given[~out]]) <= tolerance[row, given[~out]]).all()
        left = np.setdiff1d(allowed[~excluded[row, allowed]], given)
        if len(left) and N > 0:
            assert not out.any()
            assert expected[row, left].max() <= values.min() + tolerance[row].max()


def check_fitted(model: LinRFM, shape: tuple[int, int]) -> None:
    assert model._form().shape == shape
    for factors in (model.user_factors, model.item_factors):
        assert factors.dtype == np.dtype(model.dtype)
        assert np.isfinite(factors.data if issparse(factors) else factors).all()


def same_bits(one: LinRFM, two: LinRFM) -> None:
    assert state(one) == state(two)


# --- operations: each takes what draws, and a model, which it may change ---


def fit(draw: Draw, model: LinRFM) -> None:
    data = matrix_of(draw, *draw(st.sampled_from(SHAPES)))
    if isinstance(model.iterations, int | np.integer) and model.iterations > 6:
        model.iterations = 3
    if draw(seldom):
        model.random_state = draw(st.sampled_from([np.random.default_rng, np.random.RandomState]))(3)
    twin = LinRFM()
    with suppress(TypeError):  # of a hostile attribute, that Python cannot copy
        vars(twin).update(copy.deepcopy({**vars(model), "user_factors": None, "item_factors": None}))
    losses: list[Any] = []

    def stop(*arguments: Any) -> None:
        raise StopFitError("stop")

    callback = one_of(draw, [None, None, lambda iteration, elapsed, loss: losses.append(loss), stop])
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "checkpoint"
        foreign = Path(folder) / "foreign"
        foreign.write_bytes(b"foreign")
        good = [kept, str(kept)]
        checkpoint = one_of(draw, [None, None, None, *good, folder, foreign, f"{folder}/none/checkpoint"])
        progress = one_of(draw, [False, 0, None, np.bool_(False)])
        answer = attempt(
            model,
            lambda: model.fit(data.given, progress, callback, checkpoint=checkpoint),
            data.given,
            also=(StopFitError, OSError, *_unusual(callback)),
        )
        if answer is REFUSED:
            if data.truth is not None and any(checkpoint is path for path in good) and callback is stop:
                answer = attempt(model, lambda: model.fit(data.given, False, checkpoint=kept), data.given)
            if answer is REFUSED:
                return
        assert sorted(os.listdir(folder)) == [*["checkpoint"] * any(checkpoint is path for path in good), "foreign"]
    assert answer is model
    assert all(loss is None or isinstance(loss, float) for loss in losses)
    if data.truth is not None:
        check_fitted(model, data.truth.shape)
        plain = attempt(twin, lambda: twin.fit(csr_matrix(data.truth), False))
        if plain is not REFUSED and not isinstance(twin.random_state, np.random.Generator | np.random.RandomState):
            same_bits(model, twin)


def _unusual(callback: Any) -> tuple[type[Exception], ...]:
    """Return what a callback of the hostile values raises by itself: it may be a class, or a builtin."""
    return (TypeError,) if callable(callback) and isinstance(callback, type | type(len)) else ()


def partial_fit_users(draw: Draw, model: LinRFM) -> None:
    n_users, n_items = shape_of(model)
    ids = ids_of(draw, n_users + 4)
    rows, before = matrix_of(draw, how_many(ids), n_items), copy.deepcopy(model.user_factors)
    if attempt(model, lambda: model.partial_fit_users(ids, rows.given), rows.given) is REFUSED:
        return
    given = listed(ids)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = model.recalculate_user(given, rows.given)
    size = max(n_users, int(given.max(initial=-1)) + 1)
    assert model._form().shape == (size, n_items)
    last = {int(row): place for place, row in enumerate(given)}
    now, was = dense(model.user_factors), dense(before)
    for row in range(size):
        wanted = dense(expected)[last[row]] if row in last else was[row] if row < n_users else 0
        if isinstance(model.user_factors, csr_matrix) and not now[row].any() and row in last:
            wanted = wanted - mean_user(model)  # which the full form does not store
        np.testing.assert_array_equal(now[row], wanted)


def partial_fit_items(draw: Draw, model: LinRFM) -> None:
    n_users, n_items = shape_of(model)
    ids = ids_of(draw, n_items + 4)
    rows, before = matrix_of(draw, how_many(ids), n_users), copy.deepcopy(model.item_factors)
    if attempt(model, lambda: model.partial_fit_items(ids, rows.given), rows.given) is REFUSED:
        return
    given = listed(ids)
    assert model._form().shape == (n_users, max(n_items, int(given.max(initial=-1)) + 1))
    untouched = np.setdiff1d(np.arange(n_items), given)
    np.testing.assert_array_equal(model.item_factors[untouched], before[untouched])
    assert np.isfinite(model.item_factors[given]).all()


def features_of(draw: Draw, n: int) -> Any:
    """Return features of n rows, of other rows, or of no kind at all."""
    if draw(seldom):
        return anything(draw)
    rows = draw(st.sampled_from([n, n, n, n, 0, n + 1]))
    values = np.random.default_rng(rows).integers(0, 3, size=(rows, draw(st.sampled_from([3, 3, 3, 0, 1]))))
    return draw(st.sampled_from([values, values.astype(float), csr_matrix(values), coo_array(values), values * np.nan]))


def fit_with_features(draw: Draw, model: LinRFM) -> None:
    data = matrix_of(draw, *draw(st.sampled_from(SHAPES)))
    model.iterations = 2
    shape = data.given.shape if issparse(data.given) else (0, 0)
    items, users = features_of(draw, shape[1]), draw(st.sampled_from([None, features_of(draw, shape[0])]))
    answer = attempt(model, lambda: model.fit(data.given, False, item_features=items, user_features=users), data.given)
    if answer is not REFUSED and data.truth is not None:
        assert model.item_factors.shape[0] == data.truth.shape[1]
        assert np.isfinite(model.item_factors).all()
        assert np.isfinite(dense(model.user_factors)).all()
        add_items(draw, model)


def add_items(draw: Draw, model: LinRFM) -> None:
    """Add new items by features of any kind; where the fit had none, that is refused."""
    n_users, n_items = shape_of(model)
    n = draw(st.integers(0, 3))
    rows, features = matrix_of(draw, n, n_users), features_of(draw, n)
    ids = attempt(model, lambda: model.add_items(features, rows.given), rows.given)
    if ids is not REFUSED:
        assert ids.tolist() == list(range(n_items, n_items + len(ids)))
        assert np.isfinite(model.item_factors[ids]).all()


def recalculate_user(draw: Draw, model: LinRFM) -> None:
    n_users, n_items = shape_of(model)
    ids = ids_of(draw, n_users)
    rows = matrix_of(draw, how_many(ids), n_items)
    answer = attempt(model, lambda: model.recalculate_user(ids, rows.given), rows.given)
    if answer is not REFUSED:
        width = model.item_factors.shape[1]
        assert answer.shape == ((width,) if np.ndim(ids) == 0 else (len(listed(ids)), width))
        assert answer.dtype == model.item_factors.dtype
        assert np.isfinite(answer.data if issparse(answer) else answer).all()


def recalculate_item(draw: Draw, model: LinRFM) -> None:
    n_users, n_items = shape_of(model)
    ids = ids_of(draw, n_items)
    rows = matrix_of(draw, how_many(ids), n_users)
    answer = attempt(model, lambda: model.recalculate_item(ids, rows.given), rows.given)
    if answer is not REFUSED:
        width = model.item_factors.shape[1]
        assert answer.shape == ((width,) if np.ndim(ids) == 0 else (len(listed(ids)), width))
        assert answer.dtype == model.item_factors.dtype
        assert np.isfinite(answer).all()


def _scores(model: LinRFM, users: Any) -> tuple[Floats, Floats]:
    """Return the scores of users with these factors, in float64, and the sums of the absolute terms."""
    U, F = dense(users), dense(model.item_factors)
    with np.errstate(all="ignore"):
        return U @ F.T, np.abs(U) @ np.abs(F).T


def recommend(draw: Draw, model: LinRFM) -> None:
    n_users, n_items = shape_of(model)
    ids, N = ids_of(draw, n_users), sizes(draw, n_items)
    rows = matrix_of(draw, how_many(ids), n_items, csr_only=True)
    if draw(seldom):
        rows = Matrix(None, np.zeros((how_many(ids), n_items)), True)
    flags = one_of(draw, [True, False]), one_of(draw, [False, True])
    out = ids_of(draw, n_items) if draw(seldom) else None
    only = ids_of(draw, n_items, 30) if draw(seldom) else None
    answer = attempt(
        model,
        lambda: model.recommend(ids, rows.given, N, flags[0], out, flags[1], only),
        *(rows.given, model.user_factors, model.item_factors),
    )
    if answer is REFUSED:
        return
    filters, recalculates = (bool(flag) for flag in flags)
    excluded = stored(rows) if filters else np.zeros((len(listed(ids)), n_items), bool)
    if out is not None and excluded is not None:
        excluded[:, listed(out)] = True
    candidates = None if only is None else listed(only)
    N = int(N) if candidates is None else min(int(N), len(set(candidates.tolist())))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        U = model.recalculate_user(listed(ids), rows.given) if recalculates else model.user_factors[listed(ids)]
    U = np.where(dense(U).any(axis=1, keepdims=True), dense(U), mean_user(model))
    shape = (N,) if np.ndim(ids) == 0 else (len(listed(ids)), N)
    check_top(answer, *_scores(model, U), excluded, candidates, N, shape, model.item_factors.dtype)


def explore(draw: Draw, model: LinRFM) -> None:
    n_users, n_items = shape_of(model)
    ids, N = ids_of(draw, n_users), sizes(draw, n_items)
    rows = matrix_of(draw, how_many(ids), n_items, csr_only=True)
    how = one_of(draw, ["thompson", "ucb", None])
    scale, seed = one_of(draw, [0.5, 0, 1, 1e9]), one_of(draw, [None, 0, 7])
    only = ids_of(draw, n_items, 30) if draw(seldom) else None
    answer = attempt(
        model,
        lambda: model.recommend(
            ids, rows.given, N, recalculate_user=one_of(draw, [False, True]), items=only, return_std=True, explore=how,
            explore_scale=scale, random_state=seed,
        ),
        *(rows.given, model.user_factors, model.item_factors),
    )  # fmt: skip
    if answer is REFUSED:
        return
    found, scores, std = (np.atleast_2d(part) for part in answer)
    assert found.shape == scores.shape == std.shape
    assert np.isfinite(std).all()
    assert (std >= 0).all()
    ranked = scores > np.finfo(scores.dtype).min
    assert (np.diff(scores, axis=1) <= 0).all()
    for row, kept in zip(found, ranked, strict=True):
        assert len(set(row[kept].tolist())) == kept.sum()


def unsure(draw: Draw, model: LinRFM) -> None:
    n_users, n_items = shape_of(model)
    ids, items = ids_of(draw, n_users), ids_of(draw, n_items, 30)
    rows = matrix_of(draw, how_many(ids), n_items)
    scores = attempt(model, lambda: model.score(ids, items))
    std = attempt(model, lambda: model.score_std(ids, rows.given, items), rows.given)
    for answer in (scores, std):
        if answer is not REFUSED:
            assert np.shape(answer) == tuple(len(listed(each)) for each in (ids, items) if np.ndim(each) > 0)
    if std is not REFUSED:
        assert np.isfinite(std).all()
    left_out = attempt(model, lambda: model.leave_one_out(rows.given, one_of(draw, [True, False])), rows.given)
    if isinstance(left_out, tuple):
        assert (left_out[0].indices == left_out[1].indices).all()


def recommend_all(draw: Draw, model: LinRFM) -> None:
    n_users, n_items = shape_of(model)
    rows, N = matrix_of(draw, n_users, n_items, csr_only=True), sizes(draw, n_items)
    offset = one_of(draw, [0, 0, 0, 1])
    flags = one_of(draw, [False, True]), one_of(draw, [True, False])
    out = ids_of(draw, n_items) if draw(seldom) else None
    answer = attempt(model, lambda: model.recommend_all(rows.given, N, *flags, out, offset), rows.given)
    if answer is not REFUSED:
        users = int(offset) + np.arange(rows.given.shape[0])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ids, _ = model.recommend(users, rows.given, N, flags[1], out, flags[0])
        np.testing.assert_array_equal(answer, ids)


def rank_items(draw: Draw, model: LinRFM) -> None:
    n_users, n_items = shape_of(model)
    ids, selected = ids_of(draw, n_users), ids_of(draw, n_items, 30)
    rows, recalculates = matrix_of(draw, how_many(ids), n_items, csr_only=True), one_of(draw, [False, True])
    answer = attempt(model, lambda: model.rank_items(ids, rows.given, selected, recalculates), rows.given)
    if answer is not REFUSED:
        wanted = np.unique(listed(selected))
        for row in np.atleast_2d(answer[0]):
            np.testing.assert_array_equal(np.sort(row), wanted)


def _cosines(queries: Any, rows: Any, others: Any) -> tuple[Floats, Floats]:
    """Return the cosines in the metric of the other side, and how many eps they may be off: its root has sqrt(eps)."""
    with np.errstate(all="ignore"):
        lost = np.zeros(len(dense(queries))), np.zeros(rows.shape[0])
        if not isinstance(others, csr_matrix) and not isinstance(rows, csr_matrix):
            B = others.astype(np.float64)
            values, V = np.linalg.eigh(np.nan_to_num(B.T @ B / max(np.abs(B).max(initial=0) ** 2, 1e-300)))
            if values.max(initial=0) > 0:
                T = (V * np.sqrt(np.maximum(values, 0))) @ V.T
                before = [np.linalg.norm(part, axis=1) for part in (queries, rows)]
                queries, rows = queries @ T, rows @ T
                after = [np.linalg.norm(part, axis=1) for part in (queries, rows)]
                lost = tuple(
                    np.nan_to_num(4 * np.sqrt(values.max() / np.finfo(others.dtype).eps) * a / b, nan=1e30, posinf=1e30)
                    for a, b in zip(before, after, strict=True)
                )
        one, two = (dense(part) / np.abs(dense(part)).max(axis=1, initial=1e-300)[:, None] for part in (queries, rows))
        one, two = (part / np.maximum(np.linalg.norm(part, axis=1), 1e-10)[:, None] for part in (one, two))
        return one @ two.T, 16 + np.add.outer(*lost)


def similar_items(draw: Draw, model: LinRFM) -> None:
    n_users, n_items = shape_of(model)
    ids, N, recalculates = ids_of(draw, n_items), sizes(draw, n_items), one_of(draw, [False, False, True])
    rows = matrix_of(draw, how_many(ids), n_users)
    out = ids_of(draw, n_items) if draw(seldom) else None
    only = ids_of(draw, n_items, 30) if draw(seldom) else None
    answer = attempt(model, lambda: model.similar_items(ids, N, recalculates, rows.given, out, only), rows.given)
    if answer is REFUSED:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        queries = model.recalculate_item(listed(ids), rows.given) if recalculates else model.item_factors[listed(ids)]
    check_similar(answer, ids, N, out, only, queries, model.item_factors, known_users(model))


def similar_users(draw: Draw, model: LinRFM) -> None:
    n_users, _ = shape_of(model)
    ids, N = ids_of(draw, n_users), sizes(draw, n_users)
    out = ids_of(draw, n_users) if draw(seldom) else None
    only = ids_of(draw, n_users, 30) if draw(seldom) else None
    answer = attempt(model, lambda: model.similar_users(ids, N, out, only))
    if answer is not REFUSED:
        factors = known_users(model)
        check_similar(answer, ids, N, out, only, factors[listed(ids)], factors, model.item_factors)


def known_users(model: LinRFM) -> Any:
    """Return the factors of all users, zeros for those of whom nothing is known."""
    factors = model.user_factors
    if isinstance(factors, csr_matrix):
        return factors
    return np.where((factors == mean_user(model)).all(axis=1, keepdims=True), 0, factors).astype(factors.dtype)


def mean_user(model: LinRFM) -> Floats:
    """Return the factors of a user of whom nothing is known."""
    mean: Floats | None = model._form().mean_user
    return np.zeros(model.item_factors.shape[1], model.item_factors.dtype) if mean is None else mean


def check_similar(answer: Any, ids: Any, N: Any, out: Any, only: Any, queries: Any, rows: Any, others: Any) -> None:
    excluded = np.zeros((len(listed(ids)), rows.shape[0]), bool)
    if out is not None:
        excluded[:, listed(out)] = True
    shape = (int(N),) if np.ndim(ids) == 0 else (len(listed(ids)), int(N))
    candidates = None if only is None else listed(only)
    check_top(answer, *_cosines(queries, rows, others), excluded, candidates, int(N), shape, rows.dtype)


def explain(draw: Draw, model: LinRFM) -> None:
    n_users, n_items = shape_of(model)
    users = matrix_of(draw, n_users, n_items)
    user, item, N = one_of(draw, range(max(n_users, 1))), one_of(draw, range(max(n_items, 1))), sizes(draw, n_items)
    weights = anything(draw) if draw(seldom) else None
    answer = attempt(model, lambda: model.explain(user, users.given, item, weights, N), users.given)
    if answer is REFUSED:
        return
    score, shares, kept = answer
    assert np.isfinite([score, *(share for _, share in shares)]).all()
    assert len(shares) <= int(N)
    again = attempt(model, lambda: model.explain(user, users.given, item, kept, 2**20))
    assert again is not REFUSED
    assert again[0] == score
    if any(share for _, share in again[1]):
        assert score == sum(share for _, share in again[1])
    assert again[1][: int(N)] == shares
    if draw(st.booleans()):
        lu, pivots = kept
        wrong = draw(
            st.sampled_from(
                [
                    (lu[:-1], pivots),
                    (lu * np.nan, pivots),
                    (lu * 0, pivots),
                    (lu, pivots - 1),
                    (lu, pivots + 1000),
                    (lu, pivots * 1.0),
                    (lu.astype(object), None),
                    (lu,),
                    [lu, pivots[::-1].astype(np.uint8)],
                    {0: lu},
                    (lu.astype(complex), pivots.astype(np.int64)),
                ]
            )
        )
        attempt(model, lambda: model.explain(user, users.given, item, wrong, N))
    if users.truth is not None and users.tame and model.item_factors.dtype == np.float64 and model.alpha == 7:
        row = csr_matrix(users.truth[[int(user)]])
        folded = attempt(model, lambda: model.recalculate_user(0, row))
        F = model.item_factors
        if folded is not REFUSED and np.linalg.norm(F, 2) < 1.001:  # others are set by hand: systems of any condition
            assert score == pytest.approx(float(folded @ F[int(item)]), rel=1e-7, abs=1e-9)


def save(draw: Draw, model: LinRFM) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        closed = io.BytesIO()
        closed.close()
        good = [path, str(path), io.BytesIO()]
        target = one_of(draw, [*good, folder, f"{folder}/none/model", io.StringIO(), closed, "", b"model", "\0"])
        if attempt(model, lambda: model.save(target), also=(OSError,)) is REFUSED:
            assert not path.exists()
            return
        if isinstance(target, io.BytesIO):
            target.seek(0)
        elif not any(target is path for path in good):  # one of the hostile values, which names a file
            return
        loaded = LinRFM.load(target)
    if model.item_factors is not None:
        same_bits(loaded, model)
    for name, value in loaded.get_params().items():
        assert value == kept_parameter(name, getattr(model, name))


def kept_parameter(name: str, value: Any) -> Any:
    """Return what a file keeps of a parameter."""
    if name == "dtype":
        return np.dtype(value)
    if isinstance(PARAMETERS[name][0], bool):
        return bool(value)
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, np.random.Generator | np.random.RandomState):
        return None
    return float(value)


def load(draw: Draw, model: LinRFM) -> None:
    file = io.BytesIO()
    model = copy.deepcopy(_fitted(3, "float32", (9, 7)))
    model.save(file)
    whole = file.getvalue()
    content = draw(
        st.one_of(
            st.binary(max_size=200),
            st.integers(0, len(whole) - 1).map(lambda length: whole[:length]),
            st.integers(0, len(whole) - 1).map(lambda at: whole[:at] + bytes([whole[at] ^ 64]) + whole[at + 1 :]),
            st.just(whole),
        )
    )
    source = one_of(draw, [io.BytesIO(content), io.BytesIO(content), io.StringIO("text"), "/", "/none", "", b"/", None])
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        loaded = attempt(model, lambda: LinRFM.load(source), also=(OSError,))
    if loaded is not REFUSED:
        assert content == whole
        same_bits(loaded, model)


def pickled(draw: Draw, model: LinRFM) -> None:
    with suppress(TypeError, AttributeError, pickle.PicklingError):  # of a hostile attribute, that Python cannot pickle
        for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
            if attempt(model, model._form) is not REFUSED:
                same_bits(twin, model)
    COUNTS["answered"] += 1


def set_params(draw: Draw, model: LinRFM) -> None:
    names = draw(st.lists(st.sampled_from(list(PARAMETERS)), min_size=1, max_size=3, unique=True))
    values = {name: one_of(draw, PARAMETERS[name]) for name in names}
    if draw(seldom):
        values[draw(st.sampled_from(["", "beta", "user_factors", "fit", "_x"]))] = 1
    before = model.get_params()
    answer = attempt(model, lambda: model.set_params(**values))
    assert all(getattr(model, name) is (before | ({} if answer is REFUSED else values))[name] for name in before)


def construct(draw: Draw, model: LinRFM) -> None:
    names = draw(st.lists(st.sampled_from(list(PARAMETERS)), max_size=3, unique=True))
    values = {name: one_of(draw, PARAMETERS[name]) for name in names}
    made = attempt(model, lambda: LinRFM(**values))
    if made is not REFUSED:
        assert all(getattr(made, name) is value for name, value in values.items())
        file = io.BytesIO()
        made.save(file)
        file.seek(0)
        assert LinRFM.load(file).item_factors is None
        assert repr(made)


def norms(draw: Draw, model: LinRFM) -> None:
    for name, factors in (("user_norms", model.user_factors), ("item_norms", model.item_factors)):
        answer = attempt(model, lambda name=name: getattr(model, name))  # type: ignore[misc]
        if answer is not REFUSED:
            assert answer.shape == (factors.shape[0],)
            assert not (answer <= 0).any()


OPERATIONS = [
    *(
        fit,
        fit_with_features,
        partial_fit_users,
        partial_fit_items,
        add_items,
        recalculate_user,
        recalculate_item,
        recommend,
        recommend_all,
    ),
    *(explore, unsure),
    *(rank_items, similar_items, similar_users, explain, save, load, pickled, set_params, construct, norms),
]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_every_call_answers_rightly_or_refuses(operation: Callable[[Draw, LinRFM], None]) -> None:
    @options(CASES)
    @given(data=st.data())
    def cases(data: st.DataObject) -> None:
        COUNTS["cases"] += 1
        operation(data.draw, model_of(data.draw))

    cases()


class Machine(RuleBasedStateMachine):
    """One model through a life of calls: what an earlier one left must not make a later one fail."""

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        COUNTS["runs"] += 1
        self.model = model_of(data.draw)

    @rule(data=st.data())
    def fit(self, data: st.DataObject) -> None:
        self._do(fit, data)

    @rule(data=st.data())
    def partial_fit(self, data: st.DataObject) -> None:
        self._do(data.draw(st.sampled_from([partial_fit_users, partial_fit_items])), data)

    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        self._do(
            data.draw(st.sampled_from([recommend, explore, recommend_all, rank_items, similar_items, similar_users])),
            data,
        )

    @rule(data=st.data())
    def fold_in(self, data: st.DataObject) -> None:
        self._do(data.draw(st.sampled_from([recalculate_user, recalculate_item, explain, norms])), data)

    @rule(data=st.data())
    def set_params(self, data: st.DataObject) -> None:
        self._do(set_params, data)

    @rule(data=st.data())
    def save(self, data: st.DataObject) -> None:
        self._do(save, data)

    @rule()
    def go_on_with_what_was_saved(self) -> None:
        file = io.BytesIO()
        if attempt(self.model, lambda: self.model.save(file)) is not REFUSED:
            file.seek(0)
            self.model = LinRFM.load(file)
        COUNTS["steps"] += 1

    @rule()
    def go_on_with_a_copy(self) -> None:
        with suppress(TypeError, AttributeError, pickle.PicklingError):
            self.model = pickle.loads(pickle.dumps(self.model))
        COUNTS["steps"] += 1

    @rule(data=st.data())
    def set_factors(self, data: st.DataObject) -> None:
        set_by_hand(data.draw, self.model)
        COUNTS["steps"] += 1

    def _do(self, operation: Callable[[Draw, LinRFM], None], data: st.DataObject) -> None:
        operation(data.draw, self.model)
        COUNTS["steps"] += 1


TestMachine = Machine.TestCase
TestMachine.settings = options(RUNS, stateful_step_count=STEPS)
