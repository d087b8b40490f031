"""The models that a comparison knows by name, each with the space in which it is tuned.

To add one, make an entry of `CANDIDATES`, or pass a `Candidate` of your own to
:func:`~rfm_recsys.evaluation.compare.compare`::

    Candidate("SLIM", MySlim, {"l1": FloatDistribution(1e-3, 10, log=True)})

where ``MySlim(l1=...)`` returns anything with ``fit`` and ``recommend``, see
:class:`~rfm_recsys.evaluation.baselines.Recommender`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from rfm_recsys import LinRFM
from rfm_recsys.errors import ParameterError
from rfm_recsys.evaluation.baselines import (
    ALS,
    BPR,
    EASE,
    VALUES,
    ALSByDefault,
    BM25ItemKNN,
    ContentKNN,
    CosineItemKNN,
    Popularity,
    Recommender,
    RegressedALS,
)


@dataclass(frozen=True)
class Candidate:
    """A model to compare.

    Attributes
    ----------
    name : str
        What to call it in the result.
    make : callable
        Makes an unfitted model of keyword parameters, all of which have defaults; a class, for instance.
    space : mapping
        Where each parameter is searched when the model is tuned; empty for a model without any.
    folds_in : bool
        Whether it can rank for users that it was not fitted to.
    chooses : bool
        Whether its ``fit`` chooses parameters from the data it is fitted to, which is then part of its time.
    features : bool
        Whether its ``fit`` takes ``item_features`` and ``user_features``, matrices with an item, or user, a row.
    first : mapping
        Parameters of the first trial, in place of the model's defaults; for a model that takes a default from the data.

    Raises
    ------
    ParameterError
        A parameter of ``space`` that ``make`` does not take, or whose first value lies outside.

    Examples
    --------
    >>> from rfm_recsys.evaluation import CANDIDATES
    >>> candidate = CANDIDATES["EASE"]
    >>> candidate.first_trial(), candidate.defaults()
    ({'regularization': 1000.0}, {})
    >>> candidate.model({"regularization": 10.0}, 0)
    EASE(regularization=10.0)
    """

    name: str
    make: Callable[..., Recommender]
    space: Mapping[str, BaseDistribution] = field(default_factory=dict)
    folds_in: bool = True
    first: Mapping[str, Any] = field(default_factory=dict)
    chooses: bool = False
    features: bool = False

    def __post_init__(self) -> None:
        known = signature(self.make).parameters
        for name, space in self.space.items():
            if name not in known:
                raise ParameterError(f"{self.name} takes no parameter {name!r}; search among {', '.join(known)}")
            value = self.first_trial()[name]
            if isinstance(value, bool | int | float | str) and space._contains(space.to_internal_repr(value)):
                continue
            raise ParameterError(
                f"{self.name} has {name}={value!r} by default, outside {space}; widen it, or pass first="
            )

    def first_trial(self) -> dict[str, Any]:
        """Return the parameters of the first trial of a tuning: those of ``space`` at their defaults.

        Returns
        -------
        dict
        """
        known = signature(self.make).parameters
        return {name: self.first.get(name, known[name].default) for name in self.space}

    def defaults(self) -> dict[str, Any]:
        """Return the parameters of a model that is made without any, but for the seed and what the data decide.

        Returns
        -------
        dict
        """
        known = {name: parameter.default for name, parameter in signature(self.make).parameters.items()}
        return {name: value for name, value in known.items() if name != "random_state" and value is not None}

    def model(self, parameters: Mapping[str, Any], seed: int) -> Recommender:
        """Return an unfitted model with these parameters, and with the seed where it takes one.

        Parameters
        ----------
        parameters : mapping
        seed : int

        Returns
        -------
        Recommender
        """
        seeds = {"random_state": seed} if "random_state" in signature(self.make).parameters else {}
        return self.make(**{**seeds, **parameters})


_FACTORS = IntDistribution(64, 512, step=64)
CANDIDATES = {
    candidate.name: candidate
    for candidate in (
        Candidate("LinRFM", LinRFM, {"factors": _FACTORS}, chooses=True, features=True),
        Candidate(
            "ALS",
            ALS,
            {
                "factors": _FACTORS,
                "regularization": FloatDistribution(1, 200, log=True),
                "alpha": FloatDistribution(1, 50, log=True),
                "values": CategoricalDistribution(list(VALUES)),
            },
        ),
        Candidate("ALS (implicit's defaults)", ALSByDefault),
        Candidate(
            "EASE",
            EASE,
            {"regularization": FloatDistribution(1, 10_000, log=True)},
            first={"regularization": 1000.0},
        ),
        Candidate(
            "ItemKNN-cosine",
            CosineItemKNN,
            {"neighbours": IntDistribution(20, 2000, log=True)},
        ),
        Candidate(
            "ItemKNN-BM25",
            BM25ItemKNN,
            {
                "neighbours": IntDistribution(20, 2000, log=True),
                "k1": FloatDistribution(0.1, 1000, log=True),
                "b": FloatDistribution(0, 1),
            },
        ),
        Candidate(
            "BPR",
            BPR,
            {
                "factors": IntDistribution(32, 512, log=True),
                "learning_rate": FloatDistribution(0.005, 0.5, log=True),
                "regularization": FloatDistribution(1e-4, 1, log=True),
                "iterations": IntDistribution(20, 300, log=True),
            },
            folds_in=False,
        ),
        Candidate("Popularity", Popularity),
        Candidate("ALS-features", RegressedALS, features=True),
        Candidate("ContentKNN", ContentKNN, features=True),
    )
}
