"""What a fit on a cluster costs: how many blocks of users there are, which user is in which, and each worker's memory.

``docs/scaling.md`` has the model of which this is the part that has to be known beforehand.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from distributed import Client
from numpy.typing import NDArray

from rfm_recsys.errors import InsufficientMemoryError, ParameterError
from rfm_recsys.recommender.rounds import block_width

BUCKETS = 4096  # of users by their hash; a block is a run of buckets
LEAST_BLOCKS = 8  # so that a few workers have work each
BLOCK_BYTES = 2**26  # that a block of users may take with its factors: what a task is given, and what a loss costs
LAYOUT_COPIES = 1.75  # of a row on its way to its block
SORTING = 100  # bytes for each interaction of a block of a table, to put them in order
USER_COST, USER_COST_BY_FACTOR = 5.0, 0.06  # of a user, in entries: steps of conjugate gradients, and Gram matrices
PROCESS_BYTES = 400 * 2**20  # of a worker that holds nothing: the interpreter, Dask, Arrow, and the compiled kernels
SPARE = 0.9  # of a worker's memory that may be planned with; Dask pauses a worker at .8 of it, and ends it at .95


@dataclass(frozen=True)
class Sizes:
    """What is known of the interactions before they are laid out in blocks; the users may be an estimate."""

    n_users: int
    n_items: int
    entries: int
    factors: int
    itemsize: int
    row_bytes: float = 0.0  # of an interaction of a table, as it travels to its block
    in_files: bool = False  # whether the blocks are read from files while they are indexed, and are not in memory, too

    @property
    def block_width(self) -> int:
        """Columns of the block of which the eigenvectors of round 1 come."""
        return block_width(self.factors, (self.n_users, self.n_items))

    @property
    def state_bytes(self) -> int:
        """Bytes of all blocks together: interactions by user and by item, ids, weights, and one array of factors."""
        return self.entries * 2 * (4 + self.itemsize) + self.n_users * (16 + self.itemsize * (1 + self.factors))

    def task_bytes(self, n_blocks: int) -> int:
        """Bytes that a task takes beside the blocks' state, at most."""
        users, entries = -(-self.n_users // n_blocks), -(-self.entries // n_blocks)
        layout = SORTING * entries if self.row_bytes else 0
        solve = users * self.block_width * self.itemsize
        return max(layout, solve) + 2 * self.broadcast_bytes

    @property
    def broadcast_bytes(self) -> int:
        """Bytes of a matrix of items x factors, which is what travels."""
        return self.n_items * self.block_width * self.itemsize

    def worker_bytes(self, n_blocks: int, n_workers: int, n_threads: int) -> int:
        """Return the bytes that a worker takes, at most, when it has its share of the blocks and its broadcasts."""
        share = -(-n_blocks // n_workers) / n_blocks
        laid = 0 if self.in_files else self.entries * self.itemsize  # the indices are the same arrays
        held = max(self.state_bytes + laid, LAYOUT_COPIES * self.row_bytes * self.entries) * share
        sums = (2 + math.ceil(math.log2(n_blocks + 1))) * self.broadcast_bytes
        n_items_index = 16 * self.n_items * -(-n_blocks // n_workers)  # where an item begins in a block
        return PROCESS_BYTES + int(held) + sums + n_items_index + n_threads * self.task_bytes(n_blocks)


def number_of_blocks(sizes: Sizes, wanted: int | None) -> int:
    """Return how many blocks to make; it does not depend on the workers, so that neither does the result."""
    if wanted is not None:
        if not 1 <= wanted <= BUCKETS:
            raise ParameterError(f"blocks is {wanted}; pass a number in 1..{BUCKETS}, or None")
        return wanted
    least = max(LEAST_BLOCKS, sizes.state_bytes / BLOCK_BYTES)
    return int(min(BUCKETS, 2 ** round(math.log2(least))))


def group_bounds(n_blocks: int, n_threads: int) -> list[int]:
    """Return the number of the first block of every group, and that after the last: runs of as many blocks each.

    They begin where large nodes of the tree of sums do, so that a group's blocks add up to few of them.
    """
    unit = 2 ** max(0, int(math.log2(max(1, n_blocks / (4 * n_threads)))))
    bounds = {unit * round(k * n_blocks / n_threads / unit) for k in range(1, n_threads)}
    return sorted({0, n_blocks} | {bound for bound in bounds if bound < n_blocks})


def deal_out(entries: NDArray[np.int64], sizes: Sizes, n_blocks: int) -> NDArray[np.intp]:
    """Return the block of every bucket, shape (buckets,): runs of buckets that cost the same, none without entries.

    A user's cost is affine in the number of its entries. Hashing puts as many users into one bucket as into another, so
    that what differs is the entries; where a few users have most of them, their buckets are blocks of their own.
    """
    user_cost = USER_COST + USER_COST_BY_FACTOR * sizes.factors
    cost = entries + user_cost * sizes.n_users / len(entries)
    middle = np.cumsum(cost) - cost / 2
    blocks = np.minimum((middle * (n_blocks / cost.sum())).astype(np.intp), n_blocks - 1)
    filled = np.bincount(blocks, entries, n_blocks) > 0
    numbers: NDArray[np.intp] = (np.cumsum(filled) - 1)[blocks]
    return np.maximum(numbers, 0)


def workers_of(client: Client) -> dict[str, Any]:
    """Return what the scheduler knows of each worker, by address; raises ParameterError where there is none."""
    # Not Client.scheduler_info: it returns what the client's heartbeat may just have replaced by a list of no workers.
    workers: dict[str, Any] = client.sync(client.scheduler.identity, n_workers=-1)["workers"]
    if not workers:
        raise ParameterError("the cluster has no workers; start some, e.g. with: dask worker tcp://... --nthreads 1")
    return dict(sorted(workers.items()))


def check_worker_memory(client: Client, sizes: Sizes, n_blocks: int) -> None:
    """Raise InsufficientMemoryError, before the work begins, where a worker has less memory than the plan takes."""
    workers = workers_of(client)
    limits = [worker["memory_limit"] or 2**63 for worker in workers.values()]
    n_threads = max(worker["nthreads"] for worker in workers.values())
    needed = sizes.worker_bytes(n_blocks, len(workers), n_threads)
    bound = int(SPARE * min(limits))
    if needed <= bound:
        return
    enough = next((n for n in range(len(workers), n_blocks) if sizes.worker_bytes(n_blocks, n, n_threads) <= bound), 0)
    remedy = f"start {enough} of them" if enough else "give them more memory, pass fewer factors, or more blocks"
    raise InsufficientMemoryError(
        f"a fit of {sizes.factors} factors to {sizes.entries:,} interactions of {sizes.n_users:,} users and "
        f"{sizes.n_items:,} items needs about {needed / 2**30:.1f} GiB on each of {len(workers)} workers, and "
        f"{bound / 2**30:.1f} GiB of the {min(limits) / 2**30:.1f} GiB of the smallest may be used; {remedy}"
    )
