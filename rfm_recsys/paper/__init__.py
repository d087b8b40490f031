"""The paper's experiments; their page is :mod:`rfm_recsys.report.paper`."""

from rfm_recsys.core.extras import extra

with extra("paper"):
    import sklearn  # noqa: F401

    import rfm_recsys.evaluation  # noqa: F401
