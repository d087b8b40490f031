"""The page of a comparison: what it says, what it must not let through, and that it is one file, whole."""

import copy
import html
import json
import re
import warnings
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from sample_comparison import sample

from rfm_recsys.errors import DataError
from rfm_recsys.evaluation.metrics import CATALOGUE_METRICS
from rfm_recsys.report import comparison_plots
from rfm_recsys.report.comparison import render_report, verdict, write_report
from rfm_recsys.report.page import number, seconds
from rfm_recsys.report.plots import LINE, spread
from rfm_recsys.report.results import Comparison


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(sample())


def against_ease(
    low: float | None, high: float | None, p: float | None = 0.0002, ahead: float = 0.01
) -> dict[str, Any]:
    result = sample(["LinRFM", "EASE", "ALS"])
    result["models"][0]["metrics"]["ndcg@100"]["mean"] = 0.4893 + ahead
    result["comparisons"][0] |= {"difference": ahead, "low": low, "high": high, "p_value": p}
    return result


def text_of(page: str) -> str:
    """Return the words of the page, without its style and its figures."""
    words = re.sub(r"<style>.*?</style>|<svg.*?</svg>|<[^>]+>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(words).split())


def figures_of(page: str) -> list[ET.Element]:
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)]


@pytest.mark.parametrize(
    ("result", "sentence"),
    [
        (
            against_ease(0.006, 0.014),
            "LinRFM ranks better than EASE, the best of 2 baselines: ndcg@100 .4993 against .4893, "
            "difference +.0100 (95% interval +.0060 to +.0140, p = .0002).",
        ),
        (
            against_ease(-0.006, 0.014, p=0.31, ahead=0.004),
            "No clear difference between LinRFM and EASE, the best of 2 baselines: ndcg@100 .4933 against .4893, "
            "difference +.0040 (95% interval \N{MINUS SIGN}.0060 to +.0140, p = .31).",
        ),
        (
            against_ease(-0.014, -0.006, p=1e-9, ahead=-0.01),
            "LinRFM ranks worse than EASE, the best of 2 baselines: ndcg@100 .4793 against .4893, "
            "difference \N{MINUS SIGN}.0100 (95% interval \N{MINUS SIGN}.0140 to \N{MINUS SIGN}.0060, p < .0001).",
        ),
        (
            against_ease(None, None),
            "LinRFM is not shown to differ from EASE, the best of 2 baselines: ndcg@100 .4993 against .4893, "
            "without an interval.",
        ),
        (
            sample(["ALS", "Popularity"]),
            "ALS ranks better than Popularity, the only baseline: ndcg@100 .4803 against .1947, "
            "difference +.2856 (95% interval +.2819 to +.2894, p = .0002).",
        ),
        (sample(["LinRFM"]), "LinRFM had no other model to be compared with: ndcg@100 .4901."),
    ],
)
def test_the_verdict_is_one_honest_sentence(result: dict[str, Any], sentence: str) -> None:
    assert str(verdict(Comparison(result))) == sentence
    assert sentence.replace(": ", " ", 1) in text_of(render_report(result))  # on lines of their own, without a colon


def test_an_interval_that_touches_zero_is_no_clear_difference() -> None:
    for low, high in ((0.0, 0.02), (-0.02, 0.0)):
        assert verdict(Comparison(against_ease(low, high))).claim.startswith("No clear difference")


def test_the_verdict_of_a_failed_candidate() -> None:
    result = sample()
    result["models"][0] = {"model": "LinRFM", "how": "defaults", "error": "out of memory.", "runs": []}
    result["comparisons"] = []
    page = text_of(render_report(result))
    assert "LinRFM could not be compared out of memory." in page
    assert "failed: out of memory." in page
    assert "★ .4893" not in page  # the star is drawn by the style, the words say "best"
    assert "best: .4893" in page


def test_every_number_of_the_table_is_there(page: str) -> None:
    result, words = sample(), text_of(page)
    for row in result["models"]:
        assert row["model"] in words
        assert row["how"] in words
        if "error" in row:
            assert f"failed: {row['error']}" in words
            continue
        for metric in result["protocol"]["table"]:
            found = row["metrics"][metric]
            assert f"{number(found['mean'])} {number(found['low'])} to {number(found['high'])}" in words
        assert seconds(row["fit_seconds"]) in words
        assert seconds(row["recommend_seconds"]) in words
        assert f"{row['peak_memory_mib']:,.0f}" in words
        for run in row["runs"]:
            assert number(run["metrics"]["ndcg@100"]) in words
            for key, value in run["parameters"].items():
                assert f"{key} {value:g}" in words
    for found in result["comparisons"]:
        assert (
            f"{number(found['difference'], True)} {number(found['low'], True)} to {number(found['high'], True)}"
            in words
        )
    for value in (result["data"]["sha256"], result["created"], *result["environment"].values()):
        assert str(value) in words
    for metric in ("capped_recall@k", "ndcg@k", "recall@k"):
        assert metric in words


def test_what_is_beyond_accuracy_stands_in_a_table_with_its_definitions() -> None:
    result = sample(["LinRFM", "ALS", "EASE"])
    values = {"coverage@100": (0.41, 0.62, 0.5), "gini@100": (0.81, 0.71, 0.9), "novelty@100": (2.5, 3.5, 3.0)}
    for metric, each in values.items():
        for row, mean in zip(result["models"], each, strict=False):
            if "error" not in row:
                row["metrics"][metric] = {"mean": mean, "low": None, "high": None}
    words = text_of(render_report(result)).split("Beyond accuracy")[1].split("By the length of the list")[0]
    measured = [row for row in result["models"] if "error" not in row]
    for row in measured:
        line = words.split(row["model"], 1)[1]
        for metric in values:
            assert number(row["metrics"][metric]["mean"]) in line
    assert f"best: {number(max(row['metrics']['coverage@100']['mean'] for row in measured))}" in words
    assert f"best: {number(min(row['metrics']['gini@100']['mean'] for row in measured))}" in words
    assert "best: " not in words.split("novelty@100")[1].split("LinRFM")[0]
    assert "The share of the catalogue that is recommended to at least one user." in words
    for row in measured:
        for metric in [name for name in row["metrics"] if name.split("@")[0] in CATALOGUE_METRICS]:
            del row["metrics"][metric]
    assert "Beyond accuracy" not in render_report(result)


def test_the_best_is_marked_in_words_and_where_two_are_printed_alike_both_are() -> None:
    result = sample(["LinRFM", "ALS", "EASE"])
    for row, mean in zip(result["models"][:2], (0.49012, 0.49009), strict=True):
        row["metrics"]["ndcg@100"]["mean"] = mean
    assert text_of(render_report(result)).count("best: .4901") == 2
    assert "best:" not in text_of(render_report(sample(["LinRFM"], failing=False)))


def test_less_is_better_where_it_is() -> None:
    result = sample(["LinRFM", "ALS"], failing=False)
    result["protocol"]["table"] = ["gini@20"]
    for row, mean in zip(result["models"], (0.3, 0.8), strict=True):
        row["metrics"]["gini@20"] = {"mean": mean, "low": None, "high": None}
    words = text_of(render_report(result))
    assert "best: .3000" in words
    assert "best: .8000" not in words


def test_of_novelty_neither_end_is_better() -> None:
    result = sample(["LinRFM", "ALS"], seeds=1)
    result["protocol"]["table"] = ["novelty@20"]
    for row, mean in zip(result["models"], (8.0, 9.0), strict=False):
        row["metrics"]["novelty@20"] = {"mean": mean, "low": None, "high": None}
    words = text_of(render_report(result))
    assert "8.0000" in words
    assert not re.search(r"best: [89]\.0000", words)


def test_other_files_are_refused() -> None:
    with pytest.raises(DataError, match="this is None, version 2, and not 'rfm_recsys comparison', version 1; pass"):
        render_report({"version": 2})


def test_every_figure_is_there_with_words_for_who_cannot_see_it(page: str) -> None:
    described = [svg for svg in figures_of(page) if svg.get("role") == "img"]
    titles = [svg.findtext("title") for svg in described]
    assert titles == [
        "ndcg@100 against training time",
        "ndcg@100 of LinRFM minus that of each other model",
        "recall of each model by cut-off",
        "ndcg of each model by cut-off",
        "LinRFM and EASE by activity of the user",
        "LinRFM and EASE by popularity of the item",
        *(f"Tuning of {model}" for model in ("LinRFM", "ALS", "EASE", "Item-kNN cosine", "Item-kNN BM25")),
    ]
    for svg in described:
        ids = {element.get("id") for element in svg.iter()}
        assert set(str(svg.get("aria-labelledby")).split()) <= ids
        assert svg.findtext("desc")
    assert "LinRFM .4901 after 2.10 s" in str(described[0].findtext("desc"))


def test_ids_are_unique_and_every_reference_is_to_one(page: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page)) <= {(name, "") for name in ids} | {
        ("", name) for name in ids
    }


def test_figures_take_their_colours_and_fonts_from_the_page(page: str) -> None:
    for svg in figures_of(page):
        for element in svg.iter():
            assert not re.search(r"#[0-9a-f]{6}", element.get("style", "")), element.attrib
            assert "font-family" not in element.get("style", "")
    for variable in set(re.findall(r"var\((--[\w-]+)\)", page)):
        assert page.count(f"{variable}:") == 3  # light, dark, print


@pytest.mark.parametrize("theme", [0, 1])
def test_colours_stand_out_from_the_paper(page: str, theme: int) -> None:
    rules = re.findall(r":root \{(.*?)\}", page, flags=re.DOTALL)[theme]
    colours = dict(re.findall(r"(--[\w-]+): (#[0-9a-f]{6})", rules))

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for name, colour in colours.items():
        dark, light = sorted([luminance(colour), luminance(colours["--paper"])])
        least = {"--ink": 7.0, "--muted": 4.5}.get(name, 3.0 if name.startswith("--series") else 1.0)  # WCAG 2.2
        assert (light + 0.05) / (dark + 0.05) >= least, (name, colour)


def test_the_same_result_gives_the_same_bytes_and_leaves_matplotlib_as_it_was(page: str) -> None:
    def settings() -> dict[str, Any]:
        return {key: value for key, value in matplotlib.rcParams.items() if key != "backend"}

    before = settings()
    with matplotlib.rc_context({"font.size": 23, "axes.grid": True, "svg.hashsalt": "other"}):
        assert render_report(json.loads(json.dumps(sample()))) == page
    assert settings() == before


def test_the_result_is_not_changed() -> None:
    result = sample()
    kept = copy.deepcopy(result)
    render_report(result)
    assert result == kept


def test_values_of_the_result_are_text_and_never_markup() -> None:
    evil = "<script>alert('x')</script>"
    result = sample([evil, "ALS & <b>$x_1$</b>", 'url(#a) #0a0a01 "id="b"', "control\x00\x1b\n"], failing=True)
    result["data"]["name"] = result["data"]["sha256"] = result["protocol"]["title"] = result["created"] = evil
    result["environment"] = {evil: evil}
    for row in result["models"]:
        row["how"] = evil
        for run in row["runs"]:
            run["parameters"] = {evil: evil}
    for row in result["models"][:-1]:
        row["groups"]["activity"][0]["label"] = evil
    result["models"][-1]["error"] = evil
    page = render_report(result)
    assert not re.search(r"<(script|b>\$)", page)
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    names = {text.text for svg in figures_of(page) for text in svg.iter("text")}
    assert {"<script>alert('x…", "ALS & <b>$x_1$</b>"[:16] + "…", "url(#a) #0a0a01 …"} <= names


def test_names_in_any_script() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = render_report(sample(["\u6a21\u578b", "ALS"], seeds=1))
    assert page.count("\u6a21\u578b</text>") >= 4


def test_nothing_is_asked_from_outside(page: str) -> None:
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in page
    assert not re.search(r"https?:|<script|<link|<img|<iframe|@import|@font-face|xmlns", page)
    assert all(target.startswith("#") for target in re.findall(r'(?:href|src)="([^"]*)"', page))


@pytest.mark.parametrize(
    "result",
    [
        sample(["LinRFM"], seeds=1, trials=0, failing=False),
        sample(["LinRFM"], seeds=1, trials=1),
        sample(trials=0),
        sample(seeds=1),
        sample([f"Model {number}" for number in range(10)]),
        sample(cutoffs=[10, 100]),
    ],
    ids=["one model", "one trial", "untuned", "one seed", "ten models", "two cut-offs"],
)
def test_other_comparisons(result: dict[str, Any]) -> None:
    page = render_report(result)
    for row in result["models"]:
        assert row["model"] in page
    assert (f"Tuning of {result['models'][0]['model']}" in page) == (result["tuning"] is not None)


def test_equal_values_without_intervals() -> None:
    result = sample(["LinRFM", "ALS", "EASE"], seeds=1)
    for row in result["models"][:-1]:
        row["metrics"] = {metric: {"mean": 0.4, "low": None, "high": None} for metric in row["metrics"]}
        row |= {"fit_seconds": 2.0, "groups": {"activity": [], "popularity": []}}
        for trial in row["runs"][0]["trials"]:
            trial["value"] = 0.4
    for found in result["comparisons"]:
        found |= {"difference": 0.0, "low": None, "high": None, "p_value": None}
    words = text_of(render_report(result))
    assert "LinRFM is not shown to differ from ALS" in words
    assert words.count("best: .4000") == 9


def test_what_the_result_lacks_is_left_out() -> None:
    result = sample(["LinRFM", "ALS"])
    for row in result["models"][:-1]:
        row["metrics"] = {"ndcg@100": row["metrics"]["ndcg@100"]}
        row["groups"] = {}
        row["fit_seconds"] = 0.0
        for run in row["runs"]:
            run["trials"] = [trial | {"value": None, "error": "no memory"} for trial in run["trials"]]
    result["models"][1]["metrics"]["ndcg@100"] = None
    result["comparisons"] = []
    words = text_of(render_report(result))
    assert "LinRFM had no other model to be compared with" in words
    assert "By user activity" not in words
    assert "nan" not in words


def test_all_have_failed() -> None:
    result = sample()
    result["models"] = [row for row in result["models"] if "error" in row]
    result["comparisons"] = []
    assert "BPR could not be compared cannot rank users" in text_of(render_report(result))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "\N{EN DASH}"),
        (0.4901, ".4901"),
        (-0.00001, ".0000"),
        (1.0, "1.0000"),
        (-0.25, "\N{MINUS SIGN}.2500"),
        (12, "12.0000"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert number(value) == text


def test_the_front_holds_what_no_other_beats_in_both() -> None:
    times, qualities = [3.0, 1.0, 2.0, 2.0, 4.0], [0.5, 0.2, 0.4, 0.3, 0.5]
    assert comparison_plots._pareto_front(times, qualities) == [(1.0, 0.2), (2.0, 0.4), (3.0, 0.5)]


def test_names_are_moved_a_line_apart_and_stay_below_the_top() -> None:
    moved = spread([10.0, 50.0, 51.0, 52.0, 53.0], top=60.0)
    assert all(after - before >= LINE - 1e-9 for before, after in pairwise(moved))
    assert moved[-1] <= 60
    assert spread([10.0, 90.0], top=100.0) == [10.0, 90.0]


def test_the_page_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    path = tmp_path / "report.html"
    write_report(sample(), path)
    assert path.read_text(encoding="utf-8") == page

    def fail(self: Path, target: Path) -> Path:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_report(sample(["ALS"]), path)
    assert path.read_text(encoding="utf-8") == page
    assert [*tmp_path.iterdir()] == [path]
