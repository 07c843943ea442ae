"""What the predictors and the learned policy say of fixed curves, to the sixth digit: a change of them is made on purpose.

`python -m tests.golden_numbers` writes the file anew; then CHANGELOG.md says why.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from curvestop.srm.curve import LearningCurve, Ranking
from curvestop.srm.policies.learned import LearnedPolicy
from curvestop.srm.policies.stopping_rule import Direction, StoppingRule
from curvestop.srm.predictors.unit_scale import UnitScale
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study
from tests.contracts_predictor import saturating_curves

FILE = Path(__file__).parent / "golden" / "numbers.json"
PREDICTORS: Mapping[str, Mapping[str, float]] = {
    "stacked": {}, "last-seen": {}, "ols": {}, "kernel-ridge": {}, "nu-svr": {"n_candidates": 10},
}  # fmt: skip
Golden = dict[str, list[list[float] | None]]


def losses(n: int, *, seed: int) -> list[LearningCurve]:
    """Losses that fall to a floor; rates over five decades, one column that never changes, texts. Some end early, two diverge."""
    rng, curves = np.random.default_rng(seed), []
    for number in range(n):
        lr, time = 10 ** rng.uniform(-5, 0), np.arange(1, 13)
        values = 100 * (0.2 + 0.1 * (np.log10(lr) + 3) ** 2 + np.exp(-rng.uniform(0.1, 0.6) * time)) + rng.normal(size=12)
        if number in (3, 11):
            values[8:] = 1e6
        configuration = {"lr": lr, "batch": 64, "optimizer": ("adam", "sgd")[number % 2], "depth": number % 5}
        curves.append(LearningCurve(f"{number:04}", configuration, tuple(values[: 7 if number % 3 == 0 else 12].tolist())))
    return curves


def noisy(n: int, *, seed: int) -> list[LearningCurve]:
    """Long curves without a configuration, of which the first four are equal for a while."""
    rng, curves = np.random.default_rng(seed), []
    for number in range(n):
        time = np.arange(1, 41)
        values = rng.uniform(0.4, 0.9) * (1 - time ** -rng.uniform(0.2, 1.0)) + rng.normal(scale=0.05, size=40)
        values[:3] = 0.1 if number < 4 else values[:3]
        curves.append(LearningCurve(f"{number:04}", {}, tuple(values.tolist())))
    return curves


SETS: Mapping[str, tuple[Direction, tuple[str, ...], Sequence[LearningCurve], Sequence[LearningCurve]]] = {
    "accuracies": ("maximize", (), saturating_curves(24), saturating_curves(4, seed=1)),
    "losses": ("minimize", ("lr",), losses(36, seed=2), losses(6, seed=3)),
    "noisy": ("maximize", (), noisy(16, seed=4), noisy(3, seed=5)),
}
"""By name: the direction, log-scaled columns, complete curves, and those that are predicted."""


def predictions(name: str, predictor: str) -> Iterator[list[float] | None]:
    """Mean, sigma and (where it ranks) score of each beginning of the other curves."""
    direction, log_scaled, curves, probes = SETS[name]
    settings = StudySettings(
        "s", len(curves[-1].values), direction=direction, log_scaled=log_scaled, predictor=predictor,
        predictor_settings=PREDICTORS[predictor],
    )  # fmt: skip
    fitted = settings.new_predictor().fit(curves)
    for probe in probes:
        for tau in (1, 2, 3, 5, 6):
            curve = replace(probe, values=probe.values[:tau])
            prediction = fitted.predict(curve)
            scores = fitted.scores([curve]) if isinstance(fitted, Ranking) else None
            yield None if prediction is None else [*prediction, *(scores or ())]


def features(name: str, predictor: str) -> Iterator[list[float]]:
    """The policy's features of trials at their latest decision point, while half of the others are complete."""
    direction, log_scaled, curves, probes = SETS[name]
    length = max(len(curve.values) for curve in curves)
    study = Study(
        StudySettings(
            "s", length, direction=direction, log_scaled=log_scaled, predictor=predictor, rule=StoppingRule(min_curves=8)
        )
    )
    policy = LearnedPolicy()
    for number, curve in enumerate(curves):
        study.report(curve.trial, curve.values[: 4 if number % 4 == 0 else None], configuration=curve.configuration, ask=False)
    for number, probe in enumerate(probes):
        trial, tau = f"probe-{number}", (2, 4, 6)[number % 3]
        study.report(trial, probe.values[:tau], configuration=probe.configuration, ask=False)
        evidence = study._evidence(trial, study.question(trial), previous=0)
        point = evidence.due(policy.decision_points(length))
        assert point is not None
        yield policy.features(evidence, point)


def numbers(name: str) -> Golden:
    """All of a set, by what they are."""
    direction, _, curves, _ = SETS[name]
    golden: Golden = {f"{predictor}: {name}": list(predictions(name, predictor)) for predictor in PREDICTORS}
    for predictor in ("stacked", "last-seen"):
        golden[f"features with {predictor}: {name}"] = list(features(name, predictor))
    scales = [UnitScale.of(curves, direction), UnitScale.of(curves), UnitScale.of(curves[:1])]
    golden[f"unit scale: {name}"] = [[scale.best, scale.unit] for scale in scales]
    return golden


if __name__ == "__main__":
    FILE.write_text(json.dumps({key: rows for name in SETS for key, rows in numbers(name).items()}, indent=0) + "\n")
