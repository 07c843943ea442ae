"""Learning-curve extrapolation: the families by hand, recovery of curves of one family, the posterior, odd curves."""

import importlib
import math
import subprocess
import sys

import numpy as np
import pytest

from curvestop.srm.curve import LearningCurve, Prediction
from curvestop.srm.policies.stopping_rule import Direction
from curvestop.srm.predictors.lce import LearningCurveExtrapolation, Posterior
from curvestop.srm.predictors.lce_families import FAMILIES, Family
from curvestop.srm.predictors.registry import PREDICTORS
from curvestop.srm.predictors.unit_scale import UnitScale
from curvestop.srm.settings import StudySettings
from tests.contracts_predictor import PredictorContract

SMALL = {"n_steps": 150, "burn_in": 75}
MAX_EPOCHS = 30
TRAINING = [LearningCurve("worst", {}, (0.1,) * MAX_EPOCHS), LearningCurve("best", {}, (0.1,) * (MAX_EPOCHS - 1) + (0.9,))]
"""Makes the unit scale the metric itself."""

BY_NAME = {family.name: family for family in FAMILIES}
WORKED = {  # parameters, and the value at epoch 4 by hand
    "vapor pressure": ((-0.5, -1.0, 0.1), math.exp(-0.75) * 4**0.1),
    "pow3": ((0.8, 0.4, 0.5), 0.6),
    "log log linear": ((0.5, 1.2), math.log(0.5 * math.log(4) + 1.2)),
    "Hill3": ((0.8, 2.0, 3.0), 0.8 * 16 / 25),
    "log power": ((0.8, 1.0, -2.0), 0.8 / (1 + math.e**2 / 16)),
    "pow4": ((0.9, 2.0, 2.0, 0.5), 0.9 - 1 / math.sqrt(10)),
    "MMF": ((0.8, 0.2, 0.5, 2.0), 0.8 - 0.6 / 5),
    "exp4": ((0.8, 0.3, -0.5, 0.5), 0.8 - math.exp(-1.1)),
    "Janoschek": ((0.8, 0.2, 0.1, 0.5), 0.8 - 0.6 * math.exp(-0.2)),
    "Weibull": ((0.8, 0.2, 0.25, 0.5), 0.8 - 0.6 * math.exp(-1)),
    "ilog2": ((0.9, 0.4), 0.9 - 0.4 / math.log(5)),
}


def predictor(**settings: object) -> LearningCurveExtrapolation:
    return LearningCurveExtrapolation(**{**SMALL, **settings}).fit(TRAINING)  # type: ignore[arg-type]


def predicted(values: tuple[float, ...], **settings: object) -> Prediction:
    prediction = predictor(**settings).predict(LearningCurve("new", {}, values))
    assert prediction is not None
    return prediction


class TestContract(PredictorContract):
    n_curves = 8

    def make(self) -> LearningCurveExtrapolation:
        return LearningCurveExtrapolation(n_steps=60, burn_in=30)


def test_there_are_eleven_families() -> None:
    assert BY_NAME.keys() == WORKED.keys()


@pytest.mark.parametrize("name", WORKED)
def test_family_by_hand(name: str) -> None:
    theta, expected = WORKED[name]
    assert BY_NAME[name].function(np.array([4.0]), *theta) == pytest.approx([expected], rel=1e-12)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_family_is_finite_in_every_corner_of_its_box(family: Family) -> None:
    corners = np.array(np.meshgrid(*zip(family.low, family.high, strict=True))).reshape(family.n_parameters, -1, 1)
    with np.errstate(under="ignore"):
        assert np.isfinite(family.function(np.array([1.0, 2.0, 1e4]), *corners)).all()


@pytest.mark.parametrize("name", ["pow3", "Hill3", "exp4", "Weibull"])
def test_recovers_the_final_value_of_a_curve_of_one_family(name: str) -> None:
    noise = 0.003 * np.random.default_rng(1).standard_normal(MAX_EPOCHS)
    exact = BY_NAME[name].function(np.arange(1.0, MAX_EPOCHS + 1), *WORKED[name][0])
    prediction = predicted(tuple((exact + noise)[:15]))
    assert abs(prediction.mean - exact[-1]) < 2 * prediction.sigma
    assert prediction.sigma < 0.1


def test_a_prediction_averages_the_samples() -> None:
    posterior = Posterior(np.array([0.5, 0.7]), np.array([0.1, 0.1]), UnitScale.of(TRAINING))
    prediction = posterior.prediction()
    assert (prediction.mean, prediction.sigma) == pytest.approx((0.6, math.sqrt(0.1**2 + 0.1**2)))


def test_prediction_when_lower_is_better() -> None:
    loss = UnitScale(best=1.0, unit=-10.0)  # unit 0.9 is a loss of 1, unit 0.8 one of 2
    posterior = Posterior(np.array([0.8]), np.array([0.1]), loss)
    prediction = posterior.prediction()
    assert (prediction.mean, prediction.sigma) == pytest.approx((2.0, 1.0))


def test_posterior_agrees_with_its_prediction() -> None:
    curve = LearningCurve("new", {}, tuple(0.8 - 0.5 / np.arange(1.0, 11)))
    posterior, prediction = predictor().posterior(curve), predictor().predict(curve)
    assert posterior is not None
    assert prediction == posterior.prediction()
    samples = posterior.scale.from_unit(posterior.means)
    above = [float(np.mean(samples > prediction.mean + k * prediction.sigma)) for k in (-4, 0, 4)]
    assert above[0] > 0.95
    assert 0.2 < above[1] < 0.8
    assert above[2] < 0.05


def test_seed_decides_the_samples() -> None:
    values = (0.2, 0.4, 0.5, 0.55)
    assert predicted(values, seed=3) == predicted(values, seed=3)
    assert predicted(values, seed=3) != predicted(values, seed=4)


@pytest.mark.parametrize(("slope", "shift", "direction"), [(1e-6, 3.0, "maximize"), (-100.0, 0.0, "minimize")])
def test_any_metric_is_predicted_as_accuracy_is(slope: float, shift: float, direction: Direction) -> None:
    values = (0.2, 0.4, 0.5, 0.55)
    training = [LearningCurve(c.trial, {}, tuple(slope * v + shift for v in c.values)) for c in TRAINING]
    model = LearningCurveExtrapolation(**SMALL, direction=direction).fit(training)
    prediction = model.predict(LearningCurve("new", {}, tuple(slope * v + shift for v in values)))
    expected = predicted(values)
    assert prediction is not None
    assert (prediction.mean - shift) / slope == pytest.approx(expected.mean, abs=0.5 * expected.sigma)


ODD = {
    "one point": (0.4,),
    "flat": (0.5,) * 12,
    "falling": tuple(np.linspace(0.9, 0.1, 12)),
    "sawtooth": (0.2, 0.8) * 8,
    "dead then jump": (0.1,) * 14 + (0.9,),
    "far outside training": (1e30, -1e30, 1e300),
    "longer than is used": tuple(np.linspace(0.1, 0.8, MAX_EPOCHS - 1)),
}


@pytest.mark.parametrize("values", ODD.values(), ids=ODD.keys())
def test_odd_curves_get_finite_predictions(values: tuple[float, ...]) -> None:
    prediction = predicted(values, n_steps=40, burn_in=20, max_points=10)
    assert math.isfinite(prediction.mean)
    assert 0 < prediction.sigma < math.inf


def test_flat_curve_is_predicted_flat() -> None:
    assert predicted((0.5,) * 15).mean == pytest.approx(0.5, abs=0.02)


def test_falling_curve_is_not_predicted_to_recover() -> None:
    assert predicted(tuple(np.linspace(0.6, 0.4, 15))).mean < 0.6


def test_covers_lengths_before_the_last_epoch_only() -> None:
    model = predictor()
    assert model.predict(LearningCurve("new", {}, ())) is None
    assert model.predict(LearningCurve("new", {}, (0.5,) * MAX_EPOCHS)) is None
    assert LearningCurveExtrapolation().fit([]).predict(LearningCurve("new", {}, (0.5,))) is None


def test_wrong_size_is_an_error() -> None:
    with pytest.raises(ValueError, match="burn_in must be >= 0 and less than n_steps"):
        LearningCurveExtrapolation(n_steps=10, burn_in=10)


@pytest.mark.parametrize(("name", "package", "extra"), [("lce", "emcee", "lce"), ("bnn", "torch", "torch")])
def test_a_missing_extra_is_named(name: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    importlib.import_module(f"curvestop.srm.predictors.{name}")
    monkeypatch.delitem(sys.modules, f"curvestop.srm.predictors.{name}")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"pip install 'curvestop\[{extra}\]'"):
        PREDICTORS[name]()
    with pytest.raises(ValueError, match=rf"pip install 'curvestop\[{extra}\]'"):
        StudySettings("s", 9, predictor=name)


def test_the_statistics_import_without_the_extras() -> None:
    code = "import sys, curvestop.srm.study; sys.exit(bool({'emcee', 'torch'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
