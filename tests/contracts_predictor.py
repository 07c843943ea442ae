"""What every `CurvePredictor` must do; an implementation's tests inherit this and say how to make one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from curvestop.srm.curve import CurvePredictor, LearningCurve


def saturating_curves(n: int = 24, *, length: int = 12, seed: int = 0, noise: float = 0.004) -> list[LearningCurve]:
    """Accuracies that rise as top (1 - (t + 1)^-rate); the configuration tells the top and, less well, the rate."""
    rng = np.random.default_rng(seed)
    curves = []
    for i in range(n):
        width, rate = rng.uniform(0.0, 1.0), rng.uniform(0.4, 1.4)
        time = np.arange(1, length + 1)
        values = (0.5 + 0.4 * width) * (1 - (time + 1.0) ** -rate) + noise * rng.normal(size=length)
        curves.append(LearningCurve(f"{i:04}", {"width": width, "lr": rate + 0.1 * rng.normal()}, tuple(values.tolist())))
    return curves


class PredictorContract:
    """Inherit, and define `make`. `n_curves`, `length`: the size of the training set, for slow predictors."""

    n_curves = 24
    length = 12

    def make(self) -> CurvePredictor:
        raise NotImplementedError

    def curves(self, seed: int = 0) -> list[LearningCurve]:
        return saturating_curves(self.n_curves, length=self.length, seed=seed)

    @property
    def seen(self) -> int:
        return self.length // 2

    def test_predicts_a_finite_value_with_an_error_bar(self) -> None:
        prediction = self.make().fit(self.curves()).predict(self.curves(seed=1)[0].head(self.seen))
        assert prediction is not None
        assert math.isfinite(prediction.mean)
        assert 0 <= prediction.sigma < math.inf

    def test_is_nearer_the_truth_than_the_mean_of_training(self) -> None:
        train, test = self.curves(), self.curves(seed=1)
        predictor = self.make().fit(train)
        guess = np.mean([c.values[-1] for c in train])
        errors = [abs(self._mean(predictor, c) - c.values[-1]) for c in test]
        assert np.mean(errors) < np.mean([abs(guess - c.values[-1]) for c in test])

    def test_order_of_training_curves_changes_nothing(self) -> None:
        train, partial = self.curves(), self.curves(seed=1)[0].head(self.seen)
        assert self.make().fit(train).predict(partial) == self.make().fit(train[::-1]).predict(partial)

    def test_a_name_changes_nothing(self) -> None:
        predictor, partial = self.make().fit(self.curves()), self.curves(seed=1)[0].head(self.seen)
        assert predictor.predict(partial) == predictor.predict(replace(partial, trial="another"))

    def test_answers_the_same_twice(self) -> None:
        predictor, partial = self.make().fit(self.curves()), self.curves(seed=1)[0].head(self.seen)
        assert predictor.predict(partial) == predictor.predict(partial)

    @pytest.mark.parametrize("n", [0, 1])
    def test_too_few_curves_are_no_error(self, n: int) -> None:
        prediction = self.make().fit(self.curves()[:n]).predict(self.curves(seed=1)[0].head(self.seen))
        assert prediction is None or math.isfinite(prediction.mean)

    def test_training_curves_of_unequal_lengths_are_no_error(self) -> None:
        train = [c.head(self.length - i % 3) for i, c in enumerate(self.curves())]
        prediction = self.make().fit(train).predict(self.curves(seed=1)[0].head(self.seen))
        assert prediction is None or math.isfinite(prediction.mean)

    def _mean(self, predictor: CurvePredictor, curve: LearningCurve) -> float:
        prediction = predictor.predict(curve.head(self.seen))
        assert prediction is not None
        return prediction.mean
