"""
Play counts, as they come
=========================

Counts have heavy tails: somebody plays one song thousands of times. ``LinRFM`` compares a value with the user's other
values, so that neither the unit nor one huge count matters, and there is no logarithm to think of.
"""

import matplotlib.pyplot as plt
import numpy as np
from implicit.evaluation import ndcg_at_k, train_test_split

from rfm_recsys import LinRFM
from rfm_recsys.datasets import synthetic_movielens
from rfm_recsys.evaluation import ALS

rng = np.random.default_rng(0)
plays = synthetic_movielens(1500, 800, 90_000).to_csr()
plays.data = np.ceil(plays.data * rng.lognormal(0, 1.5, plays.nnz)).astype(np.float32)
print("plays: median", np.median(plays.data), "most", plays.data.max())
train, test = train_test_split(plays, random_state=0)


def ndcg(model, data):
    model.fit(data, show_progress=False)
    fitted = getattr(model, "_model", model)  # implicit's own model
    return ndcg_at_k(fitted, data, test, K=10, show_progress=False)


# %%
# The same plays in four forms: as counts, in another unit, as logarithms, and as ones.

forms = {
    "counts": lambda x: x,
    "counts x 1,000": lambda x: 1000 * x,
    "log(1 + count)": np.log1p,
    "ones": np.ones_like,
}
found = {"LinRFM(64)": [], "ALS(64)": []}
for transform in forms.values():
    data = train.copy()
    data.data = transform(data.data).astype(np.float32)
    found["LinRFM(64)"].append(ndcg(LinRFM(64), data))
    found["ALS(64)"].append(ndcg(ALS(64, 0.05, 2.0, values="as they are", random_state=0), data))

figure, axes = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
place = np.arange(len(forms))
for k, (name, colour) in enumerate((("ALS(64)", "#b84a00"), ("LinRFM(64)", "#0b5cad"))):
    bars = axes.bar(place + 0.38 * k, found[name], 0.36, color=colour, label=name)
    axes.bar_label(bars, fmt="%.3f", fontsize=8)
axes.set_xticks(place + 0.19, [*forms])
axes.set_ylabel("NDCG@10")
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 1.18))
plt.show()
