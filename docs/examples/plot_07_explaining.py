"""
Explaining a recommendation
===========================

A score is a sum of shares, one for each item that the user likes: exactly, not by an approximation. Together with an
error bar it says why an item is in a list, and how sure that is.
"""

import matplotlib.pyplot as plt

from rfm_recsys import LinRFM, TableModel
from rfm_recsys.datasets import example_films

ratings, films = example_films()
model = TableModel.from_table(ratings, LinRFM(64), show_progress=False)
lists = model.with_titles(model.recommend("bob", N=8, return_std=True), films)
best = lists["item_id"][0]
score, shares = model.explain("bob", best, N=6)
shares = model.with_titles(shares, films)
shares

# %%
# On the left bob's list with a standard deviation to either side. On the right what the first score is made of.

figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.6), layout="constrained")
left.errorbar(lists["score"], lists["title"], xerr=lists["std"], fmt="o", color="#0b5cad", capsize=3)
left.invert_yaxis()
left.set_xlabel("score")
others = score - shares["share"].sum()
right.barh([*shares["title"], "all others"], [*shares["share"], others], color=["#0b5cad"] * len(shares) + ["#b3b6bb"])
right.invert_yaxis()
right.set_xlabel(f"share of the score {score:.2f}")
right.set_title(lists["title"][0], fontsize=9)
left.set_title("bob's list", fontsize=9)
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", labelsize=8)
plt.show()
