"""The axis of a study: steps, tokens and seconds in, words out; and a study whose reports say where they stand."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curvestop.proto import codec
from curvestop.server.storage.schema import settings_from_json, settings_to_json
from curvestop.srm.curve import LearningCurve
from curvestop.srm.resource import EPOCHS, Axis, axis_of
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study
from curvestop.srm.validation import EpochOutOfRange


def test_steps_are_counted_and_seconds_have_fractions() -> None:
    assert axis_of("step", 50_000) == Axis("step", 50_000)
    # 600 s and 10^6 ticks a second: the largest power of ten within 10^9 ticks.
    assert axis_of("second", 600) == axis_of("second", 600.0) == Axis("second", 600_000_000, 600.0)
    # A float of any unit has fractions: three epochs, evaluated four times in each.
    assert axis_of("epoch", 3.0).tick(0.25) == 25_000_000
    # More than 10^9 are counted in tens, hundreds, ...
    assert axis_of("token", 10**10) == Axis("token", 10**9, 1e10)


@pytest.mark.parametrize(
    ("axis", "at", "place", "span"),
    [
        (EPOCHS, 3, "epoch 3", "3 epochs"),
        (EPOCHS, 1, "epoch 1", "1 epoch"),
        (Axis("step", 50_000), 5000, "step 5,000", "5,000 steps"),
        (axis_of("second", 600), 95.25, "second 95.25", "95.25 seconds"),
        (axis_of("second", 7200), 5000.26, "second 5,000.3", "5,000.3 seconds"),
        (axis_of("token", 10**10), 524_288_000, "token 524,288,000", "524,288,000 tokens"),
    ],
)
def test_words(axis: Axis, at: float, place: str, span: str) -> None:
    tick = axis.tick(at)
    assert (axis.at(tick), axis.span(tick)) == (place, span)


@given(end=st.floats(1e-3, 1e7), share=st.floats(1e-6, 1.0))
def test_a_place_comes_back_to_eight_digits(end: float, share: float) -> None:
    axis = axis_of("second", end)
    assert math.isclose(axis.amount(axis.tick(end * share)), end * share, rel_tol=1e-8, abs_tol=end * 2e-8)


def test_beyond_the_end() -> None:
    with pytest.raises(EpochOutOfRange, match=r"at must be at most max_resource = 50,000 steps, but got 50001"):
        Axis("step", 50_000).tick(50_001)
    assert axis_of("second", 600).tick(604.7) == 600_000_000  # no clock stops on time


@pytest.mark.parametrize("at", [-1, math.nan, math.inf, True, "5"])
def test_what_is_no_place(at: float) -> None:
    with pytest.raises(ValueError, match="at must be a number of steps > 0, but got"):
        Axis("step", 50).tick(at)


def test_a_fraction_of_a_step() -> None:
    with pytest.raises(ValueError, match=r"whole number of steps, but got 1.5: create the study with max_resource=50.0"):
        Axis("step", 50).tick(1.5)
    assert Axis("step", 50).tick(2.0) == 2  # as frameworks count


def test_settings_by_either_name() -> None:
    assert StudySettings("s", max_resource=50, resource="epochs") == StudySettings("s", 50)
    steps = StudySettings("s", max_resource=50_000, resource="step")
    assert (steps.max_epochs, steps.axis.max_resource) == (50_000, 50_000)
    assert replace(steps, max_epochs=7).axis == Axis("step", 7)
    assert StudySettings("s", 600, resource="second") == StudySettings("s", max_resource=600.0, resource="second")
    with pytest.raises(ValueError, match="give max_epochs or max_resource, but got 50 and 60"):
        StudySettings("s", 50, max_resource=60)
    with pytest.raises(ValueError, match=r"max_resource must be a finite number of steps > 0, but got 0"):
        StudySettings("s", max_resource=0, resource="step")


@pytest.mark.parametrize("length", [{"max_epochs": 5}, {"max_resource": 5, "resource": "step"}, {"max_resource": 0.5}])
def test_settings_travel_and_are_stored(length: dict[str, float]) -> None:
    settings = StudySettings("s", **length)  # type: ignore[arg-type]
    assert codec.settings_from_proto(codec.settings_to_proto(settings)) == settings
    assert settings_from_json(settings_to_json(settings)) == settings


def test_settings_of_earlier_versions() -> None:
    settings, stored = StudySettings("s", 5), settings_to_json(StudySettings("s", 5))
    message = codec.settings_to_proto(settings)
    message.ClearField("resource")
    del stored["resource"], stored["max_resource"]
    assert codec.settings_from_proto(message) == settings_from_json(stored) == settings


def test_reports_say_where_they_stand() -> None:
    study = Study(StudySettings("s", max_resource=1000, resource="step", policy="median", policy_settings={"min_trials": 2}))
    for trial, level in (("a", 0.8), ("b", 0.9)):
        for step in (0, 170, 500, 1000):  # at 0 nothing was trained, and nothing is stored
            study.report(trial, level, at=step)
    assert [curve.epochs for curve in study.trials()] == [(170, 500, 1000)] * 2
    decision = study.report("c", 0.1, at=400)
    assert decision.stop
    # Point 160 of 400 is step 400; the median of .8 and .9 is .85.
    assert decision.reason == (
        "the best value so far, 0.1, is worse than the median 0.85 at step 400; the trial made 1 report so far"
    )
    assert study.predict_many([LearningCurve("", {}, (0.5,), (400,))]) == [None]


def test_a_study_of_seconds_needs_to_know_when() -> None:
    study = Study(StudySettings("s", max_resource=600, resource="second"))
    with pytest.raises(ValueError, match=r"at must be given, as the study counts seconds: report\(trial, value, at=...\)"):
        study.report("a", 0.5)
    assert not study.report("a", [], configuration={"lr": 0.1}).stop  # the beginning of a trial has no value
    study.report("a", 0.5, at=300.5)
    study.report("a", math.nan, at=400)
    assert study.report("a", 0.5, at=500).reason == "the metric of second 400 is not a finite number: the trial diverged"
    with pytest.raises(ValueError, match=r"at says where one value stands, but got at=5, 2 values and first_epoch=1"):
        study.report("b", [0.5, 0.6], at=5)
