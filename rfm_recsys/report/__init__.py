"""Pages of results: one HTML file each, with figures in it, that loads nothing from elsewhere."""

from rfm_recsys.core.extras import extra

with extra("evaluation"):
    import jinja2  # noqa: F401
    import matplotlib  # noqa: F401
