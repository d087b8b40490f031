"""The reference: every public name is in it, with its parameters, results, errors, and an example that runs."""

import doctest
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import pytest
from places import DOCS

pytest.importorskip("numpydoc", reason="the extra 'test' is not installed")
pytest.importorskip("distributed", reason="the extra 'distributed' is not installed")
from numpydoc.docscrape import NumpyDocString

NAMES = [
    name
    for page in sorted((DOCS / "reference").glob("*.md"))
    for name in re.findall(r"^\.\. auto\w+:: rfm_recsys\.(\S+)", page.read_text(), re.MULTILINE)
]
# no input makes these raise anything but what Python does
RAISES_NOTHING = {
    "als.AlternatingLeastSquares", "datasets.FeatureEncoder.to_json", "datasets.Interactions.content_hash",
    "datasets.Interactions.from_indices", "datasets.Interactions.to_csr", "datasets.Interactions.to_frame",
    "evaluation.ContentKNN.recommend", "evaluation.CosineItemKNN.fit", "evaluation.Popularity.fit",
    "evaluation.RegressedALS.fit", "evaluation.Recommender.fit", "evaluation.Recommender.recommend",
    "evaluation.Candidate.defaults", "evaluation.Candidate.first_trial", "evaluation.Candidate.model",
    "evaluation.best", "evaluation.tune", "evaluation.simulation.epsilon_greedy", "evaluation.simulation.exploring",
    "evaluation.simulation.greedy", "evaluation.simulation.popularity",
}  # fmt: skip
NOT_IN_THE_REFERENCE = {"evaluation.CANDIDATES", "datasets.MOVIELENS"}  # values, which the pages name


def _object(name: str) -> Any:
    module, _, attribute = f"rfm_recsys.{name}".rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _all() -> Iterator[tuple[str, Any, str]]:
    """Yield every public name, what it is, and the examples that may use it."""
    for name in NAMES:
        item = _object(name)
        yield name, item, ""
        if not inspect.isclass(item) or issubclass(item, BaseException):
            continue
        for member, value in vars(item).items():
            function = getattr(value, "__func__", value)
            if inspect.isfunction(function) and not member.startswith("_") and not _is_former(function):
                yield f"{name}.{member}", function, inspect.getdoc(item) or ""


def _is_former(function: Any) -> bool:
    return "which is the new name" in (inspect.getdoc(function) or "")


PUBLIC = {name: (item, also) for name, item, also in _all()}


def _documented(doc: NumpyDocString, *sections: str) -> set[str]:
    found = [entry.name or entry.type for section in sections for entry in doc[section]]
    return {part.strip(" *") for names in found for part in names.split(",")}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_says_what_it_takes_returns_and_raises(name: str) -> None:
    item, also = PUBLIC[name]
    text = inspect.getdoc(item) or ""
    doc = NumpyDocString(text)
    assert doc["Summary"]
    missing = []
    if not (inspect.isclass(item) and issubclass(item, BaseException | dict)) and name != "evaluation.Recommender":
        parameters = {*inspect.signature(item).parameters} - {"self", "cls"}
        missing += sorted(parameters - _documented(doc, "Parameters", "Attributes"))
    if inspect.isfunction(item):
        returned = inspect.signature(item).return_annotation
        if returned not in (None, "None", inspect.Signature.empty) and not (doc["Returns"] or doc["Yields"]):
            missing.append("Returns")
        if not doc["Raises"] and name not in RAISES_NOTHING:
            missing.append("Raises")
    short = name.rpartition(".")[2]
    examples = [line for line in (text + also).splitlines() if line.lstrip().startswith((">>>", "..."))]
    if not any(inspect.isclass(item) or re.search(rf"\b{short}\b", line) for line in examples):
        missing.append("an example")
    assert not missing


def test_all_that_is_exported_is_in_the_reference() -> None:
    for module in ("datasets", "distributed", "evaluation", "completion"):
        for name in importlib.import_module(f"rfm_recsys.{module}").__all__:
            shown = name if module == "completion" else f"{module}.{name}"
            assert shown in NAMES or shown in NOT_IN_THE_REFERENCE, shown
    assert {"LinRFM", "LinRFMRatings", "LinRFMRegressor", "TableModel"} <= {*NAMES}


@pytest.mark.parametrize("module", sorted({inspect.getmodule(item).__name__ for item, _ in PUBLIC.values()}))  # type: ignore[union-attr]
def test_the_examples_run(module: str) -> None:
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted
    assert found.failed == 0
