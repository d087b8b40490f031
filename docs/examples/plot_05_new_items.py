"""
New items
=========

Forty films come out today. Nobody has seen them, so interactions say nothing about them. Their titles, years and genres
do, if the model is given a table of items.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from rfm_recsys import LinRFM, TableModel
from rfm_recsys.datasets import example_films

ratings, films = example_films()
new = np.sort(np.random.default_rng(3).choice(films["film"], 40, replace=False))
is_new = ratings["film"].isin(new)
model = TableModel.from_table(
    ratings[~is_new], LinRFM(64), item_table=films[~films["film"].isin(new)], show_progress=False
)
added = model.add_items(films[films["film"].isin(new)])
model.with_titles(model.recommend("ann", N=3, items=added), films)

# %%
# Were they shown to the right people? Every viewer gets the new films in an order of their own. Beside it stand two
# orders that are the same for all: by chance, and by how popular the films turn out to be, which nobody can know.

seen_later = ratings[is_new].groupby("user")["film"].agg(set)
users = [user for user in seen_later.index if user in model.user_ids]
lists = model.recommend(users, N=40, items=added).groupby("user_id")["item_id"].agg(list)
popular = ratings[is_new]["film"].value_counts().index.tolist()
chance = np.random.default_rng(0).permutation(new).tolist()


def recall(order_of, k):
    return np.mean([len({*order_of(user)[:k]} & seen_later[user]) / min(k, len(seen_later[user])) for user in users])


cuts = np.arange(1, 21)
figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
for name, order_of, colour in (
    ("LinRFM, by features", lists.get, "#0b5cad"),
    ("popularity, in hindsight", lambda user: popular, "#63666b"),
    ("chance", lambda user: chance, "#b3b6bb"),
):
    axes.plot(cuts, [recall(order_of, k) for k in cuts], color=colour, label=name)
axes.set(xlabel="films shown", ylabel="recall among new films", ylim=(0, 1), xticks=[1, 5, 10, 15, 20])
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
plt.show()

# %%
# What matters, by the average gradient outer product.

weights = model.feature_weights()
pd.DataFrame(weights.head(6))
