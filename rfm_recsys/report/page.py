"""What all pages of results share: each is one HTML file that loads nothing from elsewhere."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from rfm_recsys.core.files import replacing
from rfm_recsys.errors import DataError

MINUS, NOTHING, APOSTROPHE = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{RIGHT SINGLE QUOTATION MARK}"


def write_page(page: str, path: str | os.PathLike[str]) -> None:
    """Write a page to ``path``, whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(page, encoding="utf-8")


def template(name: str) -> jinja2.Template:
    """Return a template of this package, by its path within."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "seconds": seconds, "whole": whole, "plain": plain}
    return environment.get_template(name)


@dataclass(frozen=True)
class Verdict:
    """One sentence: the claim, and the evidence for it."""

    claim: str
    evidence: str

    def __str__(self) -> str:
        return f"{self.claim}: {self.evidence}"


def number(value: float | None, signed: bool = False) -> str:
    """Return a metric to four digits, as the field prints them: .4901."""
    if value is None:
        return NOTHING
    text = f"{round(value, 4) + 0.0:{'+' if signed else ''}.4f}"  # + 0.0 makes -0.0 positive
    return re.sub(r"^([+-]?)0\.", r"\1.", text).replace("-", MINUS)


def seconds(value: float | None) -> str:
    """Return seconds to about three digits."""
    if value is None:
        return NOTHING
    return f"{value:,.{3 if value < 0.1 else 2 if value < 10 else 1 if value < 100 else 0}f}"


def whole(value: float | None) -> str:
    """Return a number without decimals, its thousands apart."""
    return NOTHING if value is None else f"{value:,.0f}"


def plain(value: Any) -> str:
    """Return a parameter as it is written by hand."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def check_format(result: dict[str, Any], kind: str, version: int, command: str) -> None:
    """Raise DataError for what is not a result of this kind, or of another version of its format."""
    if (result.get("format"), result.get("version")) != (kind, version):
        raise DataError(
            f"this is {result.get('format')!r}, version {result.get('version')}, "
            f"and not {kind!r}, version {version}; pass what this version of {command} wrote"
        )
