"""
A new user on a web page
========================

Somebody has just clicked on three films. ``recommend_for`` folds them in: one small solve, and no fit. This is what a
web server calls at every click, and how long it takes.
"""

import itertools
import time

import matplotlib.pyplot as plt
import numpy as np

from rfm_recsys import LinRFM, TableModel
from rfm_recsys.datasets import example_films

ratings, films = example_films()
model = TableModel.from_table(ratings, LinRFM(64), show_progress=False)
clicked = [6, 35, 37]
films[films["film"].isin(clicked)]

# %%
model.with_titles(model.recommend_for(clicked, N=5), films)

# %%
# Every further click moves the list. Time is that of a call, tables included.

history, seconds, lists = [], [], []
for film in [6, 35, 37, 4, 10, 12, 300, 301]:
    history.append(film)
    begun = time.perf_counter()
    lists.append(model.recommend_for(history, N=10)["item_id"].tolist())
    seconds.append(time.perf_counter() - begun)
kept = [len({*before} & {*after}) for before, after in itertools.pairwise(lists)]

figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3), layout="constrained")
left.plot(np.arange(2, 9), kept, color="#0b5cad", marker="o")
left.set(xlabel="clicks", ylabel="films of the list before, of 10", ylim=(0, 10.5))
right.bar(np.arange(1, 9), 1000 * np.array(seconds), color="#0b5cad")
right.set(xlabel="clicks", ylabel="milliseconds")
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
plt.show()
