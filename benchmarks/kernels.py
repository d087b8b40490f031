"""What the hot kernels reach of what one core can do, beside a matrix product, a copy, and BLAS's gemv.

Operations are those that the arithmetic needs, half of a product's where it is symmetric; bytes are those of the rows
that ``first_product`` gathers, each time that it does, from whichever cache they come. ``solve_rows`` alternates a
product with the rows of one user and one with their transpose, which is what BLAS's gemv does with a matrix that lies
in the cache already: that is its physical limit, since every user has a matrix of its own.
"""

import argparse

import numpy as np
from common import COLOURS, GIVEN, median_seconds, save_plot, spread, write
from matplotlib import pyplot as plt
from scipy.linalg import blas

from rfm_recsys import LinRFM
from rfm_recsys.core import kernels
from rfm_recsys.core.arrays import Floats, Ints, csr_arrays
from rfm_recsys.core.linalg import gram, multiply
from rfm_recsys.core.runtime import threads
from rfm_recsys.recommender.blocks import solve_users
from rfm_recsys.recommender.rounds import block_width

N_USERS, N_ITEMS, INTERACTIONS, ALPHA = 69_000, 13_000, 10_000_000, 7.0
SAMPLE = 300  # users whose iterations are counted
IN_CACHE = 512  # rows of the matrix for gemv: half of a 1 MB cache at 256 factors


def iterations(rows: list[Ints], F: Floats) -> Ints:
    """Count the iterations of conjugate gradients that each row's solve takes, as in ``kernels.solve_rows``."""
    counts = []
    for items in rows:
        G = F[items]
        r: Floats = ALPHA * G.sum(axis=0)
        p = r
        square = float(r @ r)
        enough = square * (kernels.RESIDUAL * np.finfo(F.dtype).eps) ** 2
        count = 0
        while square > enough:
            q = p + (ALPHA - 1) * (G.T @ (G @ p))
            r = r - square / float(p @ q) * q
            before, square = square, float(r @ r)
            p = r + square / before * p
            count += 1
        counts.append(count)
    return np.array(counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    data = spread(N_USERS, N_ITEMS, INTERACTIONS)
    indptr, indices, ones = csr_arrays(data)
    lengths = np.diff(indptr).astype(float)
    generator = np.random.default_rng(0)
    results = []
    with threads(1):
        square = generator.standard_normal((2000, 2000), dtype=np.float32)
        product = 2 * 2000**3 / median_seconds(lambda: square @ square, arguments.repeats) / 1e9
        source = np.ones(50_000_000, dtype=np.float32)
        target = np.ones_like(source)
        copy = 2 * source.nbytes / median_seconds(lambda: np.copyto(target, source), arguments.repeats) / 1e9
        print(f"one core: matrix product {product:.0f} GFLOP/s, copy {copy:.0f} GB/s")
        for factors in (64, 256, 512):
            F = LinRFM(factors, num_threads=1, **{**GIVEN, "alpha": ALPHA}).fit(data, show_progress=False).item_factors
            confidence = ALPHA * ones
            solve = median_seconds(lambda: solve_users(indptr, indices, confidence, F), arguments.repeats)  # noqa: B023
            some = generator.choice(N_USERS, SAMPLE, replace=False)
            counted = iterations([indices[indptr[u] : indptr[u + 1]] for u in some], F)
            passes = lengths.sum() * float(np.average(counted, weights=lengths[some]))
            solve_rate = float(4 * passes + 2 * lengths.sum()) * factors / solve / 1e9
            A = np.asfortranarray(generator.standard_normal((factors, IN_CACHE), dtype=np.float32))
            p, t = np.ones(factors, dtype=np.float32), np.ones(IN_CACHE, dtype=np.float32)

            def gemv(A: Floats = A, p: Floats = p, t: Floats = t) -> None:
                for _ in range(200):
                    blas.sgemv(1.0, A, p, trans=1)
                    blas.sgemv(1.0, A, t)

            gemv_rate = 200 * 4 * factors * IN_CACHE / median_seconds(gemv, arguments.repeats) / 1e9
            width = block_width(factors, data.shape)
            Q = generator.standard_normal((N_ITEMS, width), dtype=np.float32)
            users, items = np.ones(N_USERS, dtype=np.float32), np.ones(N_ITEMS, dtype=np.float32)
            Y = np.empty((N_USERS, width), dtype=np.float32)
            arrays = (indptr, indices, confidence)
            first = median_seconds(
                lambda: kernels.first_product(*arrays, 28.0, users, items, Q, Y),  # noqa: B023
                arguments.repeats,
            )
            first_rate = 2 * lengths.sum() * width / first / 1e9
            symmetric = median_seconds(lambda: gram(Y, Y), arguments.repeats)  # noqa: B023
            dense = median_seconds(lambda: multiply(Y, np.eye(width)), arguments.repeats)  # noqa: B023
            rates = {
                "solve_rows": solve_rate,
                "symmetric_product": N_USERS * width * (width + 1) / symmetric / 1e9,
                "dense_product": 2 * N_USERS * width**2 / dense / 1e9,
                "first_product": first_rate,
            }
            row = {
                "factors": factors,
                "matrix product GFLOP/s": product,
                "copy GB/s": copy,
                "gemv in cache GFLOP/s": gemv_rate,
                "iterations of conjugate gradients": float(np.average(counted, weights=lengths[some])),
                **{f"{name} GFLOP/s": rate for name, rate in rates.items()},
                **{f"{name} / matrix product": rate / product for name, rate in rates.items()},
                "solve_rows / gemv": solve_rate / gemv_rate,
                "first_product GB/s": first_rate * 2,  # 4 bytes are read for 2 operations
                "first_product GB/s / copy": first_rate * 2 / copy,
            }
            results.append(row)
            print(row, flush=True)
    write("kernels", results)
    names = ["symmetric_product", "dense_product", "solve_rows", "first_product", "gemv in cache", "matrix product"]
    figure, axes = plt.subplots(figsize=(9, 3.5))
    for k, row in enumerate(results):
        places = [i + 0.27 * k for i in range(len(names))]
        colour = [COLOURS["LinRFM"]] * 4 + [COLOURS["matrix product"]] * 2
        bars = axes.bar(places, [row[f"{name} GFLOP/s"] for name in names], 0.25, color=colour, alpha=0.4 + 0.3 * k)
        axes.bar_label(bars, [f"{row[f'{name} GFLOP/s']:.0f}\n{row['factors']}" for name in names], fontsize=8)
    axes.set_xticks(
        [i + 0.27 for i in range(len(names))], [name.replace("_", "_\n").replace(" ", "\n") for name in names]
    )
    axes.set(ylabel="GFLOP/s, one core", title="Kernels and what bounds them, at 64, 256 and 512 factors")
    axes.margins(y=0.15)
    axes.spines[["top", "right"]].set_visible(False)
    save_plot("kernels", figure)


if __name__ == "__main__":
    main()
