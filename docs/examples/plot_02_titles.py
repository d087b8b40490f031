"""
Films with titles
=================

A table of ratings and a table of films, as MovieLens has them: fit, recommend, and look at what is similar to what. The
films are made up, so that the page needs no download. With MovieLens itself, pass the paths of its two files.
"""

import matplotlib.pyplot as plt
import numpy as np

from rfm_recsys import LinRFM, TableModel
from rfm_recsys.datasets import example_films

ratings, films = example_films()
model = TableModel.from_table(ratings, LinRFM(32), show_progress=False)
model.with_titles(model.recommend("ann", N=5), films)

# %%
# What is liked as a film is.

model.with_titles(model.similar(6, N=5), films)

# %%
# How alike are films of two genres, on average? Likeness is the cosine of ``item_vectors``: that of what all users are
# predicted to think of two films. The model knows nothing of genres. What it found is in who watches what.

vectors = model.model.item_vectors()
vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
member = films.set_index("film").loc[model.item_ids, "genres"].str.get_dummies()
weights = (member / member.sum()).to_numpy()
likeness = weights.T @ (vectors @ vectors.T) @ weights

figure, axes = plt.subplots(figsize=(6, 5), layout="constrained")
picture = axes.imshow(likeness, cmap="Blues")
axes.set_xticks(range(len(likeness)), member.columns, rotation=90)
axes.set_yticks(range(len(likeness)), member.columns)
axes.spines[:].set_visible(False)
figure.colorbar(picture, label="mean cosine", shrink=0.8)
plt.show()
