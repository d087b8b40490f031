"""The call of implicit's ALS, taken as it is."""

import warnings
from inspect import signature

import numpy as np
import pytest
from implicit.als import AlternatingLeastSquares as Theirs

from rfm_recsys import LinRFM, als
from rfm_recsys.als import AlternatingLeastSquares
from rfm_recsys.errors import ParameterWarning


def test_the_arguments_are_implicits_in_their_order_and_with_their_defaults() -> None:
    ours, theirs = signature(AlternatingLeastSquares).parameters, signature(Theirs).parameters
    assert list(ours) == list(theirs)
    for name, parameter in theirs.items():
        if name != "use_gpu":  # implicit's depends on the machine
            assert ours[name].default == parameter.default


def test_what_means_the_same_is_kept_and_the_rest_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(als, "_said", False)
    with pytest.warns(ParameterWarning, match=r"regularization=0.05, alpha=2.0 and iterations=20 are ALS's"):
        model = AlternatingLeastSquares(64, 0.05, 2.0, np.float64, iterations=20, num_threads=1, random_state=3)
    assert isinstance(model, LinRFM)
    assert (model.factors, model.dtype, model.num_threads, model.random_state) == (64, np.float64, 1, 3)
    assert (model.regularization, model.alpha, model.iterations) == (None, None, None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AlternatingLeastSquares(64, 0.05, 2.0)
        assert AlternatingLeastSquares().factors == 100
