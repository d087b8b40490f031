"""Former names, which work for one more release and warn."""

import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from rfm_recsys.errors import ParameterTypeError

Function = TypeVar("Function", bound=Callable[..., Any])


def warn_renamed(old: str, new: str) -> None:
    """Warn the caller of the caller that a name has changed."""
    warnings.warn(f"{old} is now {new}, and will go with the next release", DeprecationWarning, stacklevel=3)


def former_names(**names: str) -> Callable[[Function], Function]:
    """Return a decorator of a function whose keyword arguments have new names, given as ``former="new"``."""

    def decorate(function: Function) -> Function:
        @wraps(function)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            for former, new in names.items():
                if former in named:
                    if new in named:
                        raise ParameterTypeError(f"{former} and {new} are given, which are one; pass {new}")
                    warn_renamed(f"{former} of {function.__name__}", new)
                    named[new] = named.pop(former)
            return function(*arguments, **named)

        return cast("Function", wrapped)

    return decorate
