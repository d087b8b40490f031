"""Packages that only an extra installs: what to install where one is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

from rfm_recsys.errors import MissingExtraError


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Name the extra in the error of an import that fails inside because a package is not installed.

    Where such imports are nested, the error names the outermost extra: it includes the inner ones. ::

        with extra("tables"):
            import pandas as pd

    Raises
    ------
    MissingExtraError
        A package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "rfm_recsys":  # not a package that an extra could bring
            raise
        raise missing_extra(error, name) from error


def missing_extra(error: ModuleNotFoundError, name: str) -> MissingExtraError:
    """Return the error that says which extra brings the package."""
    remedy = f"install it with: pip install 'rfm-recsys[{name}]'"
    return MissingExtraError(f"rfm-recsys needs {error.name}; {remedy}", name=error.name)
