"""The pruners: what Optuna documents of every pruner, and what ours promise beyond it."""

from __future__ import annotations

import copy
import logging
import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import optuna
import pytest
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, PatientPruner, ThresholdPruner
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from benchmarks.replay.search_replay import SearchReplay
from curvestop.clients.backtest.curve_set import CurveSet
from curvestop.clients.backtest.optuna_pruners import ended_at
from curvestop.clients.optuna import FHyperbandPruner, SRMPruner
from curvestop.clients.optuna.srm_pruner import THESIS_PRUNER
from curvestop.clients.optuna.trial_curves import PREDICTED, REASON, STOPPED_AT
from curvestop.clients.remote.remote_study import connect
from curvestop.srm.curve import LastSeenValue, LearningCurve
from curvestop.srm.policies.registry import POLICIES
from curvestop.srm.predictors.registry import PREDICTORS
from curvestop.srm.settings import THESIS, StudySettings
from tests.optuna_studies import EPOCHS, curve_of, drawn_curves, new_study, replay, running
from tests.server_process import ServerProcess

BY_VALUE: dict[str, Any] = {"policy": "predictive-rank", "policy_settings": {"combine": "raw"}}  # ranks without a model: quick
NAN = math.nan


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


class PrunerContract:
    """What `optuna.pruners.BasePruner` promises to every study, storage and objective."""

    def pruner(self) -> BasePruner:
        raise NotImplementedError

    def trained(self, *, maximize: bool = True, storage: Any = None, n_trials: int = 30) -> optuna.Study:
        """A study after some trials."""
        study = new_study(self.pruner(), maximize=maximize, storage=storage)
        sign = 1 if maximize else -1
        replay(study, [[sign * v for v in curve] for curve in drawn_curves(n_trials, seed=1)])
        return study

    def test_a_trial_without_a_report_continues(self) -> None:
        study = self.trained()
        assert study.ask().should_prune() is False

    def test_steps_may_be_reported_in_any_order_and_far_apart(self) -> None:
        study = self.trained()
        trial, _ = running(study, {9: 3.0, 2: 2.0, 14: 3.5, 1_000_000: 4.0})
        assert trial.should_prune() is False

    def test_trials_that_all_failed_prune_nothing(self) -> None:
        study = new_study(self.pruner())
        for _ in range(8):
            study.tell(running(study, curve_of(1.0)[:5])[0], state=TrialState.FAIL)
        assert running(study, curve_of(1.0)[:5])[0].should_prune() is False

    def test_the_first_trial_is_not_pruned(self) -> None:
        assert replay(new_study(self.pruner()), [[0.0] * EPOCHS]) == [EPOCHS]

    @pytest.mark.parametrize("maximize", [True, False])
    def test_a_hopeless_trial_is_pruned_and_the_best_is_not(self, maximize: bool) -> None:
        study, sign = self.trained(maximize=maximize), 1 if maximize else -1
        hopeless, best = [sign * v for v in curve_of(-2.0)], [sign * v for v in curve_of(3.0)]
        first, second = replay(study, [hopeless, best])
        assert first < EPOCHS
        assert second == EPOCHS

    def test_the_same_reports_have_the_same_answer(self) -> None:
        study = self.trained()
        for curve in drawn_curves(4, seed=2):
            trial = study.ask()
            for step, value in enumerate(curve[:-1]):
                trial.report(value, step)
                assert trial.should_prune() == trial.should_prune()

    def test_the_trial_is_not_changed(self) -> None:
        study = self.trained()
        _, frozen = running(study, curve_of(0.5)[:5])
        values, attributes = dict(frozen.intermediate_values), dict(frozen.user_attrs)
        assert self.pruner().prune(study, frozen) in (True, False)
        assert (frozen.intermediate_values, frozen.user_attrs, frozen.state) == (values, attributes, TrialState.RUNNING)

    def test_a_step_reported_twice_counts_once(self) -> None:
        study = self.trained()
        trial, _ = running(study, curve_of(3.0)[:5])
        with pytest.warns(UserWarning, match="already reported"):
            trial.report(-1000.0, 4)
        assert not trial.should_prune()

    def test_failed_and_waiting_trials_do_no_harm(self) -> None:
        study = self.trained()
        for values in ([], [1.0], [NAN], curve_of(0.5)):
            study.tell(running(study, values)[0], state=TrialState.FAIL)
        study.enqueue_trial({"x": 1})
        study.add_trial(optuna.trial.create_trial(value=1.0))
        study.add_trial(optuna.trial.create_trial(value=math.inf, intermediate_values={0: math.inf}))
        study.add_trial(optuna.trial.create_trial(state=TrialState.PRUNED, intermediate_values={3: NAN}))
        study.ask()
        assert replay(study, [curve_of(3.0)]) == [EPOCHS]

    def test_a_copy_and_a_pickle_prune_alike(self) -> None:
        study = self.trained()
        _, frozen = running(study, curve_of(-2.0)[:10])
        pruner = study.pruner
        others = [copy.deepcopy(pruner), pickle.loads(pickle.dumps(pruner)), copy.copy(pruner), self.pruner()]
        assert {other.prune(study, frozen) for other in others} == {True}

    def test_a_pruner_serves_several_studies(self) -> None:
        pruner = self.pruner()
        up, down = new_study(pruner, name="up"), new_study(pruner, name="down", maximize=False)
        curves = drawn_curves(30, seed=3)
        alone = replay(new_study(self.pruner(), name="up"), curves)
        in_turns = [replay(up, [curve]) + replay(down, [[-v for v in curve]]) for curve in curves]
        assert [first for first, _ in in_turns] == alone

    def test_threads_share_it(self) -> None:
        study = new_study(self.pruner())

        def objective(trial: optuna.Trial) -> float:
            curve = curve_of(trial.suggest_float("level", -1, 1))
            for step, value in enumerate(curve):
                trial.report(value, step)
                if trial.should_prune():
                    raise optuna.TrialPruned
            return curve[-1]

        study.optimize(objective, n_trials=40, n_jobs=4)
        states = [t.state for t in study.trials]
        assert set(states) == {TrialState.COMPLETE, TrialState.PRUNED}

    @pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
    def test_it_may_be_wrapped(self) -> None:
        study = self.trained()
        _, frozen = running(study, [*curve_of(-2.0)[:6], -3.0, -3.1, -3.2])
        assert PatientPruner(self.pruner(), patience=1).prune(study, frozen)
        _, rising = running(study, curve_of(-2.0)[:6])
        assert PatientPruner(self.pruner(), patience=8).prune(study, rising) is False

    @pytest.mark.parametrize("kind", ["sqlite", "journal"])
    def test_any_storage(self, kind: str, tmp_path: Path) -> None:
        storage = f"sqlite:///{tmp_path}/s.db" if kind == "sqlite" else JournalStorage(JournalFileBackend(f"{tmp_path}/s.log"))
        stored, in_memory = self.trained(storage=storage, n_trials=12), self.trained(n_trials=12)
        reports = [[t.last_step for t in study.trials] for study in (stored, in_memory)]
        assert reports[0] == reports[1]
        again = optuna.load_study(study_name="a study", storage=storage, pruner=self.pruner())
        assert replay(again, [curve_of(3.0)]) == [EPOCHS]

    def test_several_objectives_are_refused(self) -> None:
        study = optuna.create_study(directions=["minimize", "maximize"], pruner=self.pruner())
        with pytest.raises(NotImplementedError):
            study.ask().should_prune()


class TestOptunasMedianPruner(PrunerContract):
    """The contract holds for one of theirs: it is no contract of our own making."""

    def pruner(self) -> BasePruner:
        return MedianPruner()


def assert_a_flat_start_is_survived(pruner: BasePruner, seed: int) -> None:
    """As with a sparse reward: ten epochs or more at 0, then up to a level in [0, 1]; the best rise first and must be kept."""
    levels = np.random.default_rng(seed).uniform(size=30).tolist()
    flat = [10 + round((1 - level) * 5) for level in levels]
    curves = [[0.0] * n + curve_of(level - 1, EPOCHS - n) for n, level in zip(flat, levels, strict=True)]
    lengths = replay(new_study(pruner, name=f"sparse {seed}"), curves)
    assert min(lengths) > 10
    assert lengths[levels.index(max(levels))] == EPOCHS


class OursContract(PrunerContract):
    """What all of ours promise, where Optuna's differ from one another."""

    def test_the_answer_is_a_bool(self) -> None:
        study = self.trained()
        for level in (-2.0, 3.0):
            assert type(running(study, curve_of(level)[:9])[0].should_prune()) is bool

    def test_not_a_number_reported_last_is_pruned(self) -> None:
        assert running(self.trained(), [*curve_of(3.0)[:9], NAN])[0].should_prune() is True

    def test_a_metric_that_never_differs_prunes_nothing(self) -> None:
        assert replay(new_study(self.pruner(), maximize=False), [[0.1] * EPOCHS] * 25) == [EPOCHS] * 25

    def test_nothing_is_pruned_while_all_trials_read_the_same(self) -> None:
        assert_a_flat_start_is_survived(self.pruner(), seed=0)

    @pytest.mark.parametrize("value", [math.inf, -math.inf])
    def test_so_is_infinity_of_either_sign(self, value: float) -> None:
        assert running(self.trained(), [*curve_of(3.0)[:9], value])[0].should_prune() is True


class TestSRMPruner(OursContract):
    def pruner(self) -> BasePruner:
        return SRMPruner(EPOCHS, predictor="last-seen")


class TestSRMPrunerByRank(OursContract):
    def pruner(self) -> BasePruner:
        return SRMPruner(EPOCHS, **BY_VALUE)


class TestSRMPrunerByRankAndModel(OursContract):
    def pruner(self) -> BasePruner:
        return SRMPruner(EPOCHS, policy="predictive-rank", predictor="last-seen")


class TestFHyperbandPruner(OursContract):
    def pruner(self) -> BasePruner:
        return FHyperbandPruner(EPOCHS, min_curves=8, predictor="last-seen")


@pytest.mark.parametrize("seed", range(3))
def test_f_hyperband_keeps_the_best_of_a_flat_start(seed: int) -> None:
    assert_a_flat_start_is_survived(FHyperbandPruner(EPOCHS), seed)


class TestSRMPrunerOfLearntLength(OursContract):
    def pruner(self) -> BasePruner:
        return SRMPruner("auto", predictor="last-seen")


class TestFHyperbandPrunerOfLearntLength(OursContract):
    def pruner(self) -> BasePruner:
        return FHyperbandPruner("auto", min_curves=8, predictor="last-seen")


@pytest.mark.parametrize("first_step", [0, 1])
def test_the_length_of_a_trial_is_learnt_from_the_complete_ones(first_step: int) -> None:
    pruner = SRMPruner("auto", first_step=first_step, n_startup_trials=0, policy="median", policy_settings={"min_trials": 1})
    study = new_study(pruner)

    def told(values: Sequence[float]) -> optuna.Trial:
        trial, _ = running(study, dict(enumerate(values, start=first_step)))
        study.tell(trial, values[-1])
        return trial

    hopeless, _ = running(study, {first_step: -9.0})
    assert not hopeless.should_prune()
    assert pruner.explain(hopeless).reason == (
        "max_epochs='auto' is learnt from a complete trial that reported, and there is none yet"
    )
    study.tell(study.ask(), 1.0)  # complete, but without a report
    hopeless, _ = running(study, {first_step: -9.0})
    assert not hopeless.should_prune()
    told([1.0] * 10)
    hopeless, _ = running(study, {first_step: -9.0})
    assert hopeless.should_prune()
    assert pruner.grid_of(study).max_epochs == 10
    told([1.0] * 15)  # a longer one
    hopeless, _ = running(study, {first_step + 11: -9.0})
    assert hopeless.should_prune()
    assert pruner.grid_of(study).max_epochs == 15
    told([1.0] * 5)
    assert pruner.grid_of(study).max_epochs == 15


def test_of_learnt_length_it_decides_as_with_the_number() -> None:
    curves = drawn_curves(40, seed=12)
    lengths = [replay(new_study(pruner), curves) for pruner in (SRMPruner("auto"), SRMPruner(EPOCHS))]
    assert lengths[0] == lengths[1]
    assert min(lengths[0]) < EPOCHS


def test_a_learnt_length_has_the_brackets_of_optunas_pruner() -> None:
    ours, theirs = FHyperbandPruner("auto", threshold=1.0), HyperbandPruner()
    study, as_optuna = new_study(ours, name="brackets"), new_study(theirs, name="brackets")
    assert ours.bracket_of(study, 3) == 0
    curves = drawn_curves(30, seed=13)
    replay(study, curves)
    replay(as_optuna, curves)
    brackets = [theirs._get_bracket_id(as_optuna, trial) for trial in as_optuna.trials]
    assert [ours.bracket_of(study, number) for number in range(30)] == brackets
    assert set(brackets) == {0, 1, 2}


def test_a_length_that_is_not_learnt_may_still_diverge() -> None:
    for pruner in (SRMPruner("auto"), FHyperbandPruner("auto")):
        assert running(new_study(pruner), [1.0, NAN])[0].should_prune()


def test_in_one_line_it_is_the_replayed_rule() -> None:
    curves = np.array(drawn_curves(60, seed=5))
    study = CurveSet("drawn", 0, curves, np.zeros((60, 1)), "maximize")
    pruner = SRMPruner(EPOCHS, **BY_VALUE, n_startup_trials=0, first_step=1)
    assert ended_at(study, pruner).tolist() == SearchReplay(study, POLICIES["predictive-rank"](combine="raw")).ended_at.tolist()


def test_for_a_budget_two_of_three_end_at_each_rung() -> None:
    # By hand: the second is worse than the first; the third is the best and goes on; the fourth is the second of four at epoch 1,
    # the first rung, where one may go on.
    lengths = replay(new_study(SRMPruner(EPOCHS, goal="budget")), [curve_of(level) for level in (0.5, 0.1, 0.9, 0.7)])
    assert lengths == [EPOCHS, 1, EPOCHS, 1]
    with pytest.raises(ValueError, match="give either a goal or a policy"):
        SRMPruner(EPOCHS, goal="budget", policy="rank")


def test_a_process_that_comes_late_decides_alike() -> None:
    curves = drawn_curves(60, seed=6)
    at_once = new_study(SRMPruner(EPOCHS, min_curves=8))
    lengths = replay(at_once, curves)
    in_parts = new_study(SRMPruner(EPOCHS, min_curves=8))
    late = []
    for part in (curves[:25], curves[25:40], curves[40:]):
        in_parts.pruner = SRMPruner(EPOCHS, min_curves=8)  # as a new process has it
        late += replay(in_parts, part)
    assert late == lengths
    assert min(lengths) < EPOCHS


def test_running_trials_count_too() -> None:
    study = new_study(SRMPruner(EPOCHS, **BY_VALUE, n_startup_trials=0))
    others = [running(study, curve_of(1.0)[:9])[0] for _ in range(6)]
    assert running(study, curve_of(-2.0)[:9])[0].should_prune()
    assert len(others) == 6


def test_startup_trials_run_to_their_end_without_a_fallback() -> None:
    falling = [curve_of(level) for level in np.linspace(1, -2, 12)]
    lengths = replay(new_study(SRMPruner(EPOCHS, **BY_VALUE, n_startup_trials=8)), falling)
    assert lengths[:8] == [EPOCHS] * 8
    assert max(lengths[8:]) < EPOCHS


def test_a_fallback_decides_until_there_is_a_prediction() -> None:
    pruner = SRMPruner(EPOCHS, policy="threshold", min_curves=8, n_startup_trials=3, fallback=ThresholdPruner(lower=0.0))
    study = new_study(pruner)
    assert replay(study, [[1.0, -1.0, 1.0]]) == [2]
    trial, _ = running(study, [1.0, -1.0])
    assert "ThresholdPruner prunes" in pruner.explain(trial).reason
    study.tell(trial, state=TrialState.PRUNED)
    replay(study, drawn_curves(12, seed=7))
    trial, _ = running(study, [*curve_of(3.0)[:4], -0.1, *curve_of(3.0)[5:10]])
    assert not trial.should_prune()  # the models see a good curve; ThresholdPruner looks at the last value, which is good too
    assert "ThresholdPruner" not in pruner.explain(trial).reason


def test_min_resource_and_interval_say_when_it_asks() -> None:
    study = new_study(NopPruner())
    replay(study, [curve_of(1.0)] * 8)
    pruner = SRMPruner(EPOCHS, policy="median", min_resource=4, interval=3)
    asked = []
    trial = study.ask()
    for step, value in enumerate(curve_of(-2.0)):
        trial.report(value, step)
        if pruner.prune(study, study.get_trials()[-1]):
            asked.append(step + 1)
    assert asked[:4] == [4, 7, 10, 13]


def test_a_coarse_grid_asks_at_the_first_report_after_an_interval() -> None:
    study = new_study(SRMPruner(EPOCHS, policy="median", min_resource=4, interval=3))
    replay(study, [curve_of(1.0)] * 8)
    pruner = study.pruner
    verdicts = []
    trial = study.ask()
    for step in (0, 2, 8, 9, 14):  # epochs 1, 3, 9, 10, 15
        trial.report(-1.0, step)
        verdicts.append(pruner.prune(study, study.get_trials()[-1]))
    assert verdicts == [False, False, True, True, True]


def test_the_thesis_is_one_constant() -> None:
    """The same rule and predictor as `THESIS` has for a study."""
    for pruner in (SRMPruner(20, **THESIS_PRUNER), FHyperbandPruner(20, **THESIS_PRUNER).srm):
        assert pruner._settings == StudySettings("optuna", 20, **THESIS)


def test_rank_is_how_many_best_final_values_may_be_missed() -> None:
    """A curve that will end between the best and the third best of 12 continues only with rank 3."""
    verdicts = {}
    for rank in (1, 3):
        pruner = SRMPruner(EPOCHS, policy="threshold", rank=rank, min_curves=8)
        study = new_study(NopPruner())
        replay(study, [curve_of(0.1 * i) for i in range(12)])
        _, frozen = running(study, curve_of(1.05)[:12])
        verdicts[rank] = pruner.prune(study, frozen)
    assert verdicts == {1: True, 3: False}


def test_between_two_decision_points_the_study_is_not_read() -> None:
    class Counting(optuna.storages.InMemoryStorage):
        n_reads = 0

        def get_all_trials(self, *args: Any, **options: Any) -> list[optuna.trial.FrozenTrial]:
            self.n_reads += 1
            return super().get_all_trials(*args, **options)

    storage = Counting()
    settings: dict[str, Any] = {"combine": "raw", "shares": [0.25, 0.5]}
    study = new_study(SRMPruner(EPOCHS, policy="predictive-rank", policy_settings=settings), storage=storage)
    replay(study, drawn_curves(10, seed=15))
    trial = study.ask()
    read_after = []
    for step, value in enumerate(curve_of(3.0)[:-1]):
        trial.report(value, step)
        before = storage.n_reads
        assert not trial.should_prune()
        read_after += [step + 1] * (storage.n_reads > before)
    assert read_after == [1, 5, 10]  # its first epoch, and the decision points


def test_a_finished_trial_costs_one_fit_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Counted(LastSeenValue):
        def fit(self, curves: Sequence[LearningCurve]) -> Self:
            sizes.append(len(curves))
            return super().fit(curves)

    monkeypatch.setitem(cast("dict[str, Any]", PREDICTORS), "last-seen", lambda **settings: Counted())
    replay(new_study(SRMPruner(EPOCHS, policy="threshold", predictor="last-seen", min_curves=8)), drawn_curves(40, seed=16))
    assert sizes
    assert sizes == sorted(set(sizes))  # never twice on the same number of curves


@pytest.mark.parametrize("every", [3, 5])
def test_trials_with_a_step_grid_of_their_own_are_compared(every: int) -> None:
    study = new_study(SRMPruner(EPOCHS, **BY_VALUE))
    replay(study, drawn_curves(20, seed=8))
    coarse = replay(study, [curve_of(-2.0), curve_of(3.0)], steps=lambda step: step % every == every - 1)
    assert coarse[0] < EPOCHS
    assert coarse[1] == EPOCHS
    assert replay(study, [curve_of(-2.0), curve_of(4.0)])[1] == EPOCHS


def test_missing_values_in_between_do_no_harm() -> None:
    study = new_study(SRMPruner(EPOCHS, **BY_VALUE))
    replay(study, drawn_curves(20, seed=9))
    trial, _ = running(study, {0: 0.5, 1: NAN, 2: 1.2, 9: 4.0})
    assert not trial.should_prune()


def test_the_predicted_value_is_near_the_one_it_comes_to() -> None:
    pruner = SRMPruner(EPOCHS, min_curves=10, n_startup_trials=30)
    study = new_study(pruner)
    replay(study, drawn_curves(24, seed=10, noise=0.002))
    trial, _ = running(study, curve_of(0.5)[:10])
    assert pruner.predicted_value(trial) == pytest.approx(curve_of(0.5)[-1], abs=0.05)
    assert pruner.predicted_value(study.ask()) is None
    assert SRMPruner(EPOCHS).predicted_value(running(new_study(NopPruner()), [1.0])[0]) is None


@pytest.mark.parametrize("maximize", [True, False])
def test_an_objective_may_return_the_predicted_value(maximize: bool) -> None:
    pruner, sign = SRMPruner(EPOCHS, min_curves=8), 1 if maximize else -1
    study = new_study(pruner, maximize=maximize)

    def objective(trial: optuna.Trial) -> float:
        level = trial.suggest_float("level", -1, 1)
        for step, value in enumerate(curve_of(level)):
            trial.report(sign * value, step)
            if trial.should_prune():
                return pruner.value_or_prune(trial)
        return sign * curve_of(level)[-1]

    study.optimize(objective, n_trials=40)
    cut_short = [t for t in study.trials if STOPPED_AT in t.user_attrs]
    assert len(cut_short) > 5
    for trial in cut_short:
        assert trial.state == TrialState.COMPLETE
        assert trial.value == pytest.approx(trial.user_attrs[PREDICTED])
        assert trial.value == pytest.approx(sign * curve_of(trial.params["level"])[-1], abs=0.3)
        assert trial.last_step == trial.user_attrs[STOPPED_AT]
        assert "chance to end as the best" in trial.user_attrs[REASON]
    assert study.best_trial.last_step == EPOCHS - 1
    assert pruner.predicted_value(running(study, [sign * v for v in curve_of(0.0)[:10]])[0]) is not None


@pytest.mark.skipif(not hasattr(optuna.Trial, "set_constraint"), reason="trials have constraints of their own from Optuna 5 on")
@pytest.mark.parametrize("maximize", [True, False])
def test_the_best_value_of_a_study_is_never_a_prediction(maximize: bool) -> None:
    """Also where the prediction is better than all complete trials, or only as good as the best that is feasible."""
    sign = 1 if maximize else -1
    pruner = SRMPruner(EPOCHS, predictor="last-seen", min_curves=6)
    study = new_study(pruner, maximize=maximize)
    for number in range(8):
        trial = study.ask()
        for step in range(EPOCHS):
            trial.report(sign * float(number), step)
        # Only the worst half is feasible: the best value of the study is 3.
        trial.set_constraint("size", 1.0 if number > 3 else -1.0)
        study.tell(trial, sign * float(number))
    assert study.best_value == sign * 3.0
    for reported in (2.5, 3.0, 6.0, 100.0):
        trial, _ = running(study, [sign * reported] * 5)
        trial.set_constraint("size", -1.0)
        value = pruner.value_or_prune(trial)
        study.tell(trial, value)
        assert study.best_value == sign * 3.0
        assert value == (sign * 2.5 if reported == 2.5 else math.nextafter(sign * 3.0, -sign * math.inf))
        assert study.trials[-1].user_attrs[PREDICTED] == sign * reported


@pytest.mark.skipif(not hasattr(optuna.Trial, "set_constraint"), reason="trials have constraints of their own from Optuna 5 on")
def test_without_a_real_best_trial_no_prediction_is_returned() -> None:
    pruner = SRMPruner(EPOCHS, predictor="last-seen", min_curves=6)
    study = new_study(pruner)
    for number in range(8):
        trial, _ = running(study, [float(number)] * EPOCHS)
        trial.set_constraint("size", 1.0)
        study.tell(trial, float(number))
    trial, _ = running(study, [0.5] * 5)
    with pytest.raises(optuna.TrialPruned):
        pruner.value_or_prune(trial)


def test_without_a_prediction_it_prunes_as_ever() -> None:
    pruner = SRMPruner(EPOCHS)
    with pytest.raises(optuna.TrialPruned):
        pruner.value_or_prune(running(new_study(pruner), [1.0])[0])


def test_every_stop_has_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    pruner = SRMPruner(EPOCHS, **BY_VALUE)
    study = new_study(pruner)
    replay(study, drawn_curves(20, seed=11))
    trial, _ = running(study, curve_of(-2.0)[:10])
    with caplog.at_level(logging.INFO, logger="curvestop"):
        assert trial.should_prune()
    assert pruner.explain(trial).reason in caplog.text
    assert pruner.explain(trial).reason.startswith("rank 17 of 17 at epoch 10, the best 15 continue")
    assert "diverged" in pruner.explain(running(study, [NAN])[0]).reason
    assert pruner.explain(study.ask()).reason == "nothing was reported yet"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_epochs": 0}, "max_epochs must be >= 1"),
        ({"max_epochs": 15.0}, "max_epochs must be a whole number >= 1, but got 15.0"),
        ({"max_epochs": True}, "max_epochs must be a whole number >= 1, but got True"),
        ({"min_resource": 11}, "min_resource must be at most max_epochs = 10, or nothing is pruned, but got 11"),
        ({"min_curves": 8.0}, "min_curves must be a whole number >= 6, but got 8.0"),
        ({"interval": 2.5}, "interval must be a whole number >= 1, but got 2.5"),
        ({"max_epochs": "all"}, "max_epochs must be a number of epochs or 'auto', but got 'all'"),
        ({"max_epochs": "auto", "server": "localhost:1"}, "max_epochs must be a number with a server"),
        ({"policy": "guess"}, "policy must be one of"),
        ({"threshold": 2.0}, "threshold must be in"),
        ({"min_resource": 0}, "min_resource must be >= 1, but got 0"),
        ({"interval": 0}, "interval must be >= 1, but got 0"),
        ({"first_step": -1}, "first_step must be >= 0, but got -1"),
        ({"n_startup_trials": -1}, "n_startup_trials must be >= 0, but got -1"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SRMPruner(**{"max_epochs": 10, **settings})


# f-Hyperband.


@pytest.mark.parametrize(("epochs", "least", "eta"), [(81, 1, 3), (20, 1, 3), (50, 2, 2), (243, 1, 3), (100, 7, 4)])
def test_brackets_are_those_of_optuna(epochs: int, least: int, eta: int) -> None:
    ours = FHyperbandPruner(epochs, min_resource=least, reduction_factor=eta)
    theirs = HyperbandPruner(least, epochs, eta)
    study = new_study(ours, name="brackets")
    _, frozen = running(study, [1.0])
    theirs.prune(study, frozen)  # makes its brackets
    for number in range(200):
        frozen.number = number
        assert ours.bracket_of(study, number) == theirs._get_bracket_id(study, frozen)


def test_samplers_see_the_trials_of_one_bracket() -> None:
    seen: list[int] = []

    class Watching(optuna.samplers.RandomSampler):
        def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            seen.append(len(study.get_trials(deepcopy=False)))

    study = optuna.create_study(pruner=FHyperbandPruner(EPOCHS), sampler=Watching(), study_name="filtered")
    replay(study, drawn_curves(30, seed=12))
    assert max(seen) < 30


def test_it_stops_inside_a_rung_what_hyperband_stops_at_its_end() -> None:
    curves = drawn_curves(150, seed=13, noise=0.001)
    theirs = replay(new_study(HyperbandPruner(max_resource=EPOCHS)), curves)
    ours = replay(new_study(FHyperbandPruner(EPOCHS, min_curves=8)), curves)
    assert sum(ours) < 0.95 * sum(theirs)
    assert ours[:5] == theirs[:5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_resource": 11}, "min_resource must be in 1..max_epochs = 10, but got 11"),
        ({"max_epochs": 10.0}, "max_epochs must be a whole number >= 1, but got 10.0"),
        ({"reduction_factor": 1}, "reduction_factor must be >= 2, but got 1"),
        ({"kappa": 0}, "kappa must be finite and > 0, but got 0"),
    ],
)
def test_invalid_settings_of_hyperband_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FHyperbandPruner(**{"max_epochs": 10, **settings})


def test_an_unknown_argument_is_told_of_the_class_that_was_called() -> None:
    with pytest.raises(
        TypeError, match="FHyperbandPruner got an unexpected keyword argument 'n_warmup_steps'; of SRMPruner it takes"
    ):
        FHyperbandPruner(10, n_warmup_steps=3)
    with pytest.raises(TypeError, match=r"SRMPruner.__init__\(\) got an unexpected keyword argument 'n_warmup_steps'"):
        SRMPruner(10, n_warmup_steps=3)  # type: ignore[call-arg]


# A server.


def test_a_server_predicts_for_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ServerProcess(tmp_path) as server:
        monkeypatch.setenv("CURVESTOP_TOKEN", server.token)
        storage = f"sqlite:///{tmp_path}/s.db"
        settings: dict[str, Any] = {"server": server.address, **BY_VALUE}
        first, second = (new_study(SRMPruner(EPOCHS, **settings), storage=storage, name="shared") for _ in range(2))
        curves = drawn_curves(12, seed=14)
        replay(first, curves[:8])
        replay(second, curves[8:])
        lengths = replay(second, [curve_of(-2.0), curve_of(3.0)])
        assert lengths[0] < EPOCHS
        assert lengths[1] == EPOCHS
        same = StudySettings("shared", EPOCHS, **BY_VALUE)
        with connect(server.address, same, token=server.token, deadline_s=10.0) as remote:
            known = {t.trial: t for t in remote.trials()}
        assert len(known) == 14
        assert all(known[str(t.number)].state != "running" for t in first.trials[:-1])
        assert known["0"].values == pytest.approx(curves[0])


def test_another_optuna_study_of_the_same_name_is_an_error_at_its_first_report(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data") as server:

        def script(epochs: int = EPOCHS) -> optuna.Study:
            pruner = SRMPruner(epochs, server=server.address, token=server.token)
            study = optuna.create_study(study_name="search", direction="maximize", pruner=pruner)
            replay(study, [curve_of(1.0), curve_of(2.0)])
            return study

        script()
        with pytest.raises(ValueError, match="study 'search' on the server has 1 trial of another Optuna study of that name"):
            script()
        with pytest.raises(ValueError, match=f"study 'search' exists with max_epochs={EPOCHS}, but got {EPOCHS + 1}"):
            script(EPOCHS + 1)


def test_a_server_that_is_gone_stops_nothing(tmp_path: Path) -> None:
    pruner = SRMPruner(EPOCHS, server="127.0.0.1:9", token="none", n_startup_trials=0)
    assert replay(new_study(pruner), [curve_of(1.0), curve_of(-2.0)]) == [EPOCHS, EPOCHS]
