"""The default predictor: its contract, what leaves it unchanged, and that no finite input breaks it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curvestop.srm.cooperative import pausing
from curvestop.srm.curve import LearningCurve
from curvestop.srm.predictors.registry import PREDICTORS
from curvestop.srm.predictors.sequential import SequentialRegression
from curvestop.srm.predictors.stacked.components import NOISE_FLOOR
from curvestop.srm.predictors.stacked.predictor import StackedPredictor, modelled_lengths
from curvestop.srm.regression.features import Array
from tests.contracts_predictor import PredictorContract, saturating_curves


class TestStackedPredictor(PredictorContract):
    def make(self) -> StackedPredictor:
        return StackedPredictor()


def mapped(curves: list[LearningCurve], scale: float, shift: float) -> list[LearningCurve]:
    return [replace(c, values=tuple(scale * v + shift for v in c.values)) for c in curves]


def test_modelled_lengths_of_a_hundred_epochs() -> None:
    assert modelled_lengths(100) == (2, 5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90)


def test_modelled_lengths_of_short_curves() -> None:
    assert [modelled_lengths(max_epochs) for max_epochs in (1, 2, 3)] == [(), (1,), (1, 2)]


def test_six_curves_are_enough_and_five_are_not() -> None:
    curves, (new,) = saturating_curves(6), saturating_curves(1, seed=9)
    assert StackedPredictor().fit(curves).predict(new.head(6)) is not None
    assert StackedPredictor().fit(curves[:5]).predict(new.head(6)) is None


def test_a_length_between_modelled_lengths_uses_the_one_below() -> None:
    predictor = StackedPredictor().fit(saturating_curves(length=40))
    curve = saturating_curves(1, length=40, seed=9)[0]
    assert modelled_lengths(40)[4:6] == (8, 10)
    assert predictor.predict(curve.head(9)) == predictor.predict(curve.head(8))


def test_the_noise_of_a_new_curve_stays_within_that_of_the_learnt_ones() -> None:
    """Eq. (24): the largest sigma is to the least, at one variance, as the largest noise target of eq. (23) to the least."""
    model = StackedPredictor().fit(saturating_curves())._level(6).model
    errors, variances = model.residuals_ / model.settings.transform.scale.unit, model._healthy.correction.variances
    relative = errors**2 / variances
    targets = 0.5 * np.log(relative / relative.mean() + NOISE_FLOOR**2)
    (_, least), (_, most) = (model._predict(0.5, 1.0, 0.0, 0.0, noise, 0.0) for noise in (-1e9, 1e9))
    assert most / least == pytest.approx(np.exp(targets.max() - targets.min()))


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(1e-6, 1e6), shift=st.floats(-1e3, 1e3), seed=st.integers(0, 3))
def test_a_positive_affine_map_of_the_metric_maps_the_prediction(scale: float, shift: float, seed: int) -> None:
    shift *= scale  # a shift that dwarfs the scale leaves nothing but rounding
    train, partial = saturating_curves(seed=seed), saturating_curves(1, seed=seed + 10)[0].head(6)
    plain = StackedPredictor().fit(train).predict(partial)
    other = StackedPredictor().fit(mapped(train, scale, shift)).predict(mapped([partial], scale, shift)[0])
    assert plain is not None
    assert other is not None
    assert (other.mean - shift) / scale == pytest.approx(plain.mean, abs=1e-4 * plain.sigma)
    assert other.sigma / scale == pytest.approx(plain.sigma, rel=1e-4)


def test_turning_the_metric_round_turns_the_prediction_round() -> None:
    train, partial = saturating_curves(), saturating_curves(1, seed=10)[0].head(6)
    plain = StackedPredictor().fit(train).predict(partial)
    turned = StackedPredictor().fit(mapped(train, -1.0, 0.0)).predict(mapped([partial], -1.0, 0.0)[0])
    assert plain is not None
    assert turned is not None
    assert (-turned.mean, turned.sigma) == pytest.approx((plain.mean, plain.sigma), rel=1e-6)


@pytest.mark.parametrize("constant", [0.0, 7.5, "adam", True])
def test_a_constant_of_the_configuration_changes_nothing(constant: float | str) -> None:
    def with_it(curves: list[LearningCurve]) -> list[LearningCurve]:
        return [replace(c, configuration={**c.configuration, "constant": constant}) for c in curves]

    train, partial = saturating_curves(), saturating_curves(1, seed=10)
    assert StackedPredictor().fit(with_it(train)).predict(with_it(partial)[0].head(6)) == StackedPredictor().fit(train).predict(
        partial[0].head(6)
    )


KINDS: dict[str, Callable[[Array, float], Array]] = {
    "flat": lambda t, u: np.full(len(t), 0.1),
    "dead": lambda t, u: np.where(t < 3, u, 0.0),
    "sawtooth": lambda t, u: u * (1 - 1 / (t + 1)) + 0.1 * (t % 3),
    "jump": lambda t, u: u * np.where(t < 8, 0.3, 1.0),
    "diverged": lambda t, u: np.where(t < 4, 0.7, 10.0 ** (18 * u)),
    "vast": lambda t, u: np.full(len(t), 1e100 * u),
    "largest": lambda t, u: np.where(t < 5, 1.7e308, -1.7e308 * u),
    "tiny": lambda t, u: 1e-6 * u / t,
    "least": lambda t, u: np.full(len(t), 5e-324),
}


def of_kind(kind: str, name: str, u: float) -> LearningCurve:
    time = np.arange(1, 13, dtype=float)
    return LearningCurve(name, {"u": u}, tuple(float(v) for v in KINDS[kind](time, u)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.floats(0, 1)), min_size=6, max_size=14), st.data())
def test_no_finite_curve_breaks_it(drawn: list[tuple[str, float]], data: st.DataObject) -> None:
    curves = [of_kind(kind, str(i), u) for i, (kind, u) in enumerate(drawn)]
    predictor = StackedPredictor().fit(curves)
    for kind in KINDS:
        curve = of_kind(kind, "new", data.draw(st.floats(0, 1)))
        for tau in (1, 2, 3, 6, 11):
            prediction = predictor.predict(curve.head(tau))
            assert prediction is not None
            assert math.isfinite(prediction.mean)
            assert 0 <= prediction.sigma < math.inf


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_training_set_of_one_kind_is_no_error(kind: str) -> None:
    curves = [of_kind(kind, str(i), i / 9) for i in range(10)]
    prediction = StackedPredictor().fit(curves).predict(curves[3].head(5))
    assert prediction is not None
    assert math.isfinite(prediction.mean)
    assert math.isfinite(prediction.sigma)


def test_a_few_diverged_runs_do_not_spoil_the_others() -> None:
    healthy, test = saturating_curves(40), saturating_curves(40, seed=1)
    diverged = [of_kind("diverged", f"diverged{i}", 0.5 + i / 10) for i in range(4)]
    means = [
        [p.mean for p in StackedPredictor().fit(train).predict_many([c.head(6) for c in test]) if p is not None]
        for train in (healthy, healthy + [replace(c, configuration={"width": 0.5, "lr": 5.0}) for c in diverged])
    ]
    error, error_with_diverged = (float(np.sqrt(np.mean((np.array(m) - [c.values[-1] for c in test]) ** 2))) for m in means)
    spread = float(np.std([c.values[-1] for c in test]))
    assert error < 0.3 * spread
    assert error_with_diverged < 0.5 * spread


def test_prediction_and_score_at_once_are_as_each_alone() -> None:
    predictor = StackedPredictor().fit(saturating_curves(40))
    for i, curve in enumerate(saturating_curves(20, seed=1)):
        partial = replace(curve, trial=f"new {i}").head(1 + i % 11)
        prediction, score = predictor.predict_and_score(partial)
        assert prediction == predictor.predict(partial)
        assert score is not None
        assert [score] == pytest.approx(predictor.scores([partial]), abs=1e-8)
        assert score == pytest.approx(predictor.score(partial), abs=1e-8)
    assert StackedPredictor().fit(saturating_curves(5)).predict_and_score(partial) == (None, None)
    assert StackedPredictor().fit(saturating_curves(5)).predict_and_score_alike([partial]) is None


def test_alike_curves_are_predicted_and_scored_at_once_as_each_alone() -> None:
    predictor = StackedPredictor().fit(saturating_curves(40))
    partial = [replace(c, trial=f"new {c.trial}").head(6) for c in saturating_curves(20, seed=1)]
    assert predictor.predict_and_score_alike(partial) == [predictor.predict_and_score(c) for c in partial]


def test_a_fit_pauses_before_each_model_where_that_is_wanted() -> None:
    pauses: list[int] = []
    with pausing(pauses.append):
        predictor = StackedPredictor().fit(saturating_curves(30))
        sequential = PREDICTORS["ols"]().fit(saturating_curves(30))
    assert isinstance(sequential, SequentialRegression)
    n_pauses = len(pauses)
    assert n_pauses >= len(predictor.models_) + len(sequential.models_) > 10
    assert sum(n_bytes > 0 for n_bytes in pauses) == len(sequential.models_)
    StackedPredictor().fit(saturating_curves(30))
    assert len(pauses) == n_pauses


def test_many_at_once_are_as_one_by_one() -> None:
    predictor = StackedPredictor().fit(saturating_curves(40))
    partial = [c.head(1 + i % 11) for i, c in enumerate(saturating_curves(30, seed=1))]
    assert predictor.predict_many(partial) == [predictor.predict(c) for c in partial]


@pytest.mark.parametrize("n_curves", [20, 93])
def test_no_bit_of_a_prediction_depends_on_the_batch(n_curves: int) -> None:
    # Some diverged, so that the models have a diverged part too.
    curves = [
        replace(c, values=tuple(1e6 * v for v in c.values)) if i % 7 == 3 else c
        for i, c in enumerate(saturating_curves(n_curves + 64))
    ]
    predictor = StackedPredictor(direction="minimize").fit(curves[:n_curves])
    assert predictor.models_[6].settings.diverged is not None
    asked = [replace(c, trial=f"new {c.trial}").head(6) for c in curves[n_curves:]]
    alone = [predictor.predict_and_score(c) for c in asked]
    assert len(set(alone)) == 64
    for n in range(1, 65):
        assert predictor.predict_and_score_alike(asked[:n]) == alone[:n]
        assert predictor.predict_many(asked[-n:]) == [prediction for prediction, _ in alone[-n:]]
        assert predictor.scores(asked[:n]) == [score for _, score in alone[:n]]


def test_a_prediction_with_its_score_is_both() -> None:
    train = saturating_curves(40)
    predictor = StackedPredictor().fit(train)
    # The second has a last value that was learnt from, which counts by half.
    for partial in (saturating_curves(1, seed=1)[0].head(6), train[3].head(6)):
        curve = replace(partial, trial="new")
        assert predictor.predict_and_score(curve)[0] == predictor.predict(curve)
        assert predictor.predict_and_score(curve)[1] == pytest.approx((predictor.scores([curve]) or [math.nan])[0], abs=1e-8)


def test_a_refit_at_kept_settings_on_the_same_curves_is_the_same_predictor() -> None:
    train, partial = saturating_curves(), saturating_curves(1, seed=10)[0].head(6)
    predictor = StackedPredictor().fit(train)
    assert predictor.refitted(train).predict(partial) == predictor.predict(partial)


def test_fewer_than_six_curves_make_no_model() -> None:
    predictor = StackedPredictor().fit(saturating_curves(5))
    assert predictor.predict(saturating_curves(1)[0].head(6)) is None
    assert predictor.reliability == ()


def test_sigma_covers_and_reliability_says_so() -> None:
    predictor = StackedPredictor().fit(saturating_curves(80))
    test = saturating_curves(300, seed=1)
    answers = predictor.predict_many([c.head(6) for c in test])
    inside = [abs(p.mean - c.values[-1]) <= 1.645 * p.sigma for p, c in zip(answers, test, strict=True) if p is not None]
    assert 0.82 <= np.mean(inside) <= 0.98
    reliable = next(t for t in predictor.reliability if t.tau == 6)
    assert reliable.n_curves == 80
    assert reliable.r2 > 0.9
    assert reliable.why_unreliable() == ""


def test_curves_that_tell_nothing_are_not_relied_upon() -> None:
    rng = np.random.default_rng(0)
    curves = [LearningCurve(f"{i:03}", {}, tuple(rng.normal(size=10).tolist())) for i in range(40)]
    assert "explains" in StackedPredictor().fit(curves).reliability[3].why_unreliable()


def test_too_few_curves_are_named() -> None:
    assert (
        StackedPredictor().fit(saturating_curves(8)).reliability[3].why_unreliable()
        == "the model needs 7 more complete curves (it learnt from 8)"
    )
