"""Variants of the default predictor: each changes something that is there, and leaves nothing behind."""

from __future__ import annotations

import pytest

from benchmarks.predict.ablation import VARIANTS, changed
from curvestop.srm.curve import LearningCurve, Prediction
from curvestop.srm.predictors.stacked.predictor import StackedPredictor
from tests.contracts_predictor import saturating_curves


def with_broken_runs() -> list[LearningCurve]:
    curves = saturating_curves(30, length=20)
    return [
        *curves,
        *(LearningCurve(f"x{i}", c.configuration, (*c.values[:12], *[-1e3 * i] * 8)) for i, c in enumerate(curves[:4], 1)),
    ]


def answers() -> list[Prediction | None]:
    asked = [c.head(10) for c in saturating_curves(5, length=20, seed=1)]
    return StackedPredictor(direction="maximize").fit(with_broken_runs()).predict_many(asked)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "as it is"])
def test_a_variant_predicts_otherwise_while_it_lasts(name: str) -> None:
    before = answers()
    with changed(VARIANTS[name]):
        within = answers()
    assert within != before
    assert answers() == before


def test_the_values_come_back_after_an_error() -> None:
    (change,) = VARIANTS["no linear kernel"]
    before = getattr(change.module, change.name)
    try:
        with changed([change]):
            assert getattr(change.module, change.name) == 0
            raise ZeroDivisionError
    except ZeroDivisionError:
        assert getattr(change.module, change.name) == before
