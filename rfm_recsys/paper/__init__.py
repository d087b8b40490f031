"""The paper's experiments, and the report of them."""

from rfm_recsys.core.extras import extra

with extra("paper"):
    import sklearn  # noqa: F401

    import rfm_recsys.evaluation
    import rfm_recsys.report  # noqa: F401
