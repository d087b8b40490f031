"""Sphinx's configuration: ``sphinx-build -W -b html docs docs/_build`` makes the site, which needs no network."""

import os
import warnings

import rfm_recsys

os.environ.setdefault("TQDM_DISABLE", "1")
warnings.filterwarnings("ignore", message="FigureCanvasAgg is non-interactive")

project = "rfm_recsys"
author = "The rfm_recsys authors"
copyright = "2026, the rfm_recsys authors"  # noqa: A001  # Sphinx's name
version = release = rfm_recsys.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "sphinx-mathjax-offline",
]
exclude_patterns = ["_build", "examples", "**/GALLERY_HEADER.rst", "sg_execution_times.rst"]

myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings have them, with shapes
autodoc_default_options = {"members": True, "exclude-members": "chosen_"}
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_preprocess_types = False
python_maximum_signature_line_length = 100

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "FileNameSortKey",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "show_signature": False,
    "remove_config_comments": True,
}

html_theme = "furo"
html_title = "rfm_recsys"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
pygments_style, pygments_dark_style = "friendly", "monokai"

suppress_warnings = ["config.cache"]  # the gallery's settings hold what cannot be pickled
