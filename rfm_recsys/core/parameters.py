"""What the models share: parameters that are declared once, with their default and their bounds.

A model is a dataclass whose fields are made by :func:`parameter`::

    @dataclass(eq=False, repr=False)
    class Model(Parameters):
        factors: int = parameter(32, check_integer, least=1)

Its constructor, ``get_params``, ``set_params``, ``repr`` and the parameters in its files follow from that.
"""

from collections.abc import Callable
from dataclasses import field, fields
from numbers import Integral, Real
from typing import Any, Self, TypeVar

import numpy as np

from rfm_recsys.core.checks import shown
from rfm_recsys.errors import ParameterError


def parameter(default: Any, check: Callable[..., Any], *, optional: bool = False, **bounds: Any) -> Any:
    """Return a field of a dataclass: a parameter that ``check(name, value, **bounds)`` judges, None if ``optional``."""

    def checked(name: str, value: Any) -> Any:
        return None if optional and value is None else check(name, value, **bounds)

    return field(default=default, metadata={"check": checked})


class Parameters:
    """The base of the models: their parameters by name, as scikit-learn asks for them, and as JSON."""

    def __post_init__(self) -> None:
        checked(self)

    def __repr__(self) -> str:
        parameters = ", ".join(f"{name}={shown(value)}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({parameters})"

    @classmethod
    def _checks(cls) -> dict[str, Callable[[str, Any], Any]]:
        """Return the check of each parameter, by name, in the order of the constructor."""
        return {each.name: each.metadata["check"] for each in fields(cls) if "check" in each.metadata}  # type: ignore[arg-type]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, as scikit-learn's ``clone`` asks for them; ``deep`` has no effect."""
        return {name: getattr(self, name) for name in self._checks()}

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters by name; raises ParameterError for an unknown name or a value out of bounds, and sets none."""
        checks = self._checks()
        for name, value in parameters.items():
            if name not in checks:
                raise ParameterError(f"there is no parameter {name!r}; pass some of {', '.join(checks)}")
            checks[name](name, value)
        for name, value in parameters.items():
            setattr(self, name, value)
        return self


Model = TypeVar("Model", bound=Parameters)


def checked(model: Parameters) -> dict[str, Any]:
    """Return a model's parameters as their checks return them; raises ParameterError or ParameterTypeError."""
    return {name: check(name, getattr(model, name)) for name, check in model._checks().items()}


def to_json(model: Parameters) -> dict[str, Any]:
    """Return a model's parameters as JSON values: a generator, which only the next fit would need, as None."""
    return {name: _plain(getattr(model, name), value) for name, value in checked(model).items()}


def from_json(kind: type[Model], parameters: dict[str, Any]) -> Model:
    """Return the unfitted model of which :func:`to_json` returned these."""
    return kind(**{**parameters, "dtype": np.dtype(parameters["dtype"]).type})


def _plain(value: Any, checked: Any) -> Any:
    """Return a parameter, and what its check made of it, as a JSON value."""
    if isinstance(checked, np.dtype):
        return checked.name
    if isinstance(checked, bool):
        return checked
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    return value if isinstance(value, str) else None
