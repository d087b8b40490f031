"""
Completing an image
===================

A picture of low rank with most of its pixels missing comes back exactly: ``complete`` finds the rank by itself. A
photograph is not of low rank: told to use few factors, it comes back roughly.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.sparse import csr_matrix
from sklearn.datasets import load_sample_image

from rfm_recsys import complete

x, y = np.linspace(-1, 1, 180), np.linspace(-1, 1, 260)
pattern = 1 + np.sin(6 * x)[:, None] * np.cos(5 * y) + np.sign(x)[:, None] * y**2 + 0.5 * np.abs(x)[:, None]
photograph = load_sample_image("china.jpg").mean(axis=2)[100:280, 60:320] / 255


def masked(image, share):
    seen = np.random.default_rng(0).random(image.shape) < share
    rows, columns = np.nonzero(seen)
    return np.where(seen, image, np.nan), csr_matrix((image[seen], (rows, columns)), shape=image.shape)


figure, panels = plt.subplots(2, 3, figsize=(8.4, 4.2), layout="constrained")
for row, (image, share, factors) in enumerate(((pattern, 0.12, 50), (photograph, 0.5, 15))):
    shown, observed = masked(image, share)
    completion = complete(observed, factors=factors)
    error = np.linalg.norm(completion.toarray() - image) / np.linalg.norm(image)
    limits = {"vmin": image.min(), "vmax": image.max(), "cmap": "gray"}
    titles = ("original", f"{share:.0%} of the pixels", f"rank {len(completion.singular_values)}, error {error:.1e}")
    for panel, picture, title in zip(panels[row], (image, shown, completion.toarray()), titles, strict=True):
        panel.imshow(picture, **limits)
        panel.set_title(title, fontsize=9)
        panel.axis("off")
plt.show()
