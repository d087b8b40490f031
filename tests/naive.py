"""Slow, obvious twins of the kernels, of the AGOP's matrix functions, and of whole rounds of lin-RFM.

Nothing here is shared with what it checks: matrices are dense, inverses are inverses, sorting is ``sorted``. Symbols
and equation numbers are those of ``docs/algorithm/``.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rfm_recsys.core.arrays import Floats
from rfm_recsys.recommender.blocks import Settings

TopList: TypeAlias = tuple[list[list[int]], list[list[float]]]


def weights(values: Floats) -> Floats:
    """Return the signed weights of values, shape (users, items): relative to each user's own, in 512ths."""
    out = np.zeros(values.shape)
    for row, weight in zip(values, out, strict=True):
        level = np.abs(row[row != 0]).mean() if row.any() else 1.0
        for item in np.flatnonzero(row):
            ratio = abs(row[item]) / level
            weight[item] = np.sign(row[item]) * round((0.5 + ratio / (1 + ratio)) * 512) / 512
    return out


def weight_and_target(row: Floats) -> tuple[Floats, Floats]:
    """Return what a row of signed confidences asks of every item: weight 1 and target 0 where it says nothing."""
    return np.where(row != 0, np.abs(row), 1.0), (row > 0).astype(float)


def solve_rows(confidence: csr_matrix, F: Floats, prior: Floats | None = None) -> Floats:
    """Minimise ``sum_i w_i (t_i - F_i u)^2 + |u|^2 - |F u|^2 - 2 m . u`` over u for each row, all items written out.

    That is (1), since ``|u|^2 = x S^-1 x^T = x x^T + lambda x K^-1 x^T``; ``prior`` holds the m.
    """
    F = F.astype(np.float64)
    U = np.zeros((confidence.shape[0], F.shape[1]))
    for user, row in enumerate(confidence.toarray().astype(np.float64)):
        w, t = weight_and_target(row)
        m = np.zeros(F.shape[1]) if prior is None else prior[user]
        U[user] = np.linalg.solve(F.T @ np.diag(w) @ F + np.eye(len(U[user])) - F.T @ F, F.T @ (w * t) + m)
    return U


def gram_products(confidence: csr_matrix, F: Floats, chosen: Sequence[int], P: Floats) -> Floats:
    """Return ``F^T diag(w - 1) F p`` for the chosen rows, all items written out: w is 1 for those without an entry."""
    F, out = F.astype(np.float64), np.zeros(P.shape)
    for k, row in enumerate(chosen):
        w, _ = weight_and_target(confidence[row].toarray()[0].astype(np.float64))
        out[k] = F.T @ np.diag(w - 1) @ F @ P[k]
    return out


def posterior(confidence: csr_matrix, S: Floats) -> list[Floats]:
    """Return the posterior covariance of each row's scores of all items, in units of the noise, all written out.

    Every item is observed with its weight, and the prior precision is what makes S of it where all weights are 1.
    """
    prior = np.linalg.inv(S.astype(np.float64)) - np.eye(len(S))
    rows = confidence.toarray().astype(np.float64)
    return [np.linalg.inv(prior + np.diag(weight_and_target(row)[0])) for row in rows]


def solve_rows_full(weight: csr_matrix, rhs: Floats, S: Floats) -> tuple[Floats, Floats]:
    """Return ``a = (I + diag(weight) S_OO)^-1 rhs`` and ``S_OO a`` for each row, one after the other, shape (nnz,)."""
    S = S.astype(np.float64)
    a, fitted = np.zeros(weight.nnz), np.zeros(weight.nnz)
    for user in range(weight.shape[0]):
        entries = slice(weight.indptr[user], weight.indptr[user + 1])
        items = weight.indices[entries]
        S_OO = S[np.ix_(items, items)]
        matrix = np.eye(len(items)) + np.diag(weight.data[entries].astype(np.float64)) @ S_OO
        a[entries] = np.linalg.solve(matrix, rhs[entries].astype(np.float64))
        fitted[entries] = S_OO @ a[entries]
    return a, fitted


def transpose(matrix: Floats) -> tuple[list[int], list[int], list[float]]:
    """Return indptr, indices and values of the transpose, column by column."""
    columns = [[(row, value) for row, value in enumerate(column) if value != 0] for column in matrix.T]
    entries = [entry for column in columns for entry in column]
    ends = [sum(len(column) for column in columns[:n]) for n in range(len(columns) + 1)]
    return ends, [row for row, _ in entries], [value for _, value in entries]


def residuals(confidence: csr_matrix, U: Floats, F: Floats) -> Floats:
    """Return target minus score, entry by entry in the order in which the matrix stores them."""
    users = np.repeat(np.arange(confidence.shape[0]), np.diff(confidence.indptr))
    entries = zip(users, confidence.indices, confidence.data, strict=True)
    return np.array([float(value > 0) - sum(U[user] * F[item]) for user, item, value in entries])


def first_product(confidence: csr_matrix, penalty: float, row_scale: Floats, column_scale: Floats, Q: Floats) -> Floats:
    """Return ``A X B Q`` for the X of K = I, every matrix written out."""
    X = np.zeros(confidence.shape)
    for entry, c in np.ndenumerate(confidence.toarray()):
        X[entry] = c / (penalty + c) if c > 0 else 0.0
    product: Floats = np.diag(row_scale) @ X @ np.diag(column_scale) @ Q
    return product


def top_k(values: Floats, excluded: list[set[int]], k: int, lowest: float) -> TopList:
    """Sort the columns of each row of ``values``, the excluded ones lowest; ties to the lower id, -1 past the end."""
    ids, scores = [], []
    for row, out in zip(values, excluded, strict=True):
        score = {column: lowest if column in out else float(value) for column, value in enumerate(row)}
        best = sorted(score, key=lambda column: (-score[column], column))[:k]
        missing = k - len(best)
        ids.append(best + [-1] * missing)
        scores.append([score[column] for column in best] + [lowest] * missing)
    return ids, scores


def reweighting(G: Floats, inverse_scale: Floats, power: float, rank: int | None = None) -> Floats:
    """Return K: the definition by the eigenvectors of G, the null space left out, and all but the first ``rank``."""
    values, V = np.linalg.eigh(G.astype(np.float64))
    kept = values > values.max() * np.finfo(np.float64).eps * len(values)
    kept[: max(len(values) - (rank or len(values)), 0)] = False
    E = values[kept] ** (2 * power)
    E *= np.count_nonzero(inverse_scale) / E.sum()
    K: Floats = np.diag(inverse_scale) @ V[:, kept] @ np.diag(E) @ V[:, kept].T @ np.diag(inverse_scale)
    return K


def smoother(K: Floats, penalty: float) -> Floats:
    """Return ``(I + penalty K^-1)^-1`` for an invertible K."""
    return np.linalg.inv(np.eye(len(K)) + penalty * np.linalg.inv(K))


def low_rank_smoother(values: Floats, vectors: Floats, inverse_scale: Floats, power: float, penalty: float) -> Floats:
    """Return the S that ``low_rank_factor`` is to be a factor of: the smoother of the K that the eigenpairs make."""
    E = np.diag(values ** (2 * power) * np.count_nonzero(inverse_scale) / np.sum(values ** (2 * power)))
    return singular_smoother(np.diag(inverse_scale) @ vectors @ E @ vectors.T @ np.diag(inverse_scale), penalty)


def singular_smoother(K: Floats, penalty: float) -> Floats:
    """Return ``K (K + penalty I)^-1``, which is the smoother where K is invertible, and its limit elsewhere."""
    S: Floats = K @ np.linalg.inv(K + penalty * np.eye(len(K)))
    return S


def complete(row: Floats, K: Floats, penalty: float) -> Floats:
    """Return the x that minimises (1) for one user: with ``x = K z``, its gradient is ``(W K + lambda I) z - W t``."""
    w, t = weight_and_target(row)
    x: Floats = K @ np.linalg.solve(np.diag(w) @ K + penalty * np.eye(len(K)), w * t)
    return x


def objective(row: Floats, x: Floats, K: Floats, penalty: float) -> float:
    """Return (1) for one user's x, which has to lie in the range of K."""
    w, t = weight_and_target(row)
    return float(np.sum(w * (t - x) ** 2) + penalty * x @ np.linalg.pinv(K, hermitian=True) @ x)


def rounds(
    confidence: Floats, settings: Settings, n_rounds: int, factors: int | None = None
) -> Iterator[tuple[Floats, Floats]]:
    """Run lin-RFM on a dense matrix of signed confidences; yield each round's K and completed matrix.

    Round 1 starts from the X of K = I. Without ``factors``, the observed values are put back before each later AGOP.
    With them, every K keeps that many eigenvectors of its G, the exact ones, and a later round completes the columns
    first, with the K of the users, whose G is ``W^(1/2) X D^2 X^T W^(1/2)``. With ``oversampling`` they keep more, and
    of the last one's S, which has the eigenvectors of K, the leading ``factors`` are left.
    """
    rank = None if factors is None else factors + settings.oversampling
    liked = confidence > 0
    per_user, per_item = liked.sum(axis=1), liked.sum(axis=0)
    w = (np.maximum(per_user, 1) / per_user[per_user > 0].mean()) ** -settings.user_norm
    inverse_root_w = np.where(per_user > 0, w**-0.5, 0)
    popularity = per_item / per_item[per_item > 0].mean()
    D = np.array([p ** (-settings.item_norm / 2) if p else 0 for p in popularity])
    prior = np.array([p ** (settings.prior_norm / 2) if p else 0 for p in popularity])
    K: Floats = np.eye(confidence.shape[1])
    X = np.array([complete(row, K, settings.penalty) for row in confidence])
    for number in range(n_rounds):
        if factors is not None and number > 0:
            G = np.diag(w**0.5) @ X @ np.diag(D**2) @ X.T @ np.diag(w**0.5)
            K = reweighting(G, inverse_root_w, settings.power, rank)
            X = np.array([complete(column, K, settings.penalty) for column in confidence.T]).T
        G = np.diag(D) @ X.T @ np.diag(w) @ X @ np.diag(D)
        K = reweighting(G, prior, settings.power, rank)
        if settings.oversampling and factors is not None and number == n_rounds - 1:
            values, V = np.linalg.eigh(K)
            K = (V * np.where(np.arange(len(K)) < len(K) - factors, 0, values)) @ V.T
        X = np.array([complete(row, K, settings.penalty) for row in confidence])
        yield K, X
        if factors is None:
            X = np.where(confidence != 0, liked, X)


def with_mean_user(X: Floats) -> Floats:
    """Return the completed matrix with the mean of the other rows in those of which nothing is known."""
    known = [row for row in X if any(row)]
    return np.array([row if any(row) else sum(known) / len(known) for row in X])


def fold_in_items(confidence: Floats, X: Floats, power: float, penalty: float, factors: int) -> Floats:
    """Complete each row of a matrix of items x users with the K of the users, whose G is ``X X^T``."""
    K = reweighting(X @ X.T, X.any(axis=1).astype(float), power, factors)
    return np.array([complete(row, K, penalty) for row in confidence])


def irls(X: Floats, y: Floats, p: float, smoothing: Sequence[float]) -> Iterator[Floats]:
    """Minimise ``sum_i w_i^2 / (w_i,before^2 + eps^2)^(1 - p/2)`` subject to ``X w = y``, once for each eps.

    Daubechies, DeVore, Fornasier and Gunturk 2010, equation (1.4). The first, before any eps, has all weights 1. With
    ``w = root z`` it is the least z for which ``X root z = y``.
    """
    w: Floats = np.linalg.lstsq(X, y, rcond=None)[0]
    yield w
    for eps in smoothing:
        root = (w**2 + eps**2) ** (1 / 2 - p / 4)
        w = root * np.linalg.lstsq(X * (root / root.max()), y, rcond=None)[0] / root.max()
        yield w


def reweighted_ridge(X: Floats, y: Floats, K: Floats, penalty: float) -> Floats:
    """Minimise ``|y - X w|^2 + penalty sum_i w_i^2 / K_i``, by its gradient."""
    w: Floats = np.linalg.solve(X.T @ X + penalty * np.diag(1 / K), X.T @ y)
    return w


def soft_impute(Y: Floats, observed: NDArray[np.bool_], penalty: float, steps: int) -> Floats:
    """Minimise ``|P_O(Y - X)|^2 / 2 + penalty |X|_*``: proximal gradient, which soft-thresholds singular values.

    Mazumder, Hastie and Tibshirani 2010, accelerated as Beck and Teboulle 2009.
    """
    X = ahead = np.zeros_like(Y)
    t = 1.0
    for _ in range(steps):
        before = X
        left, values, right = np.linalg.svd(ahead + observed * (Y - ahead), full_matrices=False)
        X = left @ np.diag(np.maximum(values - penalty, 0)) @ right
        t, t_before = (1 + (1 + 4 * t**2) ** 0.5) / 2, t
        ahead = X + (t_before - 1) / t * (X - before)
    return X


def posterior_row(
    y: Floats, others: Sequence[tuple[Floats, Floats]], m: Floats, covariance: Floats, noise: float
) -> tuple[Floats, Floats, float]:
    """Return mean and covariance of ``w = (b, u)``, given ratings y of ``c + (1, v) . w``, and the expected error.

    ``others`` are the means of ``(c, v)``, one for each rating, and their covariances; all is done rating by rating.
    """
    n = len(m)
    precision, rhs = np.linalg.inv(covariance), np.linalg.solve(covariance, m)
    for rating, (x, S) in zip(y, others, strict=True):
        v = np.append(1, x[1:])
        spread = np.zeros((n, n))
        spread[1:, 1:] = S[1:, 1:]
        with_bias = np.append(0, S[0, 1:])
        precision = precision + (np.outer(v, v) + spread) / noise
        rhs = rhs + ((rating - x[0]) * v - with_bias) / noise
    cov = np.linalg.inv(precision)
    w = cov @ rhs
    error = sum(
        (rating - rating_mean(w, x)) ** 2 + rating_variance(w, cov, x, S)
        for rating, (x, S) in zip(y, others, strict=True)
    )
    return w, cov, float(error)


def rating_mean(w: Floats, x: Floats) -> float:
    """Return ``b + c + u . v`` for ``w = (b, u)`` and ``x = (c, v)``."""
    return float(w[0] + x[0] + w[1:] @ x[1:])


def rating_variance(w: Floats, w_cov: Floats, x: Floats, x_cov: Floats) -> float:
    """Return the variance of ``b + c + u . v`` for independent w and x: by the gradients, and of the product u v."""
    by_w, by_x = np.append(1, x[1:]), np.append(1, w[1:])
    return float(by_w @ w_cov @ by_w + by_x @ x_cov @ by_x + np.trace(w_cov[1:, 1:] @ x_cov[1:, 1:]))


def choices(observed: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return the features of users and items, a 1 before them: every singular vector of who has rated what."""
    n_users, n_items = observed.shape
    counts = np.maximum(observed.sum(axis=1), 1)[:, None] * np.maximum(observed.sum(axis=0), 1)
    left, values, right = np.linalg.svd(observed / np.sqrt(counts), full_matrices=False)
    users, items = n_users**0.5 * left * values, n_items**0.5 * right.T * values
    return np.column_stack([np.ones(n_users), users]), np.column_stack([np.ones(n_items), items])


def ratings_rounds(
    Y: Floats, start: Floats, n_rounds: int, with_choices: bool, constants: tuple[float, float, float, float, float]
) -> tuple[Floats, Floats, float]:
    """Fit ratings Y, not a number where there is none, as ``LinRFMRatings`` does; return means, variances and noise.

    ``start`` are the items' first factors; the constants are the variances of biases and items' factors, the least ones
    of noise and prior, and the ridge.
    """
    bias, factor, least_noise, least, ridge = constants
    Y = (Y - np.nanmean(Y)) / np.nanstd(Y)
    observed = ~np.isnan(Y)
    f = start.shape[1]
    Z = list(choices(observed)) if with_choices else [np.ones((n, 1)) for n in Y.shape]
    cov = [np.diag([bias] + [1.0] * f), np.diag([bias] + [factor] * f)]
    prior_mean = [np.zeros((n, f + 1)) for n in Y.shape]
    certain = np.zeros((f + 1, f + 1))
    certain[0, 0] = bias
    posterior: list[list[tuple[Floats, Floats]]] = [[], [(np.append(0, v), certain) for v in start]]
    noise = used = 1.0
    for half in range(2 * n_rounds + 1):
        side = half % 2  # users first
        rows, seen = (Y, observed) if side == 0 else (Y.T, observed.T)
        if half > 1:
            solved, active = np.array([w for w, _ in posterior[side]]), seen.any(axis=1)
            Z_active = Z[side][active]
            penalty = np.diag([0.0] + [ridge] * (Z_active.shape[1] - 1))
            B = np.linalg.solve(Z_active.T @ Z_active + penalty, Z_active.T @ solved[active])
            prior_mean[side] = Z[side] @ B
            deviations = solved - prior_mean[side]
            terms = [np.outer(deviations[i], deviations[i]) + posterior[side][i][1] for i in np.flatnonzero(active)]
            cov[side] = np.mean(terms, axis=0) + least * np.eye(f + 1)
        used = noise
        found = [
            posterior_row(
                row[on],
                [posterior[1 - side][other] for other in np.flatnonzero(on)],
                m,
                cov[side],
                noise,
            )
            for row, on, m in zip(rows, seen, prior_mean[side], strict=True)
        ]
        posterior[side] = [(w, S) for w, S, _ in found]
        noise = max(sum(error for *_, error in found) / observed.sum(), least_noise)
    means = np.array([[rating_mean(w, x) for x, _ in posterior[1]] for w, _ in posterior[0]])
    variances = np.array([[rating_variance(w, S, x, T) for x, T in posterior[1]] for w, S in posterior[0]])
    return means, variances, used


def solve_rows_shifted(observed: csr_matrix, shift: Floats, K: Floats) -> tuple[Floats, Floats]:
    """Return ``a = (K_OO + shift I)^-1 y`` and ``K_OO a`` for each row, one after the other, shape (nnz,)."""
    a, fitted = np.zeros(observed.nnz), np.zeros(observed.nnz)
    for row in range(observed.shape[0]):
        entries = slice(observed.indptr[row], observed.indptr[row + 1])
        K_OO = K[np.ix_(observed.indices[entries], observed.indices[entries])]
        a[entries] = np.linalg.solve(K_OO + shift[row] * np.eye(len(K_OO)), observed.data[entries])
        fitted[entries] = K_OO @ a[entries]
    return a, fitted


def sampled_product(observed: csr_matrix, A: Floats, B: Floats) -> Floats:
    """Return ``A_i . B_j``, entry by entry in the order in which the matrix stores them."""
    rows = np.repeat(np.arange(observed.shape[0]), np.diff(observed.indptr))
    return np.array([sum(A[i] * B[j]) for i, j in zip(rows, observed.indices, strict=True)])


def sampled_gram(observed: csr_matrix, A: Floats, B: Floats, r: int) -> Floats:
    """Return ``P(A B^T) C``, P being the projection on the observed entries and C the last r columns of B."""
    mask = csr_matrix((np.ones(observed.nnz), observed.indices, observed.indptr), shape=observed.shape).toarray()
    product: Floats = (mask * (A @ B.T)) @ B[:, B.shape[1] - r :]
    return product


def matrix_irls(Y: Floats, observed: NDArray[np.bool_], p: float, smoothing: Sequence[float]) -> Iterator[Floats]:
    """Minimise ``tr(X (X_before^T X_before + eps^2 I)^(p/2 - 1) X^T)`` subject to the observed entries of Y.

    Mohan and Fazel 2012, once for each eps; the first, before any eps, has all weights 1. With ``x = z root`` a row is
    the least z that agrees with its observed entries.
    """
    X: Floats = np.where(observed, Y, 0.0)
    yield X
    for eps in smoothing:
        _, s, Vt = np.linalg.svd(X)
        s = np.append(s, np.zeros(len(Vt) - len(s)))
        root = Vt.T @ np.diag((s**2 + eps**2) ** (1 / 2 - p / 4)) @ Vt / (s.max() ** 2 + eps**2) ** (1 / 2 - p / 4)
        X = np.array([np.linalg.lstsq(root[o], y[o], rcond=None)[0] @ root for y, o in zip(Y, observed, strict=True)])
        yield X


def two_sided_completion(
    Y: Floats, observed: NDArray[np.bool_], triplets: tuple[Floats, Floats, Floats], rest: float, penalty: float
) -> Floats:
    """Return ``X = K_L A K_R``, A at the observed entries only, with ``X + penalty A = Y`` there.

    ``K_L = U diag(w) U^T + rest (I - U U^T)``, and K_R likewise with V, for the ``triplets`` U, w, V.
    """
    U, w, V = triplets
    K_L, K_R = (B @ np.diag(w) @ B.T + rest * (np.eye(len(B)) - B @ B.T) for B in (U, V))
    kron = np.kron(K_L, K_R)
    o = observed.ravel()
    a = np.linalg.solve(kron[np.ix_(o, o)] + penalty * np.eye(o.sum()), Y.ravel()[o])
    X: Floats = (kron[:, o] @ a).reshape(Y.shape)
    return X
