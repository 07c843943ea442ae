"""What leaves the decisions of the default predictor and of the thesis's as they were, and that no finite input breaks them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from curvestop.srm.curve import Configuration, CurvePredictor, LearningCurve
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.predictors.registry import PREDICTORS
from curvestop.srm.predictors.stacked.predictor import StackedPredictor
from tests.contracts_predictor import saturating_curves

MAKERS: dict[str, Callable[[], CurvePredictor]] = {
    "stacked": lambda: PREDICTORS["stacked"](direction="maximize"),
    "nu-svr": lambda: PREDICTORS["nu-svr"](n_candidates=25),
    "nu-svr-linear": lambda: PREDICTORS["nu-svr-linear"](n_candidates=10),
    "kernel-ridge": PREDICTORS["kernel-ridge"],
    "ols": PREDICTORS["ols"],
}
PREDICTOR = pytest.mark.parametrize("name", MAKERS)
LENGTH, SEEN = 7, 3


def train(seed: int) -> list[LearningCurve]:
    return saturating_curves(16, length=LENGTH, seed=seed)


def asked(seed: int) -> list[LearningCurve]:
    return [c.head(SEEN) for c in saturating_curves(6, length=LENGTH, seed=seed + 50)]


def mapped(curves: Sequence[LearningCurve], scale: float, shift: float) -> list[LearningCurve]:
    return [replace(c, values=tuple(scale * v + shift for v in c.values)) for c in curves]


def probabilities(name: str, learnt: Sequence[LearningCurve], curves: Sequence[LearningCurve]) -> list[float]:
    """Of each curve to end no better than the fourth best that was learnt from: what a decision compares with its threshold."""
    rule, predictor = StoppingRule(), MAKERS[name]().fit(learnt)
    to_beat = sorted(c.values[-1] for c in learnt)[-4]
    predictions = [predictor.predict(c) for c in curves]
    return [rule.probability(p, to_beat, "maximize") for p in predictions if p is not None]


@PREDICTOR
@settings(max_examples=4, deadline=None)
@given(order=st.permutations(range(16)), seed=st.integers(0, 9))
def test_the_order_of_training_curves_changes_no_decision(name: str, order: list[int], seed: int) -> None:
    learnt = train(seed)
    expected = probabilities(name, learnt, asked(seed))
    assert len(expected) == 6
    assert probabilities(name, [learnt[i] for i in order], asked(seed)) == expected


@PREDICTOR
@settings(max_examples=4, deadline=None)
@given(scale=st.floats(1e-6, 1e6), shift=st.floats(-100, 100), seed=st.integers(0, 9))
def test_a_positive_affine_map_of_the_metric_changes_no_decision(name: str, scale: float, shift: float, seed: int) -> None:
    learnt, curves = train(seed), asked(seed)
    expected = probabilities(name, learnt, curves)
    others = probabilities(name, mapped(learnt, scale, scale * shift), mapped(curves, scale, scale * shift))
    assert others == pytest.approx(expected, abs=1e-4)


@PREDICTOR
@pytest.mark.parametrize("constant", [0.0, 7.5, "adam", True])
def test_a_constant_of_the_configuration_changes_no_decision(name: str, constant: Configuration) -> None:
    def with_it(curves: list[LearningCurve]) -> list[LearningCurve]:
        return [replace(c, configuration={**c.configuration, "constant": constant}) for c in curves]  # type: ignore[dict-item]

    expected = probabilities(name, train(0), asked(0))
    assert probabilities(name, with_it(train(0)), with_it(asked(0))) == pytest.approx(expected, abs=1e-9)


@settings(max_examples=4, deadline=None)
@given(order=st.permutations(range(16)), scale=st.floats(1e-6, 1e6), shift=st.floats(-100, 100), seed=st.integers(0, 9))
def test_neither_order_nor_scale_changes_the_ranking(order: list[int], scale: float, shift: float, seed: int) -> None:
    """What the default policy ranks by, of curves that were learnt from, and of others."""
    learnt, curves = train(seed), asked(seed)
    both = [*curves, *(c.head(SEEN) for c in learnt)]
    expected = StackedPredictor(direction="maximize").fit(learnt).scores(both)
    assert expected is not None
    others = StackedPredictor(direction="maximize").fit(mapped([learnt[i] for i in order], scale, scale * shift))
    assert others.scores(mapped(both, scale, scale * shift)) == pytest.approx(expected, abs=1e-4)


VALUES = st.floats(-1e300, 1e300) | st.sampled_from([0.0, 1.0, 1.0 + 1e-15, 1e-300, 5e-324, -1.7e308, 1.7e308])
CURVES = st.lists(st.tuples(VALUES, st.lists(VALUES, min_size=1, max_size=5)), min_size=6, max_size=12)


@PREDICTOR
@settings(max_examples=10, deadline=None)
@given(drawn=CURVES)
@example(drawn=[*[(0.0, [0.0, 0.0])] * 4, (0.0, [0.0, -1.7e308]), (1.0, [2.2e-65, 0.0])])  # a slope beyond any float
@example(  # a fold whose targets vary by less than a float can be divided by
    drawn=[
        *[(0.0, [0.0, 0.0])] * 4,
        *[(0.0, [0.0, y]) for y in (-1.2601857590636646e138, -1.7e308, 1.7e308)],
        (0.0, [-1.0, 0.0]),
    ]
)
def test_no_finite_input_breaks_it(name: str, drawn: list[tuple[float, list[float]]]) -> None:
    """Values and a number of the configuration of any size, lengths as they come: fits end, answers are finite or none."""
    begin = time.monotonic()
    curves = [LearningCurve(str(i), {"lr": number}, tuple(values)) for i, (number, values) in enumerate(drawn)]
    predictor = MAKERS[name]().fit(curves)
    for curve in curves:
        for tau in range(1, len(curve.values) + 1):
            prediction = predictor.predict(curve.head(tau))
            assert prediction is None or (math.isfinite(prediction.mean) and 0 <= prediction.sigma < math.inf)
    assert time.monotonic() - begin < 60
