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
# A map of the films. ``item_vectors`` are such that inner products are those of what all users are predicted to think;
# the two directions with the largest spread already tell genres apart, of which the model knows nothing.

vectors = model.model.item_vectors()
vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
centred = vectors - vectors.mean(axis=0)
places = centred @ np.linalg.svd(centred, full_matrices=False)[2][:2].T
known = films.set_index("film").loc[model.item_ids]

figure, axes = plt.subplots(figsize=(7, 4.6), layout="constrained")
colours = {"Action": "#0b5cad", "Sci-Fi": "#b84a00", "Comedy": "#00775f", "Horror": "#a33c7c"}
main = known["genres"].str.split("|").str[0].to_numpy()
axes.scatter(*places[~np.isin(main, [*colours])].T, s=10, color="#cccccc", label="other genres")
for genre, colour in colours.items():
    axes.scatter(*places[main == genre].T, s=18, color=colour, label=genre)
axes.set_xticks([])
axes.set_yticks([])
axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()
