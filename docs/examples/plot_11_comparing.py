"""
Comparing honestly
==================

``compare`` gives every model the same split, the same budget for tuning and the same test users, and says whether a
difference is more than chance. Here three models with three trials each; an evaluation before a release has thirty.
"""

import matplotlib.pyplot as plt

from rfm_recsys.datasets import synthetic_movielens
from rfm_recsys.evaluation import CANDIDATES, compare, parse_budget, read_protocol

data = synthetic_movielens(800, 300, 30_000)
models = [CANDIDATES[name] for name in ("LinRFM", "EASE", "Popularity")]
result = compare(read_protocol("strong"), data, models, budget=parse_budget("3"))
for row in result["comparisons"]:
    if row["metric"] == "ndcg@100":
        print(f"LinRFM - {row['against']}: {row['difference']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})")

# %%
# Intervals are 95%, over test users. The data are generated: which of LinRFM and EASE is ahead is no evidence.
# ``rfm_recsys.report.comparison.write_report(result, "report.html")`` makes a page of all of it.

rows = [(row["model"], row["metrics"]["ndcg@100"]) for row in result["models"]]
figure, axes = plt.subplots(figsize=(6.2, 2.6), layout="constrained")
for place, (name, value) in enumerate(reversed(rows)):
    colour = "#0b5cad" if name == "LinRFM" else "#63666b"
    axes.plot([value["low"], value["high"]], [place, place], color=colour, linewidth=2)
    axes.plot(value["mean"], place, marker="o", color=colour)
axes.set_yticks(range(len(rows)), [name for name, _ in reversed(rows)])
axes.set_xlabel("NDCG@100, 95% intervals over test users")
axes.spines[["top", "right"]].set_visible(False)
plt.show()
