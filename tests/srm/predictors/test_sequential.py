"""Sequential regression: one model per length, checked against direct solutions."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from curvestop.srm.curve import CurvePredictor, LearningCurve
from curvestop.srm.predictors.registry import PREDICTORS
from curvestop.srm.predictors.sequential import SequentialRegression
from curvestop.srm.regression.regressors import MIN_ROWS, OrdinaryLeastSquares
from tests.contracts_predictor import PredictorContract


class TestNuSVR(PredictorContract):
    def make(self) -> CurvePredictor:
        return PREDICTORS["nu-svr"](n_candidates=30)


class TestLinearNuSVR(PredictorContract):
    def make(self) -> CurvePredictor:
        return PREDICTORS["nu-svr-linear"](n_candidates=30)


class TestLeastSquares(PredictorContract):
    n_curves = 40  # more than a row has columns

    def make(self) -> CurvePredictor:
        return PREDICTORS["ols"]()


class TestKernelRidge(PredictorContract):
    def make(self) -> CurvePredictor:
        return PREDICTORS["kernel-ridge"]()


class TestLastSeenValue(PredictorContract):
    def make(self) -> CurvePredictor:
        return PREDICTORS["last-seen"]()


def straight_lines(n: int, length: int, seed: int = 0) -> list[LearningCurve]:
    """Curves a + b t: linear in what is seen, so least squares predicts them exactly from two epochs."""
    rng = np.random.default_rng(seed)
    return [
        LearningCurve(f"{i:03}", {}, tuple(a + b * np.arange(1, length + 1))) for i, (a, b) in enumerate(rng.uniform(size=(n, 2)))
    ]


def test_least_squares_extrapolates_straight_lines() -> None:
    model = SequentialRegression(OrdinaryLeastSquares).fit(straight_lines(20, 5))
    prediction = model.predict(LearningCurve("x", {}, (2.0, 5.0)))
    assert prediction is not None
    assert prediction.mean == pytest.approx(14.0)  # 2, 5, 8, 11, 14
    assert prediction.sigma == pytest.approx(0.0, abs=1e-9)


def test_one_model_for_every_length_but_the_last() -> None:
    assert set(SequentialRegression(OrdinaryLeastSquares).fit(straight_lines(20, 5)).models_) == {1, 2, 3, 4}


def test_curves_of_unequal_length_teach_the_lengths_they_exceed() -> None:
    curves = [*straight_lines(MIN_ROWS, 4), *(LearningCurve(f"long{i}", {}, (0.0,) * 9) for i in range(MIN_ROWS - 1))]
    model = SequentialRegression(OrdinaryLeastSquares).fit(curves)
    assert set(model.models_) == {1, 2, 3}
    assert model.predict(LearningCurve("x", {}, (0.0,) * 5)) is None


def test_no_curves_no_models() -> None:
    assert SequentialRegression().fit([]).predict(LearningCurve("x", {}, (0.0,))) is None


def shuffles(curves: list[LearningCurve]) -> Iterator[list[LearningCurve]]:
    for seed in range(3):
        yield [curves[i] for i in np.random.default_rng(seed).permutation(len(curves))]


@pytest.mark.parametrize("name", ["nu-svr", "nu-svr-linear", "ols", "kernel-ridge", "last-seen"])
def test_the_order_of_curves_changes_nothing(name: str) -> None:
    rng = np.random.default_rng(1)
    curves = [
        LearningCurve(f"{i:02}", {"lr": float(10 ** rng.uniform(-4, -1))}, tuple(rng.normal(size=4).cumsum())) for i in range(12)
    ]
    settings = {"n_candidates": 5} if name.startswith("nu-svr") else {}
    partial = LearningCurve("x", {"lr": 0.01}, (0.3, 0.4))
    answers = {PREDICTORS[name](log_scaled=["lr"], **settings).fit(c).predict(partial) for c in shuffles(curves)}
    assert len(answers) == 1


def noisy_curves(n: int, length: int, seed: int = 0) -> list[LearningCurve]:
    rng = np.random.default_rng(seed)
    return [
        LearningCurve(f"{i:03}", {"lr": float(10 ** rng.uniform(-4, -1))}, tuple(rng.normal(size=length).cumsum()))
        for i in range(n)
    ]


@pytest.mark.parametrize("name", ["nu-svr", "nu-svr-linear", "ols", "kernel-ridge"])
def test_many_predictions_are_those_one_by_one(name: str) -> None:
    model = PREDICTORS[name](log_scaled=["lr"]).fit(noisy_curves(12, 5))
    assert isinstance(model, SequentialRegression)
    asked = [c.head(1 + i % 6) for i, c in enumerate(noisy_curves(20, 6, seed=1))]
    together = model.predict_many(asked)
    assert [p is None for p in together] == [len(c.values) > 4 for c in asked]
    assert together == [model.predict(c) for c in asked]
    assert model.predict_many([]) == []


@pytest.mark.parametrize("n", [2, 3, 7, 33, 64])
@pytest.mark.parametrize("name", ["nu-svr", "nu-svr-linear", "ols", "kernel-ridge"])
def test_no_bit_of_a_prediction_depends_on_the_batch(name: str, n: int) -> None:
    model = PREDICTORS[name]().fit(noisy_curves(31, 12))
    assert isinstance(model, SequentialRegression)
    asked = [c.head(11) for c in noisy_curves(n, 12, seed=1)]
    # An overflow of the fast query concerns one curve alone.
    asked[-1] = replace(asked[-1], values=(1e300, *asked[-1].values[1:]))
    assert model.predict_many(asked) == [model.predict(c) for c in asked]


def test_refit_keeps_settings_and_learns_the_new_curves_and_lengths() -> None:
    old = SequentialRegression().fit(noisy_curves(12, 4))
    before = old.predict(LearningCurve("x", {}, (0.1, 0.2)))
    new = old.refit([*noisy_curves(12, 4), *noisy_curves(8, 6, seed=1)])
    assert [new.models_[tau].best_ for tau in (1, 2, 3)] == [old.models_[tau].best_ for tau in (1, 2, 3)]  # type: ignore[attr-defined]
    assert set(old.models_) == {1, 2, 3}
    assert set(new.models_) == {1, 2, 3, 4, 5}
    assert old.predict(LearningCurve("x", {}, (0.1, 0.2))) == before
    assert new.predict(LearningCurve("x", {}, (0.1, 0.2))) != before


@pytest.mark.parametrize("name", ["nu-svr", "nu-svr-linear", "ols", "kernel-ridge"])
def test_values_near_the_largest_number_do_no_harm(name: str) -> None:
    curves = [LearningCurve(f"{i}", {"lr": 1.0}, ((-1.0) ** i * 1.7e308, 1.7e308 - i, float(i))) for i in range(8)]
    model = PREDICTORS[name]().fit(curves)
    for values in ((1.7e308, -1.7e308), (-1.7e308, -1.7e308), (0.0, 0.0)):
        prediction = model.predict(LearningCurve("x", {"lr": -1e308}, values))
        assert prediction is not None
        assert np.isfinite(prediction.mean)
        assert np.isfinite(prediction.sigma)


@pytest.mark.parametrize("name", ["nu-svr", "ols", "kernel-ridge", "stacked"])
def test_a_group_that_is_switched_off_changes_nothing(name: str) -> None:
    curves = noisy_curves(12, 5)
    grouped = [LearningCurve(c.trial, {**c.configuration, "bow:conv": i % 4}, c.values) for i, c in enumerate(curves)]
    partial = LearningCurve("x", {"lr": 0.01, "bow:conv": 3}, (0.3, 0.4))
    without = PREDICTORS[name]().fit(curves).predict(LearningCurve("x", {"lr": 0.01}, partial.values))
    assert PREDICTORS[name](bow=0).fit(grouped).predict(partial) == without
    assert PREDICTORS[name]().fit(grouped).predict(partial) != without
