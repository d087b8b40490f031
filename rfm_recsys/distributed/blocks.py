"""The users of the loop in blocks on a Dask cluster: each of its operations is a pass over the blocks.

A pass runs a pure function on every block, and adds up what they return along a tree over their numbers: the result
depends on the blocks, and on nothing else. What travels is of items x factors, whatever the number of users. The blocks
of a worker's thread are one group, a run of them: a pass has one task a group, which adds up all that the tree lets it
before anything travels. (Of more tasks than threads, Dask's scheduler moves some to a worker that waits, and their
blocks with them.) State is futures whose keys name the fit and the pass, so that what a lost worker held is computed
again, to the same bits, and no pass can be given the state of another.
"""

import copy
import errno
import hashlib
import secrets
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, contextmanager
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import dask
import numpy as np
from dask.delayed import Delayed, delayed
from dask.sizeof import sizeof
from distributed import Client, Future, get_worker, wait
from distributed.client import ClosedClientError
from distributed.comm.core import CommClosedError
from distributed.scheduler import KilledWorker
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack
from tqdm.auto import tqdm

from rfm_recsys.core import kernels
from rfm_recsys.core.arrays import Floats, Ints
from rfm_recsys.core.kernels import MOST_ITERATIONS, RESIDUAL
from rfm_recsys.core.linalg import multiply
from rfm_recsys.core.runtime import telling_of_compilation, threads
from rfm_recsys.distributed.plan import group_bounds, workers_of
from rfm_recsys.errors import DataError, InsufficientMemoryError
from rfm_recsys.recommender.blocks import Settings, UserBlock, overflow
from rfm_recsys.recommender.rounds import PASSES
from rfm_recsys.recommender.values import confidences

# A LocalCluster ends a worker for good that is away so long after it was lost, even if it was back in between and was
# lost again just then: by default 15 seconds, so that workers that are lost again and again are ended one by one.
dask.config.update_defaults({"distributed": {"deploy": {"lost-worker-timeout": "10h"}}})

INLINE = 2**16  # bytes up to which a value travels with each task that needs it
USUAL_ITERATIONS = 12  # of conjugate gradients, for the estimate of the time that is left

Product = Callable[[NDArray[np.intp], Floats], Floats]
Nodes = dict[tuple[int, int], Any]  # of the tree of sums, by level and number


@sizeof.register(UserBlock)  # type: ignore[untyped-decorator, unused-ignore]
def _block_bytes(block: UserBlock) -> int:
    """Return what a block takes, for Dask's account of a worker's memory."""
    return sum(array.nbytes for array in (block.indptr, block.indices, block.confidence, *block.by_item))


def _work(topic: str, note: dict[str, Any], function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a task on one thread, on arrays of the one form that kernels are compiled for, and tell the client."""
    with threads(1), _telling(topic):
        result = function(*(_usable(argument) for argument in arguments))
    get_worker().log_event(topic, note)
    return result


def _over_blocks(
    topic: str, notes: list[dict[str, Any]], function: Callable[..., Any], states: list[Any], common: list[Any]
) -> list[Any]:
    """Run a function on all blocks of a group; return what it returns of each."""
    return list(_results(topic, notes, function, states, common))


def _sum_of_blocks(
    topic: str,
    notes: list[dict[str, Any]],
    function: Callable[..., Any],
    states: list[Any],
    common: list[Any],
    first: int,
    n_blocks: int,
) -> Nodes:
    """Run a function on all blocks of a group; return the nodes of the tree that they are enough for."""
    nodes: Nodes = {}
    for block, value in enumerate(_results(topic, notes, function, states, common), first):
        nodes[0, block] = value
        _climb(nodes, (0, block), n_blocks)
    return nodes


def _results(
    topic: str, notes: list[dict[str, Any]], function: Callable[..., Any], states: list[Any], common: list[Any]
) -> Iterator[Any]:
    shared = [_usable(value) for value in common]
    with threads(1), _telling(topic):
        for note, *state in zip(notes, *states, strict=True):
            yield function(*(_usable(part) for part in state), *shared)
            get_worker().log_event(topic, note)


def _climb(nodes: Nodes, node: tuple[int, int], n_blocks: int) -> None:
    """Add a node to its neighbour, and the sum to the next, for as long as there is one; the last of an odd row rises.

    ``(level, k)`` is the sum of the blocks from ``2^level k`` on, as many as ``2^level``.
    """
    level, k = node
    while (width := -(-n_blocks // 2**level)) > 1:
        neighbour = k ^ 1
        if neighbour < width and (level, neighbour) not in nodes:
            return
        value = nodes.pop((level, k))
        if neighbour < width:
            other = nodes.pop((level, neighbour))
            value = np.add(value, other) if k < neighbour else np.add(other, value)
        level, k = level + 1, k // 2
        nodes[level, k] = value


def _together(some: Nodes, others: Nodes, n_blocks: int) -> Nodes:
    """Return the nodes of the tree that those of two runs of groups are enough for."""
    nodes = {**some, **others}
    for node in others:
        if node in nodes:
            _climb(nodes, node, n_blocks)
    return nodes


def _telling(topic: str) -> AbstractContextManager[None]:
    """Tell the client when kernels are compiled, which later workers find on the disk."""

    def tell(compiling: bool) -> None:
        if compiling:
            get_worker().log_event(topic, {"text": "compiling kernels, once on this machine", "share": 0})

    return telling_of_compilation(tell)


def _usable(value: Any) -> Any:
    return np.require(value, None, ["C", "W"]) if isinstance(value, np.ndarray) and value.ndim > 0 else value


def _itself(value: Any) -> Any:
    return value


def _note(what: str, k: int, n: int, work: float) -> dict[str, Any]:
    return {"text": f"{what} {k + 1} of {n}", "share": work / n}


class Passes:
    """The tasks of one fit on a cluster, and the progress bar over all of them.

    Parameters
    ----------
    client : Client
    show_progress : bool
    """

    def __init__(self, client: Client, show_progress: bool) -> None:
        self.client, self.name = client, secrets.token_hex(4)
        self.topic, self.number, self.values, self.stage = f"rfm-recsys-{self.name}", 0, 0, ""
        self.bounds = [0]  # of the groups: the number of each one's first block, and that after the last
        self.bar: tqdm[Any] = tqdm(
            disable=not show_progress,
            desc="LinRFM",
            bar_format="{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}{postfix}]",
        )

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Show what the workers report, while inside."""
        if not self.bar.disable:
            self.client.subscribe_topic(self.topic, self._take)
        try:
            yield
            self.bar.n = self.bar.total or 0  # what was an estimate, and what the workers have yet to report
        finally:
            if not self.bar.disable:
                self.client.unsubscribe_topic(self.topic)
            self.bar.close()

    def _take(self, event: tuple[float, dict[str, Any]]) -> None:
        note = event[1]
        self.bar.set_postfix_str(note["text"], refresh=False)
        self.bar.update(note["share"])

    def expect(self, work: float) -> None:
        """Say how much work is left, in products of all interactions with a matrix."""
        self.bar.total = self.bar.n + work

    def each(
        self, what: str, work: float, function: Callable[..., Any], *states: Sequence[Any], common: Sequence[Any] = ()
    ) -> list[Future]:
        """Run a function on the state of every block, and on what is common to all; return its results as futures."""
        self.number += 1
        shared = [self.sent(what, value) if sizeof(value) > INLINE else value for value in common]
        return [
            self.client.submit(
                _work,
                self.topic,
                _note(f"{self.stage}{what}, block", block, len(states[0]), work),
                function,
                *state,
                *shared,
                key=f"{what}-{self.name}-{self.number}-block-{block}",
            )
            for block, state in enumerate(zip(*states, strict=True))
        ]

    def over(
        self, what: str, work: float, function: Callable[..., Any], *states: Sequence[Any], common: Sequence[Any] = ()
    ) -> list[Future]:
        """Run a function on all blocks, a task a group; return the lists of results of each group, as futures.

        A state is a list over the groups, of futures of lists, or lists, over the blocks.
        """
        return [
            self.client.submit(_over_blocks, *arguments, key=f"{what}-{self.name}-{self.number}-group-{group}")
            for group, arguments in enumerate(self._of_groups(what, work, function, states, common))
        ]

    def summed(
        self, what: str, work: float, function: Callable[..., Any], *states: Sequence[Any], common: Sequence[Any] = ()
    ) -> Any:
        """Return the sum of what a function returns of the blocks, in the order of a tree over their numbers."""
        n_blocks = self.bounds[-1]
        parts = [
            self.client.submit(
                _sum_of_blocks,
                *(*arguments, self.bounds[group], n_blocks),
                key=f"{what}-{self.name}-{self.number}-group-{group}",
            )
            for group, arguments in enumerate(self._of_groups(what, work, function, states, common))
        ]
        level = 0
        while len(parts) > 2:  # the last two are added up here, which saves a pass its longest wait
            level += 1
            pairs = list(zip(parts[::2], parts[1::2], strict=False))
            sums = [
                self.client.submit(_together, *pair, n_blocks, key=f"add-{self.name}-{self.number}-{level}-{k}")
                for k, pair in enumerate(pairs)
            ]
            parts = sums + parts[2 * len(pairs) :]
        nodes: list[Nodes] = list(self.client.gather(parts))
        (total,) = (_together(nodes[0], nodes[1], n_blocks) if len(nodes) > 1 else nodes[0]).values()
        return _usable(total)

    def _of_groups(
        self, what: str, work: float, function: Callable[..., Any], states: Sequence[Sequence[Any]], common: Any
    ) -> list[tuple[Any, ...]]:
        """Return the arguments of the tasks of a pass over the groups."""
        self.number += 1
        shared = [self.sent(what, value) if sizeof(value) > INLINE else value for value in common]
        n_blocks = self.bounds[-1]
        notes = [_note(f"{self.stage}{what}, block", block, n_blocks, work) for block in range(n_blocks)]
        return [
            (self.topic, notes[first:last], function, [state[group] for state in states], shared)
            for group, (first, last) in enumerate(pairwise(self.bounds))
        ]

    def grouped(self, values: Sequence[Any]) -> list[list[Any]]:
        """Return what is given for each block as a state of the groups."""
        return [list(values[first:last]) for first, last in pairwise(self.bounds)]

    def later(self, what: str, work: float, k: int, n: int, function: Callable[..., Any], *arguments: Any) -> Delayed:
        """Return the task that is number k of n of a pass, for the graph of several passes."""
        task = delayed(_work, pure=False)
        key = f"{what}-{self.name}-{k}"
        return task(self.topic, _note(what, k, n, work), function, *arguments, dask_key_name=key)

    def sent(self, what: str, value: Any) -> Future:
        """Return a future of a value that the scheduler keeps, so that no worker can lose it."""
        self.values += 1
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sending large graph")
            return self.client.submit(_itself, value, key=f"send-{what}-{self.name}-{self.values}")


def work_of(rounds: int, done: int) -> float:
    """Return the work of the rounds that are left, in products of all interactions with a matrix."""
    first = 0 if done else 2 * PASSES + USUAL_ITERATIONS
    return first + max(rounds - max(done, 1), 0) * (2 * USUAL_ITERATIONS + 3)


class DistributedBlocks:
    """Blocks of users on a cluster, as the loop sees them; the same interface as :class:`UserBlock`.

    Parameters
    ----------
    passes : Passes
    laid : list, over the blocks, of what ``weigh`` makes signed weights of, shape (users of the block, items)
    weigh : callable
    alpha : float
        The confidences are ``alpha`` times these.
    rounds : int
        Of the fit, for the estimate of the time left.
    """

    F: Floats
    items_gram: Floats
    U: list[Future]
    roots: list[Future]

    def __init__(
        self, passes: Passes, laid: Sequence[Any], weigh: Callable[[Any], csr_matrix], alpha: float, rounds: int
    ) -> None:
        self.passes, self.rounds, self.done = passes, rounds, 0
        passes.stage = ""
        passes.expect(1 + work_of(rounds, 0))
        n_threads = sum(worker["nthreads"] for worker in workers_of(passes.client).values())
        passes.bounds = group_bounds(len(laid), n_threads)
        self.blocks = passes.over("index", 1, _indexed, passes.grouped(laid), common=(weigh, alpha))
        self.facts = self._gathered(passes.over("count", 0, _facts, self.blocks))
        columns = [fact["items"] for fact in self.facts]
        if odd := [block for block, n in enumerate(columns) if n != columns[0]]:
            raise DataError(
                f"block {odd[0]} of the interactions has {columns[odd[0]]} items, and block 0 has {columns[0]}; pass "
                "matrices of the same number of columns"
            )
        self.item_counts: Ints = passes.summed("count items", 0, _item_counts, self.blocks)
        self.n_users = sum(fact["users"] for fact in self.facts)
        self.n_items = len(self.item_counts)
        self.dtype: np.dtype[Any] = self.facts[0]["dtype"]

    def _gathered(self, groups: list[Future]) -> list[Any]:
        """Return the results of all blocks."""
        return list(chain.from_iterable(self.passes.client.gather(groups)))

    def first_rows(self) -> list[int]:
        """Return the number of every block's first user."""
        return [0, *np.cumsum([fact["users"] for fact in self.facts]).tolist()[:-1]]

    def activity(self) -> tuple[int, int]:
        """Return the number of users who like an item, and of all that they like."""
        return sum(fact["active"] for fact in self.facts), sum(fact["liked"] for fact in self.facts)

    def weigh(self, settings: Settings, mean_count: float) -> None:
        """Set the weights of the users in the AGOP; ``mean_count`` is that of all users."""
        self.roots = self.passes.over("weigh", 0, _roots, self.blocks, common=(settings, mean_count))

    def agop_product(self, settings: Settings, scale: Floats, Q: Floats) -> Floats:
        """Return ``D X^T W X D Q`` for the X of round 1 and the diagonal of D, shape (items, b) like Q."""
        self.passes.stage = f"round 1 of {self.rounds}: "
        common = (settings, scale, Q)
        return np.asarray(self.passes.summed("eigenvectors", 2, _agop_product, self.blocks, self.roots, common=common))

    def solve(self, F: Floats) -> None:
        """Solve every user for F, shape (items, factors)."""
        self.F = F
        self.U = self.passes.over("users", USUAL_ITERATIONS, _solved, self.blocks, common=(F,))
        wait(self.U)
        for future in self.U:
            if future.status == "error":
                future.result()
        self.done += 1
        self.passes.expect(USUAL_ITERATIONS + work_of(self.rounds, self.done))

    def grams(self) -> tuple[Floats, Floats]:
        """Return ``U^T U`` and ``U^T W U``, shape (factors, factors)."""
        U_gram, weighted = self.passes.summed("grams", 1, _grams, self.blocks, self.roots, self.U)
        return U_gram, weighted

    def solve_items(self, T: Floats) -> Floats:
        """Solve every item for the users' features ``R = U T``; return V, shape (items, factors).

        An item's system is a sum over all users. Conjugate gradients on all items at once ask the blocks for no more
        than its products. U and F, which the next :meth:`solve` replaces, are given up for the memory.
        """
        self.passes.stage = f"round {self.done + 1} of {self.rounds}: "
        features = self.passes.over("features", 1, multiply, self.U, common=(T,))
        del self.U, self.F
        rhs = self.passes.summed("right-hand sides", 1, _right_sides, self.blocks, features)
        rhs = np.ascontiguousarray(rhs, dtype=self.dtype)

        def product(chosen: NDArray[np.intp], P: Floats) -> Floats:
            return np.asarray(self.passes.summed("items", 1, _products, self.blocks, features, common=(chosen, P)))

        V, left = conjugate_gradients(product, rhs)
        at_once = max(1, len(rhs) // rhs.shape[1])  # so that their matrices are no more than items x factors
        for first in range(0, len(left), at_once):
            some = left[first : first + at_once]
            matrices = self.passes.summed("matrices", 0, _item_grams, self.blocks, features, common=(some,))
            matrices = matrices.astype(np.float64) + np.eye(rhs.shape[1])
            try:
                V[some] = np.linalg.solve(matrices, rhs[some].astype(np.float64)[:, :, None])[:, :, 0]
            except np.linalg.LinAlgError as error:
                raise overflow("item", some) from error
        lost = np.flatnonzero(~np.isfinite(V).all(axis=1))
        if len(lost):
            raise overflow("item", lost)
        return V

    def factors(self) -> tuple[Floats, Floats]:
        """Return the factors of no users, whose own stay on the workers, and those of the items."""
        return np.empty((0, self.F.shape[1]), dtype=self.dtype), self.F

    def sums(self) -> tuple[Floats, int]:
        """Return the sum of all users' factors, and the number of those which are not zero."""
        total = self.passes.summed("mean user", 0, _sums, self.blocks, self.U)
        return total[:-1], int(total[-1])

    def item_weights(self) -> Floats:
        """Return the sum of the confidences of what is observed of each item, liked or not, shape (items,)."""
        return np.asarray(self.passes.summed("weigh items", 0, _item_weights, self.blocks))

    def some_rows(self, n: int) -> csr_matrix:
        """Return the signed confidences of about n users who have some, as many of each block."""
        of_each = -(-n // len(self.facts))
        return csr_matrix(vstack(self._gathered(self.passes.over("noise", 0, _rows, self.blocks, common=(of_each,)))))

    def losses(self) -> NDArray[np.float64]:
        """Return the objective after :meth:`solve` and its weight, summed over the blocks."""
        return np.asarray(self.passes.summed("loss", 0, _losses, self.blocks, self.U, common=(self.F,)))

    def state_shapes(self, factors: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the arrays of :meth:`state`."""
        return {"F": (self.n_items, factors), "items_gram": (factors, factors)}

    def state(self) -> dict[str, Floats]:
        """Return all that the rounds after this one need: the users are solved again for F."""
        return {"F": self.F, "items_gram": self.items_gram}

    def restore(self, state: dict[str, Floats]) -> None:
        """Take what :meth:`state` returned after an earlier round."""
        self.items_gram = state["items_gram"]
        self.passes.stage = "the round kept: "
        self.solve(state["F"])


def conjugate_gradients(product: Product, rhs: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """Solve ``(I + A_i) x_i = rhs_i`` for many systems in lock-step, as ``solve_rows`` does for each, to rounding.

    Parameters
    ----------
    product : callable
        Maps numbers of systems, shape (n,), and directions p, shape (n, factors), to the ``A_i p_i``.
    rhs : array, shape (systems, factors)

    Returns
    -------
    x : array like rhs
    unsolved : numbers of the systems for which :data:`MOST_ITERATIONS` were not enough, or which are not finite
    """
    limits = np.finfo(rhs.dtype)
    x = np.zeros_like(rhs)
    solved: NDArray[np.bool_] = np.logical_not(rhs.any(axis=1))
    rs = _dots(rhs, rhs)
    active = np.flatnonzero(rs > limits.tiny / limits.eps**2)
    enough, rs = (rs * (RESIDUAL * limits.eps) ** 2)[active], rs[active]
    r = rhs[active]
    p, own, scaled = r.copy(), np.zeros_like(r), np.empty_like(r)  # own: the x of those that are left
    for _ in range(MOST_ITERATIONS):
        if len(active) == 0:
            break
        Ap = product(active, p)
        Ap += p
        with np.errstate(all="ignore"):  # what overflows is not solved, and told by that
            step = (rs / _dots(p, Ap))[:, None]
            own += np.multiply(p, step, out=scaled)
            r -= np.multiply(Ap, step, out=Ap)
            rs_old, rs = rs, _dots(r, r)
            p *= (rs / rs_old)[:, None]
            p += r
        solved[active[rs <= enough]] = True
        unsolved = rs > enough  # one that is not a number is not
        if not unsolved.all():
            x[active[~unsolved]] = own[~unsolved]
            active, enough, rs = active[unsolved], enough[unsolved], rs[unsolved]
            r, p, own = r[unsolved], p[unsolved], own[unsolved]
            scaled = scaled[: len(active)]
    x[active] = own
    return x, np.flatnonzero(~solved)


def _dots(A: Floats, B: Floats) -> Floats:
    """Return the inner products of the rows."""
    return np.asarray(np.einsum("ij,ij->i", A, B))


@contextmanager
def clear_errors(checkpoint: Any) -> Iterator[None]:
    """Say what a cluster's failure means, and what to do."""
    resume = "" if checkpoint is None else f"; the same call goes on from the last round, kept in {checkpoint}"
    try:
        yield
    except KilledWorker as error:
        raise InsufficientMemoryError(
            f"workers were killed again and again over one task ({error}); it is a lack of memory as a rule: give them "
            f"more, or pass more blocks{resume}"
        ) from error
    except (ClosedClientError, CommClosedError, CancelledError) as error:
        raise ConnectionError(f"the connection to the scheduler is lost ({error}); start it again{resume}") from error


@contextmanager
def clear_writing(path: Path) -> Iterator[None]:
    """Name the file in what the system says of a worker that writes it."""
    try:
        yield
    except FileNotFoundError as error:
        message = "a worker cannot see this folder; pass one that all workers share"
        raise FileNotFoundError(errno.ENOENT, message, str(path.parent)) from error
    except OSError as error:
        reason = f"a worker cannot write this file: {error.strerror or error}; make room there, or pass another folder"
        raise OSError(error.errno or errno.EIO, reason, str(path)) from error


# What runs on the workers. A task does not change what it is given: another may need it, or the same one again.


def _with(block: UserBlock, **state: Any) -> UserBlock:
    view = copy.copy(block)
    for name, value in state.items():
        setattr(view, name, value)
    return view


def _indexed(laid: Any, weigh: Callable[[Any], csr_matrix], alpha: float) -> UserBlock:
    return UserBlock(confidences(weigh(laid), alpha))


def _facts(block: UserBlock) -> dict[str, Any]:
    active, liked = block.activity()
    digest = hashlib.sha256(repr((block.n_users, block.n_items)).encode())
    for part in (block.indptr, block.indices, block.confidence):
        digest.update(part.tobytes())
    facts = {"users": block.n_users, "items": block.n_items, "dtype": block.dtype, "active": active, "liked": liked}
    return facts | {"digest": digest.digest(), "entries": len(block.indices)}


def _item_counts(block: UserBlock) -> Ints:
    return block.item_counts


def _roots(block: UserBlock, settings: Settings, mean_count: float) -> Floats:
    view = _with(block)
    view.weigh(settings, mean_count)
    return view.root_weight


def _agop_product(block: UserBlock, root: Floats, settings: Settings, scale: Floats, Q: Floats) -> Floats:
    return _with(block, root_weight=root).agop_product(settings, scale, Q)


def _solved(block: UserBlock, F: Floats) -> Floats:
    view = _with(block)
    view.solve(F)
    return view.U


def _grams(block: UserBlock, root: Floats, U: Floats) -> Floats:
    return np.stack(_with(block, root_weight=root, U=U).grams())


def _right_sides(block: UserBlock, R: Floats) -> Floats:
    """Return ``sum_u c p r_u`` of the block for every item."""
    indptr, indices, confidence = block.by_item
    out = np.zeros((block.n_items, R.shape[1]), dtype=R.dtype)
    kernels.sparse_product(indptr, indices, np.maximum(confidence, 0), R, out)
    return out


def _products(block: UserBlock, R: Floats, chosen: NDArray[np.intp], P: Floats) -> Floats:
    """Return ``sum_u (c - 1) r_u r_u^T p`` of the block for the chosen items."""
    out = np.empty_like(P)
    kernels.gram_products(block.by_item, R, chosen, P, out)
    return out


def _item_grams(block: UserBlock, R: Floats, chosen: NDArray[np.intp]) -> Floats:
    """Return ``sum_u (c - 1) r_u r_u^T`` of the block for the chosen items."""
    indptr, indices, confidence = block.by_item
    out = np.empty((len(chosen), R.shape[1], R.shape[1]), dtype=R.dtype)
    for k, item in enumerate(chosen):
        entries = slice(indptr[item], indptr[item + 1])
        rows = R[indices[entries]]
        out[k] = (rows * (np.abs(confidence[entries]) - 1)[:, None]).T @ rows
    return out


def _sums(block: UserBlock, U: Floats) -> NDArray[np.float64]:
    return np.append(*_with(block, U=U).sums())


def _item_weights(block: UserBlock) -> Floats:
    return block.item_weights()


def _rows(block: UserBlock, n: int) -> csr_matrix:
    return block.some_rows(n)


def _losses(block: UserBlock, U: Floats, F: Floats) -> NDArray[np.float64]:
    return _with(block, U=U, F=F).losses()
