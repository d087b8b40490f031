"""Write the numbers of the README and of the pages from the result files, between the marks that say which.

A region begins with ``<!-- from: NAME -->`` and ends with ``<!-- end -->``. What is between them is what the function
of that name returns. A test compares.
"""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
REGION = re.compile(r"(<!-- from: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
HARD = "\N{NO-BREAK SPACE}"  # so that a phone does not break a pair of numbers
AGAINST = f"{HARD}/{HARD}"
DATA = ("Steam", "BookCrossing", "ML-1M", "ML-100K", "ml-latest-small")


def result(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text())


def number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"


def seconds(value: float) -> str:
    return f"{value:.0f} s" if value >= 20 else f"{value:.1f} s" if value >= 1 else f"{value:.2f} s"


def part(ratio: float) -> str:
    """Return a ratio below 1 as a fraction."""
    return f"1/{1 / ratio:.0f}" if ratio < 1 / 9.5 else f"1/{1 / ratio:.1f}"


def table(heading: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [[*heading], *([*row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def best(values: Iterable[float], digits: int = 3) -> list[str]:
    """Return numbers, the largest in bold."""
    texts = [number(value, digits) for value in values]
    most = max(texts)
    return [f"**{text}**" if text == most else text for text in texts]


def in_short() -> str:
    found = result("choice")
    rows = found["NDCG@10 of ALS(), ALS(64, .05, 2) and LinRFM()"]
    ahead = sum(ours > max(theirs) for *theirs, ours in rows.values())
    given = [each["LinRFM, all given"] / each["ALS, 256 factors"] for each in found["seconds, medians"].values()]
    return (
        f"With nothing set it is ahead of the better of two usual calls of ALS on {ahead} of {len(rows)} data sets\n"
        f"and kinds of values, by a factor of {found['median ratio to the better']:.2f} in the median. It tunes\n"
        "itself in the time that one fit of ALS takes. With its settings given, a fit takes "
        f"{part(max(given))} to {part(min(given))} of that.\n"
    )


def nothing_set() -> str:
    rows = result("choice")["NDCG@10 of ALS(), ALS(64, .05, 2) and LinRFM()"]

    def cell(name: str, kind: str) -> str:
        *theirs, ours = rows[f"{name}, {kind}"]
        return AGAINST.join(best([ours, max(theirs)]))

    kinds = {"raw": "values as they come", "log1p": "log(1 + value)", "ones": "ones"}
    return table(("data", *kinds.values()), ([name, *(cell(name, kind) for kind in kinds)] for name in DATA))


def tuned_alike() -> str:
    found = json.loads((ROOT / "evaluation" / "results" / "ml-1m.json").read_text())
    models = {row["model"]: row for row in found["models"]}
    names = ("LinRFM", "EASE", "ALS", "ItemKNN-BM25")
    lines = []
    for metric, label in (("ndcg@100", "NDCG@100"), ("capped_recall@20", "recall@20")):
        values = best([models[name]["metrics"][metric]["mean"] for name in names], 4)
        halves = [(each["high"] - each["low"]) / 2 for each in (models[name]["metrics"][metric] for name in names)]
        lines.append([label, *(f"{value}{HARD}±{number(half)}" for value, half in zip(values, halves, strict=True))])
    lines.append(["fit", *(seconds(models[name]["fit_seconds"]) for name in names)])
    said = {row["against"]: row for row in found["comparisons"] if row["metric"] == "ndcg@100"}

    def difference(name: str) -> str:
        row = said[name]
        return f"{row['difference']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})".replace("0.", ".")

    return (
        table(("", "LinRFM", "EASE", "implicit's ALS", "item-kNN"), lines)
        + "\nLinRFM's lead in NDCG@100 with its 95% interval: "
        f"{difference('ALS')} over ALS, {difference('EASE')} over EASE,\nfrom which it cannot be told apart.\n"
    )


def speed() -> str:
    rows = []
    for name, shown in (("ml-1m", "ML-1M"), ("gowalla", "Gowalla")):
        found = result(f"time_to_quality_{name}")["summary"]
        goal, ours = found["best of ALS"], found["LinRFM where it reaches it"]
        metric = f"NDCG@{found['metric'].partition('@')[2]}"
        text = f"{shown}: a fit until ALS's best {metric} at any setting, {number(goal['quality'], 4)}"
        rows.append([text, f"**{seconds(ours['seconds'])}**", seconds(goal["seconds"]), part(found["ratio"])])
    for row in result("fit_time")["rows"]:
        took = row["seconds"]
        ratio = part(row["LinRFM / peer"]["implicit ALS"])
        text = f"a fit of 20 million interactions, {row['factors']} factors"
        rows.append([text, f"**{seconds(took['LinRFM'])}**", seconds(took["implicit ALS"]), ratio])
    for name, each in result("choice")["seconds, medians"].items():
        taken = each["LinRFM()"], each["ALS, 256 factors"]
        text = f"{name}: a fit of 256 factors that chooses its settings, beside one of ALS"
        rows.append([text, *map(seconds, taken), f"{taken[0] / taken[1]:.2f}"])
    return table(("", "LinRFM", "ALS", "ratio"), rows)


def equal_size() -> str:
    rows: dict[str, list[str]] = {}
    for row in result("equal_size")["rows"]:
        ours, theirs = (
            next(each for key, each in row.items() if "ndcg@" in key)[name] for name in ("LinRFM", "ALS, tuned")
        )
        digits = 4 if ours < 0.1 else 3
        text = number(ours, digits)
        text = f"**{text}**" if row["interval"][0] > 0 else text
        rows.setdefault(row["data"], []).append(f"{text}{AGAINST}{number(theirs, digits)}")
    return table(("data", "32 factors", "64", "128", "256"), ([name, *cells] for name, cells in rows.items()))


def peers() -> str:
    found = result("peers")
    columns = (
        ("LinRFM", "LinRFM", "nothing set"), ("its full form", "LinRFM, full form", "nothing set"),
        ("ALS()", "ALS (implicit's defaults)", "nothing set"), ("ALS, tuned", "ALS", "tuned"),
        ("EASE, tuned", "EASE", "tuned"), ("iALS, tuned", "iALS (irspack)", "tuned"),
        ("item-kNN, tuned", "ItemKNN-cosine", "tuned"), ("BPR, tuned", "BPR", "tuned"),
        ("popularity", "Popularity", "nothing set"),
    )  # fmt: skip

    def cells(name: str) -> list[str]:
        rows = found[name]
        untuned = {model: row.get("nothing set", {}) for model, row in rows.items()}
        values = [rows.get(model, {}).get(how, untuned.get(model, {})).get("quality") for _, model, how in columns]
        most = max(number(value) for value in values if value is not None)
        texts = ["" if value is None else number(value) for value in values]
        return [f"**{text}**" if text == most else text for text in texts]

    return table(("data", *(label for label, _, _ in columns)), ([name, *cells(name)] for name in (*DATA, "Gowalla")))


def ratings() -> str:
    found, shown = (
        result("ratings"),
        {"ml-100k": "MovieLens 100K, mean of u1 to u5", "ml-1m": "MovieLens 1M, random 90/10"},
    )
    models = ("LinRFMRatings", "LinRFMRatings, no choices", "ALS on residuals", "biases")
    return table(
        ("RMSE", "LinRFMRatings", "without who rated what", "ALS after biases", "biases"),
        ([text, *(number(found[name][model]["mean rmse"]) for model in models)] for name, text in shown.items()),
    )


def cold_items() -> str:
    found = result("newcomers")
    peers = ("ALS() regressed", "ALS(64, 40, 2) regressed", "LightFM")
    keys = ("random", "content kNN", *peers, "LinRFM() regressed", "LinRFM, features", "popularity, known by an oracle")

    def cells(name: str) -> list[str]:
        means, splits = found[name]["cold"], found[name]["splits"]
        p = means["p over splits"]
        chance = f"{means['ratio to the best peer']:.2f}, " + (
            "p < .001" if p < 0.001 else f"p = {number(p, 2 if p > 0.1 else 3)}"
        )
        values = [number(means[key]) for key in keys]
        return [f"{name} ({len(splits)} splits)", *values[:-1], chance, values[-1]]

    heading = ("", "random", "content kNN", *peers, "LinRFM() regressed", "LinRFM", "ratio", "popularity, by an oracle")
    return table(heading, (cells(name) for name in ("ML-1M", "ML-100K", "ml-latest-small", "Steam", "BookCrossing")))


def few_shot() -> str:
    found = result("newcomers")

    def cell(name: str, n: int) -> str:
        both, features, interactions = (
            number(found[name]["cold"][f"{n} shown, {kind}"]) for kind in ("both", "features", "interactions")
        )
        return f"{both} ({features}, {interactions})"

    names = ("ML-1M", "ML-100K", "ml-latest-small", "Steam", "BookCrossing")
    return table(("", "1", "2", "5"), ([name, *(cell(name, n) for n in (1, 2, 5))] for name in names))


def old_and_new() -> str:
    found = result("newcomers")

    def cells(name: str) -> list[str]:
        warm, mixed = found[name]["warm"], found[name]["mixed"]
        old = [mixed[f"old items, NDCG@10 {how}"] for how in ("without features", "with features, new ones left out")]
        return [
            name,
            f"{number(warm['without features'])}, {number(warm['with features'])}",
            f"{number(old[0])}, {number(old[1])}",
            f"{mixed['share of new in lists']:.2%}",
            f"{mixed['score per interaction, new over old']:.2f}",
            f"{number(mixed['q of new'])}, {number(mixed['q of old'])}",
        ]

    names = ("ML-1M", "ML-100K", "ml-latest-small", "Steam", "BookCrossing")
    heading = ("", "no item new", "old items", "new in the lists", "score per interaction", "chance, new and old")
    return table(heading, map(cells, names))


def feature_cost() -> str:
    taken = result("newcomers")["ML-1M"]["seconds"]
    return (
        f"A fit of ML-1M with nothing set takes {taken['with'] / taken['without']:.2f} times as long with 19 features\n"
        f"for each item ({seconds(taken['without'])} without).\n"
    )


REGIONS: dict[str, Callable[[], str]] = {
    each.__name__: each
    for each in (
        in_short, nothing_set, tuned_alike, speed, equal_size, peers, ratings, cold_items, few_shot, old_and_new,
        feature_cost,
    )
}  # fmt: skip


def rendered(text: str) -> str:
    """Return a page with what its regions should hold."""
    return REGION.sub(lambda found: f"{found[1]}{REGIONS[found[2]]()}{found[3]}", text)


def main() -> None:
    for path in PAGES:
        before = path.read_text()
        if (after := rendered(before)) != before:
            path.write_text(after)
            print(f"written: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
