"""What the figures of all pages share: colours that follow the page's theme, markers, ticks, names, and SVG."""

import io
import math
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rfm_recsys.report.page import MINUS

# Figures are drawn in these colours, and each becomes the CSS variable of its name: so they follow the page's theme.
INK, MUTED, RULE, PAPER = "#0a0a01", "#0a0a02", "#0a0a03", "#0a0a04"

SERIES = [f"#0a0b0{number}" for number in range(1, 9)]

CSS = {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)", PAPER: "var(--paper)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, 1)
}

STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a name may hold dollar signs
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.labelcolor": MUTED,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "hatch.linewidth": 1.1,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
}

WIDTH = 4.6  # inches: at this width the text stays legible on a phone, and is not too large on a desk

STEPS = [1, 2, 2.5, 5, 10]

LINE = 12.0  # points from one line of text to the next

MARKERS = "osD^vPX<>h"

DASHES = [(0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)), (0, (3, 1.2)), (0, (9, 2.5))]


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in the pages' style, whatever the caller's settings of matplotlib are, and leave those as they were."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # the reader's browser has fonts of its own
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


@dataclass(frozen=True)
class Look:
    """How one model is drawn; of the first ten no two share a marker, so that colour alone tells none apart."""

    colour: str
    marker: str
    dash: Any
    prominent: bool

    def line(self) -> dict[str, Any]:
        """Return how its line and its points are drawn; a prominent one lies below the hollow points of the others."""
        return {
            "color": self.colour,
            "linestyle": self.dash,
            "linewidth": 2.2 if self.prominent else 1.3,
            "zorder": 3 if self.prominent else 4,
            "marker": self.marker,
            "markersize": 8 if self.prominent else 6.5,
            "markerfacecolor": self.colour if self.prominent else PAPER,
            "markeredgecolor": self.colour,
            "markeredgewidth": 1.4,
        }


def canvas(
    height: float, *, left: float, right: float, bottom: float, top: float, width: float = WIDTH
) -> tuple[Figure, Axes]:
    """Return a figure with axes inside margins, all in inches."""
    figure = Figure((width, height), dpi=72)  # one pixel is one point
    axes = figure.add_axes((left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height))
    return figure, axes


def legend_key(look: Look, name: str) -> Markup:
    """Draw a model's line and marker, to stand beside its name."""
    figure, axes = canvas(0.2, left=0.02, right=0.02, bottom=0.0, top=0.0, width=0.42)
    axes.axis("off")
    axes.plot([0, 1, 2], [0, 0, 0], **look.line() | {"markevery": [1]})
    axes.set_ylim(-1, 1)
    return svg(figure, name, "", "")


def tick(value: float, signed: bool = False) -> str:
    """Return the label of a tick."""
    text = re.sub(r"^([+-]?)0\.", r"\1.", f"{value + 0.0:{'+' if signed and value else ''}.4g}")
    return text.replace("-", MINUS)


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten, with steps between where they are few."""
    steps = (1, 2, 5) if high / low < 100 else (1, 3) if high / low < 1000 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]


def name_ends(axes: Axes, ends: list[tuple[str, float, float, str]]) -> None:
    """Write names to the right of their curves' ends, moved apart where they would cover each other.

    ``ends`` has the name, x, y and font weight of each.
    """
    ends = sorted(ends, key=lambda end: end[2])
    heights = [float(axes.transData.transform((x, y))[1]) for _, x, y, _ in ends]
    edge = axes.transData.transform((axes.get_xlim()[1], 0))[0]
    for (name, x, y, weight), height, moved in zip(ends, heights, spread(heights, axes.bbox.y1), strict=True):
        right = edge + 8 - axes.transData.transform((x, y))[0]
        write_name(axes, name, (x, y), (right, moved - height), weight)


def spread(heights: list[float], top: float) -> list[float]:
    """Return ascending heights moved apart to a line each, about where they were, and none above ``top``."""
    up, down = heights.copy(), heights.copy()
    for place in range(1, len(heights)):
        up[place] = max(up[place], up[place - 1] + LINE)
    for place in reversed(range(len(heights) - 1)):
        down[place] = min(down[place], down[place + 1] - LINE)
    spread = [(above + below) / 2 for above, below in zip(up, down, strict=True)]
    for place in reversed(range(len(spread))):
        spread[place] = min(spread[place], top if place == len(spread) - 1 else spread[place + 1] - LINE)
    return spread


def write_name(axes: Axes, text: str, at: tuple[float, float], offset: tuple[float, float], weight: str) -> None:
    """Write a name at an offset, in points, from what it names, with a line between them where they are far apart."""
    right = offset[0] > 0
    leader = {"arrowstyle": "-", "color": MUTED, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 5}
    axes.annotate(
        text, at, offset,
        textcoords="offset points", ha="left" if right else "right", va="center_baseline", fontweight=weight,
        annotation_clip=False,
        arrowprops=leader | {"relpos": (0 if right else 1, 0.5)} if np.hypot(*offset) > 2 * LINE else None,
    )  # fmt: skip


def text_width(text: str, weight: str) -> float:
    """Return the width of a text in points."""
    return float(Figure(dpi=72).text(0, 0, text, fontweight=weight).get_window_extent().width)


def short(name: str, length: int = 17) -> str:
    """Return a name that fits into a figure and into XML."""
    clean = "".join(letter if letter.isprintable() else " " for letter in name)
    return clean if len(clean) <= length else f"{clean[: length - 1]}…"


def svg(figure: Figure, name: str, title: str, description: str) -> Markup:
    """Return a figure as an element of the page: ids of its own, the theme's colours, and words for a screen reader."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True)
    root = ET.fromstring(buffer.getvalue())
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: _attribute(key, text, name) for key, text in element.attrib.items()}
        element.tail = None
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in {"metadata", "style"}]:
            parent.remove(child)
    root.attrib = {"viewBox": root.attrib["viewBox"]}
    if title:
        root.attrib |= {"role": "img", "aria-labelledby": f"{name}-title {name}-text"}
        for tag, end, words in (("desc", "text", description), ("title", "title", title)):
            element = ET.Element(tag, id=f"{name}-{end}")
            element.text = short(words, 10_000)
            root.insert(0, element)
    else:
        root.attrib["aria-hidden"] = "true"
    return Markup(ET.tostring(root, encoding="unicode"))


def _attribute(key: str, text: str, name: str) -> str:
    """Return an attribute with ids made the figure's own, and colours and fonts made the page's."""
    if key == "id":
        return f"{name}-{text}"
    if key == "d":
        return " ".join(text.split())
    if key == "style":
        text = re.sub(r"font-family: [^;]*;? ?", "", text)
        text = re.sub(r"#0a0[ab]0\d", lambda found: CSS[found[0]], text)
    return re.sub(r"(^|url\()#", rf"\1#{name}-", text)


def feature_plot(frame: Any, path: Any) -> None:
    """Draw the shares of features, the largest on top, into a file of the format that its name ends in.

    Parameters
    ----------
    frame : DataFrame with the columns feature, weight and share
        As :meth:`rfm_recsys.TableModel.feature_weights` returns it.
    path : path
    """
    names, shares = [str(name) for name in frame["feature"]][::-1], [100 * share for share in frame["share"]][::-1]
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        matplotlib.rcdefaults()
        figure = Figure(figsize=(6.4, 0.9 + 0.24 * len(names)), layout="constrained")
        axes = figure.subplots()
        axes.barh(range(len(names)), shares, color="#0b5cad", height=0.7)
        for place, share in enumerate(shares):
            axes.annotate(f"{share:.1f}", (share, place), (3, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_yticks(range(len(names)), [name if len(name) <= 40 else f"{name[:39]}…" for name in names])
        axes.set_xlabel("share of what features say, in per cent (AGOP times variance)")
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.12, y=0.02)
        figure.savefig(path, dpi=150)
