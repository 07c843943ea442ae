"""Seed noise by hand, and what must hold on any curves."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curvestop.srm.curve import Configuration, LearningCurve
from curvestop.srm.seed_noise import LATE_FACTOR, seed_noise
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study

POOR = [0.1, 0.11, 0.12, 0.13, 0.14, 0.15]


def curve(final: float, configuration: Configuration) -> LearningCurve:
    return LearningCurve("t", configuration, (0.0, final))


def searched(repeated: list[list[float]], others: list[float] = POOR) -> list[LearningCurve]:
    """Return a search of repeated configurations, and others of one trial each."""
    curves = [curve(final, {"lr": float(i)}) for i, finals in enumerate(repeated) for final in finals]
    return curves + [curve(final, {"lr": -1.0 - i}) for i, final in enumerate(others)]


def deviation(curves: list[LearningCurve], direction: str = "maximize") -> float | None:
    noise = seed_noise(curves, "maximize" if direction == "maximize" else "minimize")
    return None if noise is None else noise.deviation


def late(residuals: list[float], *, slope: float = 0.01, level: float = 0.5, n_epochs: int = 20) -> LearningCurve:
    """Return a curve that climbs to `level` and ends on a line with these residuals."""
    line = [level + slope * t + residual for t, residual in enumerate(residuals)]
    return LearningCurve("t", {"level": level}, tuple([0.0] * (n_epochs - len(line)) + line))


# By hand.


def test_variances_are_pooled_by_their_degrees_of_freedom() -> None:
    # Means .92, .86, .80; squares 2 * .02^2, (.02^2 + 0 + .02^2), 2 * .01^2; degrees of freedom 1 + 2 + 1.
    curves = searched([[0.90, 0.94], [0.84, 0.86, 0.88], [0.79, 0.81]])
    noise = seed_noise(curves, "maximize")
    assert noise is not None
    assert noise.deviation == pytest.approx(math.sqrt((0.0008 + 0.0008 + 0.0002) / 4))
    assert (noise.source, noise.n) == ("repeated configurations", 3)
    assert str(noise) == "0.021 (from 3 repeated configurations)"


def test_a_diverged_run_is_left_out() -> None:
    good = searched([[0.90, 0.94], [0.84, 0.86, 0.88], [0.79, 0.81]])
    diverged = searched([[0.90, 0.94], [0.84, 0.86, 0.88, 0.01], [0.79, 0.81]])
    # The median of the second is now .85, and only .01 is further from it than four deviations.
    assert deviation(diverged) == pytest.approx(deviation(good))


def test_an_exploded_run_hides_nothing() -> None:
    exploded = LearningCurve("t", {"lr": 9.0}, (0.0, 1e18))
    good = searched([[0.90, 0.94], [0.84, 0.86, 0.88], [0.79, 0.81]])
    losses = [curve(-c.values[-1], c.configuration) for c in good]
    assert deviation([*losses, exploded], "minimize") == pytest.approx(math.sqrt(0.0018 / 4))


def test_bad_configurations_are_noisier_and_do_not_count() -> None:
    good = [[0.90, 0.94], [0.84, 0.86, 0.88], [0.79, 0.81]]
    assert deviation(searched([*good, [0.2, 0.6, 0.01]], [*POOR, 0.3, 0.4])) == pytest.approx(deviation(searched(good)))


def test_a_configuration_is_told_without_its_seed() -> None:
    curves = [curve(final, {"lr": 0.1, "random_seed": seed}) for seed, final in enumerate([0.5, 0.52, 0.54, 0.56])]
    assert deviation(curves) == pytest.approx(np.std([0.5, 0.52, 0.54, 0.56], ddof=1))


def test_the_same_training_twice_is_no_repeat() -> None:
    curves = searched([[0.90, 0.94], [0.84, 0.86, 0.88], [0.79, 0.81]])
    assert deviation([*curves, *curves]) == deviation(curves)


@pytest.mark.parametrize(
    "curves",
    [
        [],
        searched([]),
        searched([[0.9, 0.92], [0.8, 0.82]]),  # two repeats
        searched([[0.9, 0.9], [0.8, 0.8], [0.7, 0.7]]),  # one training each, three times twice
        [LearningCurve(f"{i}", {"lr": 0.1}, (i / 10, 0.9)) for i in range(9)],  # all end at the same value
        [curve(0.5 + i / 100, {}) for i in range(9)],  # nobody knows what was varied
        [curve(0.5 + i / 100, {"seed": i}) for i in range(9)],
        [late([0.01, -0.02, 0.01, -0.01, 0.01], level=0.5 + i / 100) for i in range(4)],  # four trials
        [late([0.01, -0.02, 0.01, -0.01], level=0.5 + i / 100, n_epochs=16) for i in range(9)],  # four late epochs of 16
        [late([0.0] * 5, slope=0.0, level=0.5 + i / 8) for i in range(9)],  # nothing moves
    ],
)
def test_too_little_is_none(curves: list[LearningCurve]) -> None:
    assert seed_noise(curves, "maximize") is None


def test_late_epochs_are_compared_with_the_line_through_them() -> None:
    # Residuals without mean and slope, so that the line is what they were added to: squares 1 + 0 + 4 + 0 + 1 = 6, over 5 - 2.
    pattern = np.array([-1.0, 0.0, 2.0, 0.0, -1.0])
    scales = {0.5: 0.9, 0.6: 0.9, 0.7: 0.03, 0.8: 0.01, 0.9: 0.02}  # by level; the better half are the last three
    curves = [late((scale * pattern).tolist(), level=level) for level, scale in scales.items()]
    noise = seed_noise(curves, "maximize")
    assert noise is not None
    assert noise.deviation == pytest.approx(LATE_FACTOR * 0.02 * math.sqrt(6 / 3))
    assert (noise.source, noise.n) == ("late epochs", 3)
    assert str(noise) == "0.061 (from the late epochs of 3 trials: may be off by a factor of 2.5)"


def test_a_study_estimates_it_from_its_complete_trials() -> None:
    study = Study(StudySettings("s", 2, direction="minimize", hold_out=0.99))
    for curve_ in searched([[0.90, 0.94], [0.84, 0.86, 0.88], [0.79, 0.81]]):
        study.report(f"{-curve_.values[-1]}", [0.0, -curve_.values[-1]], configuration=curve_.configuration, ask=False)
    study.report("partial", [-0.7], configuration={"lr": 0.0})
    noise = study.seed_noise()
    assert noise is not None
    assert noise.deviation == pytest.approx(math.sqrt(0.0018 / 4))
    assert Study(StudySettings("empty", 2)).seed_noise() is None


# What must hold.

finals = st.floats(-1, 1, width=32)


@st.composite
def any_curves(draw: st.DrawFn) -> list[LearningCurve]:
    values = st.lists(finals, min_size=17, max_size=24).map(tuple)
    configurations = st.integers(0, 4).map(lambda lr: {"lr": lr})
    return [LearningCurve("t", draw(configurations), draw(values)) for _ in range(draw(st.integers(0, 14)))]


@given(any_curves(), st.sampled_from([0.125, 4.0, 1024.0]))  # powers of two, so that no digit is lost
def test_a_scaled_metric_scales_the_noise(curves: list[LearningCurve], scale: float) -> None:
    scaled = [LearningCurve("t", c.configuration, tuple(scale * value for value in c.values)) for c in curves]
    before, after = deviation(curves), deviation(scaled)
    assert after == (None if before is None else pytest.approx(scale * before))


@given(any_curves())
def test_the_direction_does_not_matter(curves: list[LearningCurve]) -> None:
    negative = [LearningCurve("t", c.configuration, tuple(-value for value in c.values)) for c in curves]
    assert seed_noise(curves, "maximize") == seed_noise(negative, "minimize")


@given(any_curves(), st.randoms(use_true_random=False))
def test_the_order_of_trials_does_not_matter(curves: list[LearningCurve], rng: random.Random) -> None:
    shuffled = curves.copy()
    rng.shuffle(shuffled)
    before = deviation(curves)
    assert deviation(shuffled) == (None if before is None else pytest.approx(before))


@given(any_curves())
def test_a_deviation_is_positive_and_finite(curves: list[LearningCurve]) -> None:
    found = deviation(curves)
    assert found is None or 0 < found < math.inf
