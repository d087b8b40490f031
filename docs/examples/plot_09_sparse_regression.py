"""
Sparse regression
=================

A hundred and twenty samples, four hundred features, of which twenty matter. ``LinRFMRegressor`` is lin-RFM on vectors,
with scikit-learn's interface. It finds those that matter where the Lasso adds many others, and shrinks them less.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LassoCV

from rfm_recsys.regression import LinRFMRegressor

rng = np.random.default_rng(1)
X = rng.normal(size=(120, 400))
truth = np.zeros(400)
truth[rng.choice(400, 20, replace=False)] = rng.choice([-1, 1], 20) * rng.uniform(1, 3, 20)
y = X @ truth + 0.5 * rng.normal(size=120)

models = {"LinRFMRegressor()": (LinRFMRegressor(), "#0b5cad"), "LassoCV()": (LassoCV(max_iter=5000), "#b84a00")}
figure, panels = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True, layout="constrained")
for panel, (name, (model, colour)) in zip(panels, models.items(), strict=True):
    coefficients = model.fit(X, y).coef_
    counted = np.abs(coefficients) > 0.01
    extra = np.count_nonzero(counted & (truth == 0))
    print(f"{name}: {np.count_nonzero(counted & (truth != 0))} of 20 found, {extra} others")
    panel.vlines(np.arange(400), 0, truth, color="#cccccc", label="truth")
    panel.scatter(np.flatnonzero(counted), coefficients[counted], s=14, color=colour, label="estimate")
    panel.set_title(f"{name}: {extra} too many", fontsize=9)
    panel.set_xlabel("feature")
    panel.spines[["top", "right"]].set_visible(False)
panels[0].set_ylabel("coefficient")
figure.legend(*panels[0].get_legend_handles_labels(), frameon=False, ncols=2, loc="outside lower center")
plt.show()
