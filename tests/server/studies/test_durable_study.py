"""A study of the server, without the wire: it keeps the contract of studies, and its log rebuilds it."""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curvestop.proto.endpoint import SettingsDiffer, UnknownStudy
from curvestop.proto.entries import Decided, Ended, Observed, Resumed, TrialAdded
from curvestop.server.storage.store import CurveStore
from curvestop.server.studies.durable_study import Busy, DurableStudy
from curvestop.server.studies.registry import Registry
from curvestop.srm.curve import Decision, LearningCurve, Prediction
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.predictors.registry import PREDICTORS
from curvestop.srm.report import Report
from curvestop.srm.settings import StudySettings
from curvestop.srm.study_like import StudyLike, StudyOfMany
from tests.contracts import COMPLETE, MakeStudy, StudyContract, last_seen
from tests.contracts_many import ManyContract
from tests.contracts_policy import PolicyContract, drawn
from tests.contracts_second_chances import SecondChanceContract

FIT_S = 30.0


def open_registry(folder: Path) -> Registry:
    return Registry(CurveStore(f"sqlite:///{folder / 'curves.db'}"))


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with closing(open_registry(tmp_path)) as registry:
        yield registry


class TestServedStudy(StudyContract, PolicyContract, ManyContract, SecondChanceContract):
    @pytest.fixture
    def make(self, registry: Registry) -> MakeStudy:
        def make(settings: StudySettings) -> StudyLike:
            registry.create(settings)
            return registry[settings.name]

        return make

    @pytest.fixture(autouse=True)
    def _remember(self, registry: Registry) -> None:
        self.registry = registry

    def settle(self, study: StudyLike) -> None:
        assert self.registry.wait_fitted(FIT_S)


def test_creating_a_study_again_changes_nothing(registry: Registry) -> None:
    registry.create(last_seen())
    registry["s"].report("a", [0.1])
    registry.create(last_seen())
    assert len(registry["s"].trials()) == 1
    with pytest.raises(SettingsDiffer, match="study 's' exists with"):
        registry.create(last_seen(max_epochs=4))
    with pytest.raises(UnknownStudy, match="no study 't'"):
        registry["t"]


def test_the_log_has_everything_in_order_and_nothing_twice(tmp_path: Path) -> None:
    with closing(open_registry(tmp_path)) as registry:
        registry.create(last_seen())
        study = registry["s"]
        answer = study.report("a", [0.1], configuration={"lr": 0.1})
        study.report("a", [0.1])
        study.report("b", [0.2, math.nan])
        study.report("b", [math.nan], first_epoch=3)
        study.finish("a")
        study.finish("a", "failed")
    with closing(CurveStore(f"sqlite:///{tmp_path / 'curves.db'}")) as store:
        numbered = list(store.numbered_log(store.studies()[0].id))
    assert [number for number, _ in numbered] == list(range(1, len(numbered) + 1))
    entries = [entry for _, entry in numbered]
    decided = entries.pop(2)
    assert isinstance(decided, Decided)
    assert decided.decision == answer
    assert entries == [
        TrialAdded("a", {"lr": 0.1}),
        Observed("a", 1, 0.1),
        TrialAdded("b", {}),
        Observed("b", 1, 0.2),
        Ended("b", "failed", 2),
        Ended("a", "finished"),
    ]


def test_answers_are_the_same_after_a_restart(tmp_path: Path) -> None:
    with closing(open_registry(tmp_path)) as registry:
        registry.create(last_seen())
        for number, values in enumerate(COMPLETE):
            registry["s"].report(str(number), values)
        assert registry.wait_fitted(FIT_S)
        stop = registry["s"].report("a", [0.4])
        assert stop.stop
    with closing(open_registry(tmp_path)) as registry:
        assert registry["s"].report("a", [0.9], first_epoch=2) == stop  # before and after its models are back
        assert registry.wait_fitted(FIT_S)
        assert registry["s"].report("a", []) == stop
        assert registry["s"].report("b", [0.4]) == stop


def test_a_trial_may_be_stopped_and_resumed_again_until_it_finishes(tmp_path: Path) -> None:
    """Each step comes after a restart, so the log alone says what the trial's state is."""

    def after_a_restart(act: Callable[[DurableStudy], Any]) -> Any:
        with closing(open_registry(tmp_path)) as registry:
            registry.create(last_seen())
            assert registry.wait_fitted(FIT_S)
            return act(registry["s"])

    after_a_restart(lambda study: study.report_many([Report(str(n), values) for n, values in enumerate(COMPLETE)]))
    first = after_a_restart(lambda study: study.report("a", [0.4]))
    assert first.stop
    assert after_a_restart(lambda study: study.finish("a", "stopped")) == "stopped"
    after_a_restart(lambda study: study.resume("a", "first"))
    assert after_a_restart(lambda study: study.trials()[-1].state) == "running"
    after_a_restart(lambda study: study.resume("a", "first"))  # a repeated call, whose answer was lost
    again = after_a_restart(lambda study: study.report("a", [0.3], first_epoch=2))
    assert again.stop
    assert again != first
    after_a_restart(lambda study: study.resume("a", "first"))  # an old call that comes late
    assert after_a_restart(lambda study: study.report("a", [])) == again
    after_a_restart(lambda study: study.resume("a", "second"))
    assert not after_a_restart(lambda study: study.report("a", [0.9], first_epoch=3)).stop
    assert after_a_restart(lambda study: study.finish("a")) == "finished"
    with pytest.raises(ValueError, match="only a stopped trial can be resumed, but trial 'a' is finished"):
        after_a_restart(lambda study: study.resume("a", "third"))
    with closing(CurveStore(f"sqlite:///{tmp_path / 'curves.db'}")) as store:
        log = [entry for entry in store.log(store.studies()[0].id) if entry.trial == "a"]
    assert [entry for entry in log if not isinstance(entry, Decided)] == [
        TrialAdded("a", {}),
        Observed("a", 1, 0.4),
        Ended("a", "stopped"),
        Resumed("a", "first"),
        Observed("a", 2, 0.3),
        Resumed("a", "second"),
        Observed("a", 3, 0.9),
        Ended("a", "finished"),
    ]


def test_a_key_is_a_short_text(registry: Registry) -> None:
    registry.create(last_seen())
    registry["s"].report("a", [0.1])
    registry["s"].finish("a", "stopped")
    with pytest.raises(ValueError, match="a key name must be 1 to 256 bytes long, but got 0"):
        registry["s"].resume("a", "")
    assert registry["s"].trials()[0].state == "stopped"


@pytest.mark.parametrize("policy", ["predictive-rank", "risk", "saving"])
def test_after_a_restart_the_policy_decides_what_it_would_have_decided(tmp_path: Path, policy: str) -> None:
    curves = drawn(36, seed=2)
    halves = [list(curves)[:18], list(curves)[18:]]
    chosen = {"risk": {"risk": 0.2}, "saving": {"saving": 0.5}}.get(policy, {})
    study = StudySettings("s", 10, rule=StoppingRule(min_curves=6), policy=policy, policy_settings=chosen)
    folders = [tmp_path / "one", tmp_path / "two"]
    folders[0].mkdir()
    with closing(open_registry(folders[0])) as registry:
        registry.create(study)
        for trial in halves[0][:8]:
            registry["s"].report(trial, curves[trial], ask=False)
        side_by_side(registry, {trial: curves[trial] for trial in halves[0][8:]})
        registry["s"].report("between", curves["t0"][:3], ask=False)  # passes decision points without a question
        shutil.copytree(folders[0], folders[1])
        expected = side_by_side(registry, {trial: curves[trial] for trial in halves[1]})
    with closing(open_registry(folders[1])) as registry:
        assert registry.wait_fitted(FIT_S)
        found = side_by_side(registry, {trial: curves[trial] for trial in halves[1]})
    assert found == expected
    by_value_only = ("no forecast yet", "the model is unreliable")
    assert any("continue" in d.reason and not any(words in d.reason for words in by_value_only) for d in found)
    assert 0 < sum(decision.stop for decision in found) < len(halves[1])


def side_by_side(registry: Registry, curves: Mapping[str, Sequence[float]], *, at_once: int = 3) -> list[Decision]:
    """Train a few trials in turns, models being up to date at every question; return all answers, in order."""
    waiting, running, answers = list(curves), dict[str, int](), list[Decision]()
    while waiting or running:
        while waiting and len(running) < at_once:
            running[waiting.pop(0)] = 0
        for trial, epoch in list(running.items()):
            answers.append(registry["s"].report(trial, [curves[trial][epoch]], first_epoch=epoch + 1))
            assert registry.wait_fitted(FIT_S)
            running[trial] = epoch + 1
            if answers[-1].stop or epoch + 1 == len(curves[trial]):
                del running[trial]
    return answers


values = st.one_of(st.floats(-1e100, 1e100), st.just(math.nan))
reports = st.tuples(
    st.just("report"), st.sampled_from("abc"), st.integers(1, 3), st.lists(values, max_size=3), st.integers(2, 4), st.booleans()
)
finishes = st.tuples(st.just("finish"), st.sampled_from("abc"), st.sampled_from(["finished", "stopped", "failed"]))
resumes = st.tuples(st.just("resume"), st.sampled_from("abc"))


@given(st.lists(reports | finishes | resumes, max_size=25))
@settings(max_examples=25, deadline=None)
def test_a_restart_gives_the_same_study_again(calls: Sequence[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with closing(open_registry(Path(folder))) as registry:
            registry.create(last_seen(max_epochs=4))
            for call in calls:
                make_call(registry["s"], *call)
            everything(registry["s"])  # the last question of each trial is remembered, so let these be the last
            before = everything(registry["s"])
        with closing(open_registry(Path(folder))) as registry:
            assert everything(registry["s"]) == before


def make_call(study: StudyOfMany, kind: str, trial: str, *rest: Any) -> None:
    try:
        if kind == "finish":
            study.finish(trial, rest[0])
        elif kind == "resume":
            study.resume(trial)
        else:
            first_epoch, reported, target_epoch, ask = rest
            study.report(trial, reported, first_epoch=first_epoch, target_epoch=target_epoch, ask=ask)
    except (ValueError, LookupError):
        pass  # refused, and so not in the log


def everything(study: StudyLike) -> Any:
    """All that can be seen of a study: its trials, and the answer to every question about them."""
    trials = study.trials()
    return trials, [study.report(trial.trial, [], target_epoch=target) for trial in trials for target in (2, 3, 4)]


def test_a_caller_that_may_not_wait_gets_busy(tmp_path: Path) -> None:
    with closing(open_registry(tmp_path)) as registry:
        for name, predictor in (("quick", "last-seen"), ("slow", "lce")):
            registry.create(StudySettings(name, 4, predictor=predictor))
        quick, slow = registry["quick"], registry["slow"]
        with pytest.raises(Busy):
            slow.predict_at_once([0.1])
        assert quick.trials() == slow.trials() == ()  # which reads the log
        assert quick.predict_at_once([0.1], expects=False) is None
        with pytest.raises(Busy):
            slow.predict_at_once([0.1], expects=False)
        assert quick.predict_at_once([0.1]) is None
        with quick._lock, pytest.raises(Busy):
            quick.predict_at_once([0.1])
        quick.forget()
        with pytest.raises(Busy):  # it would have to read the log
            quick.predict_at_once([0.1])
        quick.report_many([Report(str(n), [n / 40] * 4) for n in range(20)])
        assert registry.wait_fitted(30.0)
        assert quick.predict_at_once([0.1]) == quick.predict([0.1]) is not None


class Unfittable:
    """A predictor that cannot learn from 6 curves, only from more."""

    def __init__(self, **_: Any) -> None: ...

    def fit(self, curves: Sequence[LearningCurve]) -> Self:
        if len(curves) <= 6:
            raise ArithmeticError("singular")
        return self

    def predict(self, curve: LearningCurve) -> Prediction | None:
        return Prediction(1.0, 0.1)


@pytest.fixture
def unfittable(monkeypatch: pytest.MonkeyPatch) -> str:
    make: Callable[..., Unfittable] = Unfittable
    monkeypatch.setitem(PREDICTORS, "unfittable", make)
    return "unfittable"


def test_a_fit_that_fails_is_logged_once_and_the_next_one_runs(
    registry: Registry, unfittable: str, caplog: pytest.LogCaptureFixture
) -> None:
    registry.create(last_seen(predictor=unfittable, refit_growth=1.1))
    study = registry["s"]
    with caplog.at_level(logging.ERROR):
        for number in range(6):
            study.report(str(number), [0.1, 0.2, 0.3])
            assert registry.wait_fitted(FIT_S)
        reason = "the models for epoch 3 could not be fitted on 6 curves (ArithmeticError: singular)"
        assert study.report("a", [0.1]).reason == reason
        assert registry.wait_fitted(FIT_S)
    assert [record.getMessage() for record in caplog.records] == ["study 's': models for epoch 3 could not be fitted on 6 curves"]
    study.report("7th", [0.1, 0.2, 0.3])
    assert registry.wait_fitted(FIT_S)
    assert study.report("b", [0.1]).n_curves == 7
