"""
Recovery, and its phase transition
==================================

From how few entries does a matrix of low rank come back? Below a number that depends on the rank, never. Above it,
always, to rounding. Two-sided lin-RFM needs fewer than the one-sided form, which is the paper's.
"""

import matplotlib.pyplot as plt
import numpy as np

from rfm_recsys import complete
from rfm_recsys.datasets import synthetic_low_rank

size, rank = 36, 2
freedom = rank * (2 * size - rank)
oversampling = np.array([1.5, 2.0, 2.5, 3.0, 4.0, 5.0])
forms = {
    "two-sided": ({}, "#0b5cad", "o"),
    "one-sided": ({"two_sided": False}, "#b84a00", "D"),
}
figure, axes = plt.subplots(figsize=(6.2, 3.4), layout="constrained")
for name, (options, colour, marker) in forms.items():
    shares = []
    for ratio in oversampling:
        recovered = 0
        for seed in range(8):
            entries = max(int(ratio * freedom), 2 * rank * size)
            observed, left, right = synthetic_low_rank((size, size), rank, entries, random_state=seed)
            error = np.linalg.norm(complete(observed, **options).toarray() - left @ right.T)
            recovered += error < 1e-2 * np.linalg.norm(left @ right.T)
        shares.append(recovered / 8)
    axes.plot(oversampling, shares, color=colour, marker=marker, label=name)
axes.set(xlabel="entries, in multiples of the degrees of freedom", ylabel="share of matrices recovered")
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
plt.show()
