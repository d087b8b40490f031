"""The page of a comparison in a real browser: it fits, it follows the theme, and it fetches nothing."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sample_comparison import sample

from rfm_recsys.report.comparison import write_report

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if not CHROMIUM or not DRIVER:
    pytest.skip("needs chromium and chromedriver", allow_module_level=True)
webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
FIGURES = """
    return [...document.querySelectorAll('svg[role=img]')].map(svg => {
        const box = svg.getBoundingClientRect(), texts = [...svg.querySelectorAll('text')]
        const scale = box.width / svg.viewBox.baseVal.width
        const inside = texts.map(text => text.getBoundingClientRect())
        return {
            title: svg.querySelector('title').textContent, width: box.width, height: box.height,
            left: Math.min(box.left, ...inside.map(text => text.left)),
            right: Math.max(box.right, ...inside.map(text => text.right)),
            colours: texts.map(text => getComputedStyle(text).fill),
            pixels: Math.min(...texts.map(text => parseFloat(getComputedStyle(text).fontSize) * scale)),
            lines: [...svg.querySelectorAll('path')].map(path => getComputedStyle(path).stroke),
        }
    })
"""


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Chrome]":
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield browser
    browser.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(sample(), path)
    return path


def show(chrome: "Chrome", page: Path, width: int, theme: str) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": theme}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "screen", "features": [feature]})
    chrome.get(page.as_uri())


def wider_than_the_window(chrome: "Chrome") -> bool:
    return bool(
        chrome.execute_script("const root = document.documentElement; return root.scrollWidth > root.clientWidth")
    )


def logged(chrome: Any, kind: str) -> list[dict[str, Any]]:
    """Return what the browser has logged since the last call."""
    return [*chrome.get_log(kind)]


def luminance(colour: str) -> float:
    parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted([luminance(one), luminance(other)])
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_figure_is_there_fits_and_is_legible(chrome: "Chrome", page: Path, width: int, theme: str) -> None:
    show(chrome, page, width, theme)
    figures: list[dict[str, Any]] = chrome.execute_script(FIGURES)
    assert len(figures) == 11
    paper = chrome.execute_script("return getComputedStyle(document.body).backgroundColor")
    for figure in figures:
        assert figure["width"] > 100, figure["title"]
        assert figure["height"] > 100, figure["title"]
        assert 0 <= figure["left"] < figure["right"] <= width, figure["title"]
        assert figure["pixels"] >= 9.5, figure["title"]
        assert min(contrast(colour, paper) for colour in figure["colours"]) >= 4.5, figure["title"]
    assert (luminance(paper) > 0.5) == (theme == "light")
    assert not wider_than_the_window(chrome)


def test_figures_follow_the_theme(chrome: "Chrome", page: Path) -> None:
    seen = {}
    for theme in ("light", "dark"):
        show(chrome, page, 1280, theme)
        seen[theme] = chrome.execute_script(FIGURES)
    for light, dark in zip(seen["light"], seen["dark"], strict=True):
        assert all(before != after for before, after in zip(light["colours"], dark["colours"], strict=True))
        drawn = [pair for pair in zip(light["lines"], dark["lines"], strict=True) if pair[0] != "none"]
        assert drawn
        assert all(before != after for before, after in drawn), light["title"]


def test_the_table_scrolls_in_its_own_box_on_a_phone(chrome: "Chrome", page: Path) -> None:
    show(chrome, page, 390, "light")
    inner, outer, left = chrome.execute_script("""
        const box = document.querySelector('.scroll')
        box.scrollLeft = 120
        return [box.scrollWidth, box.clientWidth, box.querySelector('tbody th').getBoundingClientRect().left]
    """)
    assert inner > outer
    assert 0 <= left < 30  # the names stay in sight


def test_ten_models_with_long_names_do_not_widen_the_page(chrome: "Chrome", tmp_path: Path) -> None:
    path = tmp_path / "ten.html"
    write_report(sample([f"Model number {place} with a WWWWWWWWWWWWWWWWWWWWWWWWWWWW" for place in range(10)]), path)
    for width in (1280, 390):
        show(chrome, path, width, "light")
        assert not wider_than_the_window(chrome)


def test_hostile_names_stay_text(chrome: "Chrome", tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    write_report(sample(["<script>document.title = 'x'</script>", "<img src=http://x.invalid/a.png>"]), path)
    show(chrome, path, 1280, "light")
    assert chrome.execute_script("return document.scripts.length + document.images.length") == 0
    assert chrome.title != "x"


def test_nothing_is_fetched_and_the_policy_is_kept(chrome: "Chrome", page: Path) -> None:
    logged(chrome, "performance"), logged(chrome, "browser")
    show(chrome, page, 1280, "dark")
    events = [json.loads(entry["message"])["message"] for entry in logged(chrome, "performance")]
    asked = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert asked == {page.as_uri()}
    assert chrome.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert logged(chrome, "browser") == []


def test_it_prints_light_even_from_a_dark_screen(chrome: "Chrome", page: Path) -> None:
    show(chrome, page, 680, "light")
    feature = {"name": "prefers-color-scheme", "value": "dark"}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": [feature]})
    assert chrome.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not wider_than_the_window(chrome)
