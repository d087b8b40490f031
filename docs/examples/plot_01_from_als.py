"""
From ALS in five lines
======================

The call that users of implicit's ALS have, with another import: same arguments, same methods. Here are both on the same
data, with nothing tuned.
"""

import implicit.als
import matplotlib.pyplot as plt
import numpy as np
from implicit.evaluation import ranking_metrics_at_k, train_test_split
from threadpoolctl import threadpool_limits

import rfm_recsys.als
from rfm_recsys.datasets import synthetic_movielens

user_items = synthetic_movielens(1500, 800, 120_000).to_csr()
user_items.data[:] = 1
train, test = train_test_split(user_items, random_state=0)

# %%
# The five lines, once with each import. implicit asks for BLAS on one thread; LinRFM holds it there by itself.

threadpool_limits(1, "blas")
found = {}
for library in (implicit, rfm_recsys):
    model = library.als.AlternatingLeastSquares(64, random_state=0)
    model.fit(train, show_progress=False)
    ids, scores = model.recommend(np.arange(1000), train[:1000], N=10)
    found[library.__name__] = ranking_metrics_at_k(model, train, test, K=10, show_progress=False)
    print(library.__name__, ids[0].tolist(), {name: round(value, 4) for name, value in found[library.__name__].items()})

# %%
# The data are generated: a demonstration of the calls, and no evidence. The page of results has real data.

metrics = ["ndcg", "map", "precision"]
place = np.arange(len(metrics))
figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
for k, (name, colour) in enumerate((("implicit", "#b84a00"), ("rfm_recsys", "#0b5cad"))):
    bars = axes.bar(place + 0.38 * k, [found[name][metric] for metric in metrics], 0.36, color=colour, label=name)
    axes.bar_label(bars, fmt="%.3f", fontsize=8)
axes.set_xticks(place + 0.19, [f"{metric}@10" for metric in metrics])
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
plt.show()
