"""All experiments in turn, and what they show."""

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rfm_recsys.evaluation.comparison import describe_environment
from rfm_recsys.paper import matrices, ratings, vectors

FORMAT, VERSION = "rfm_recsys paper", 1

AGREEMENT = 1e-8  # of the iterates with those of IRLS, relative

PRECISE = 1e-4  # the median error that recovery from few entries is to stay below

Experiment = Callable[[bool, Path | None], dict[str, Any]]

EXPERIMENTS: dict[str, Experiment] = {
    "equivalence on matrices": lambda quick, _: matrices.equivalence(quick),
    "equivalence on vectors": lambda quick, _: vectors.equivalence(quick),
    "phase transitions": lambda quick, _: matrices.phase_transitions(quick),
    "few entries": lambda quick, _: matrices.few_entries(quick),
    "times": lambda quick, _: matrices.times(quick),
    "sparse regression": lambda quick, _: vectors.sparse_regression(quick),
    "ratings": ratings.explicit_ratings,
}


def run(quick: bool, data: Path | None) -> dict[str, Any]:
    """Run all experiments.

    Parameters
    ----------
    quick : bool
        Whether to run the small setting, which takes minutes.
    data : Path, optional
        A folder that holds ml-100k and ml-1m; without it, ratings are generated.

    Returns
    -------
    dict
        ``experiments`` has for each its result, or the ``error`` with which it failed, and its ``seconds``. Seeded: all
        but times is the same again.
    """
    experiments: dict[str, dict[str, Any]] = {}
    for name, experiment in EXPERIMENTS.items():
        begun = time.perf_counter()
        try:
            experiments[name] = experiment(quick, data)
        except Exception as error:  # whatever it is: the page says so, and has the others
            experiments[name] = {"error": f"{type(error).__name__}: {error}"}
        experiments[name]["seconds"] = time.perf_counter() - begun
    about = {
        "format": FORMAT,
        "version": VERSION,
        "quick": quick,
        "created": datetime.now(UTC).isoformat("T", "seconds"),
    }
    return {**about, "environment": describe_environment(), "experiments": experiments}


def claims(result: dict[str, Any]) -> list[tuple[str, bool, str]]:
    """Return what the experiments were to show, whether they do, and by which numbers; failed ones show nothing."""
    good = {name: found for name, found in result["experiments"].items() if "error" not in found}
    found: list[tuple[str, bool, str]] = []
    for kind in ("matrices", "vectors"):
        if (rows := good.get(f"equivalence on {kind}", {}).get("rows")) is not None:
            worst = max(row["worst relative difference"] for row in rows)
            claim = f"lin-RFM at power a is IRLS-p with p = 2 \N{MINUS SIGN} 4a, iterate by iterate, on {kind}"
            found.append((claim, worst < AGREEMENT, f"largest relative difference {worst:.1e}"))
    transitions = good.get("phase transitions", {"conditions": []})
    for part in transitions["conditions"]:
        needed = _needed(part, transitions["oversampling"], "oversampling")
        where = f"condition number {part['condition number']:,g}"
        for other, name in (("deep network", "deep networks at the best depth"), ("nuclear norm", "the nuclear norm")):
            claim = f"lin-RFM at its best power needs fewer entries than {name}, {where}"
            found.append(_fewer(claim, needed, other, "oversampling"))
    few = good.get("few entries", {"rows": []})
    for row in few["rows"]:
        if row["form"] == "two-sided":
            claim = (
                f"recovery of {few['size']} x {few['size']}, rank {few['rank']} untold, "
                f"condition number {row['condition number']:,g}, at oversampling {row['oversampling']:g}"
            )
            evidence = f"median relative error {row['median error']:.1e} over {len(row['errors'])} matrices"
            found.append((claim, row["median error"] < PRECISE, evidence))
    if "sparse regression" in good:
        sparse = good["sparse regression"]
        needed = _needed(sparse, sparse["samples"], "samples")
        claim = "lin-RFM at its best power needs fewer samples than the Lasso"
        found.append(_fewer(claim, needed, "Lasso", "samples"))
    return found


def _needed(found: dict[str, Any], tried: Sequence[float], unit: str) -> dict[str, float | None]:
    """Return how much each method needs: lin-RFM from there on, and the others where they first have enough.

    With few matrices, one that a baseline misses later on is chance, which is not to decide for lin-RFM.
    """
    first: dict[str, float | None] = {}
    for curve in found["curves"]:
        enough = (n for n, share in zip(tried, curve["success"], strict=True) if share >= vectors.ENOUGH)
        first[curve["method"]] = next(enough, None)
    return first | {row["method"]: row[unit] for row in found["needed"] if "lin-RFM" in row["method"]}


def _fewer(claim: str, needed: Mapping[str, float | None], other: str, unit: str) -> tuple[str, bool, str]:
    """Return whether the best power of lin-RFM needs less than the best of the methods whose names begin so."""
    best, evidence = [], []
    for kind in ("lin-RFM", other):
        enough = {name: count for name, count in needed.items() if kind in name and count is not None}
        best.append(min(enough.values(), default=float("inf")))
        names = [name for name, count in enough.items() if count == best[-1]]
        first = f"{names[0]}, among others" if len(names) > 1 else "".join(names)
        evidence.append(f"{first}: {unit} {best[-1]:g}" if enough else f"{kind}: more than was tried")
    return claim, best[0] < best[1], "; ".join(evidence)
