"""The contract of stopping policies: what every `StudyLike` does with the policy of its settings, here or on a server."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from curvestop.srm.curve import Decision
from curvestop.srm.policies.predictive_rank import PredictiveRank
from curvestop.srm.policies.shadow import Shadow
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.settings import StudySettings
from curvestop.srm.study_like import StudyLike
from tests.contracts import ONE_SIGMA, MakeStudy

EPOCHS = 10


EVERY_POLICY: Mapping[str, Mapping[str, Any]] = {
    "learned": {},
    "learned, bold": {"risk": 0.5, "min_others": 1, "min_completed": 1},
    "predictive-rank": {},
    "predictive-rank, mean": {"combine": "mean", "protected": 0, "start": 0.1, "keep": [0.1, 0.1]},
    "predictive-rank, raw": {"combine": "raw", "protected": 0, "start": 0.01, "keep": [0.01, 0.01]},
    "risk": {"risk": 0.2},
    "saving": {"saving": 0.9},
    "threshold": {"threshold": 0.01, "min_curves": 6},
    "rank": {"keep": [0.01, 0.01], "min_arrivals": 1},
    "asha": {},
    "successive-halving": {"pool": 4},
    "median": {"min_trials": 1},
    "median, all": {"over": "all", "min_trials": 1},
    "i-epoch": {"keep": 0.01},
    "patience": {"share": 0.1},
    "any": {"rules": [{"name": "patience", "share": 0.2}, {"name": "rank"}, {"name": "asha"}]},
    "all": {"rules": [{"name": "patience", "share": 0.2}, {"name": "patience", "share": 0.1}]},
    "shadow": {"rule": {"name": "asha"}},
}
"""Every policy by name (what comes after a comma only tells settings apart), most of them as bold as their settings allow."""


def settings(**changes: Any) -> StudySettings:
    """The rank policy after 1, 2, ... epochs. The last-seen value ranks nothing, so no answer depends on when a fit was done."""
    defaults = {"policy": "predictive-rank", "predictor": "last-seen", "rule": StoppingRule(min_curves=6)}
    return StudySettings(**{"name": "s", "max_epochs": EPOCHS, **defaults, **changes})


def rising(level: float, epochs: int = EPOCHS) -> list[float]:
    """A curve whose place among others like it never changes."""
    return [level * epoch / epochs for epoch in range(1, epochs + 1)]


def train(study: StudyLike, trial: str, values: Sequence[float]) -> tuple[int, Decision]:
    """Train until the end or a stop: epochs run, and the last answer."""
    for epoch, value in enumerate(values, start=1):
        decision = study.report(trial, [value], first_epoch=epoch)
        if decision.stop:
            study.finish(trial, "stopped")
            break
    return epoch, decision


def with_complete(study: StudyLike, n: int) -> StudyLike:
    """n trials that ran whole, at levels 1, 2, ..., n; nobody asked whether to stop them."""
    for level in range(1, n + 1):
        study.report(f"complete-{level}", rising(level), ask=False)
    return study


def drawn(n: int, seed: int) -> dict[str, list[float]]:
    """Rising curves with noise, by trial."""
    rng = random.Random(seed)
    levels = {f"t{i}": rng.gauss(1, 0.3) for i in range(n)}
    return {trial: [y + rng.gauss(0, 0.03) for y in rising(level)] for trial, level in levels.items()}


class PolicyContract:
    """Beside `StudyContract`, which has the fixture `make`."""

    def settle(self, study: StudyLike) -> None:
        raise NotImplementedError

    def test_the_default_states_its_chance_and_stops_what_has_none(self, make: MakeStudy) -> None:
        study = with_complete(make(StudySettings("s", EPOCHS, predictor="last-seen")), 4)
        early = study.report("early", [0.0])
        assert not early.stop
        assert early.reason.startswith("stops nothing before 1 more trial is complete; ")
        study.finish("early", "stopped")
        with_complete(study, 12)
        self.settle(study)
        epochs, decision = train(study, "hopeless", rising(0.0))
        assert decision.stop
        assert epochs < EPOCHS
        assert decision.chance is not None
        assert 0 < decision.chance < 0.01
        assert f"rank 13 of 14 at epoch {epochs} of 10" in decision.reason
        assert " chance to end as the best (rank " in decision.reason
        epochs, decision = train(study, "best", rising(13))
        assert epochs == EPOCHS

    def test_the_default_decides_once_at_each_of_its_epochs(self, make: MakeStudy) -> None:
        study = make(StudySettings("s", 100, predictor="last-seen"))
        for level in range(1, 9):
            study.report(f"complete-{level}", rising(level, 100), ask=False)
        self.settle(study)
        answers = {epoch: study.report("best", rising(9, 100)[epoch - 1 : epoch], first_epoch=epoch) for epoch in range(1, 101)}
        decided = [epoch for epoch, decision in answers.items() if "rank 1 of 9 at epoch" in decision.reason]
        assert decided == [5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90]
        assert {answers[epoch].reason for epoch in range(1, 100) if epoch not in decided} == {
            "between two decision points of the policy"
        }

    @pytest.mark.parametrize("policy", EVERY_POLICY)
    def test_a_trial_that_is_complete_is_never_told_to_stop(self, make: MakeStudy, policy: str) -> None:
        study = with_complete(self.of_policy(make, policy), 30)
        self.settle(study)
        decision = study.report("bad", rising(0.0))
        assert (decision.stop, decision.would_stop) == (False, False)
        assert decision.reason == "epoch 10 is reached: nothing is left to predict"

    def of_policy(self, make: MakeStudy, policy: str, **changes: Any) -> StudyLike:
        """A study with one of `EVERY_POLICY`."""
        policy_settings = dict(EVERY_POLICY[policy])
        rule = StoppingRule(min_curves=policy_settings.pop("min_curves", 6))
        name = policy.partition(",")[0]
        return make(StudySettings("s", EPOCHS, policy=name, policy_settings=policy_settings, rule=rule, **changes))

    @pytest.mark.parametrize("policy", EVERY_POLICY)
    def test_where_all_trials_are_equal_none_is_stopped(self, make: MakeStudy, policy: str) -> None:
        study = self.of_policy(make, policy, direction="minimize")
        for number in range(12):
            for epoch in range(1, EPOCHS + 1):
                decision = study.report(f"t{number}", [0.3], first_epoch=epoch, configuration={"lr": 0.1 * number})
                assert (decision.stop, decision.would_stop) == (False, False), decision.reason
        self.settle(study)
        assert not study.report("late", [0.3]).stop

    @pytest.mark.parametrize("policy", EVERY_POLICY)
    def test_nothing_is_stopped_while_all_trials_read_the_same(self, make: MakeStudy, policy: str) -> None:
        """All read 0 for four of ten epochs, then rise as high as their configuration says."""
        study = self.of_policy(make, policy)
        for number in range(16):
            level = number * 7 % 16
            values = [0.0] * 4 + [level * epoch / 6 for epoch in range(1, 7)]
            for epoch, value in enumerate(values, start=1):
                decision = study.report(f"t{number}", [value], first_epoch=epoch, configuration={"level": float(level)})
                assert not decision.stop or epoch > 4, (number, epoch, decision.reason)
                if decision.stop:
                    study.finish(f"t{number}", "stopped")
                    break
            self.settle(study)

    def test_the_default_says_that_nothing_differs(self, make: MakeStudy) -> None:
        study = make(StudySettings("s", EPOCHS, predictor="last-seen"))
        for number in range(6):
            study.report(f"t{number}", [0.5] * EPOCHS)
        assert study.report("a", [0.5]).reason == "all trials are equal at epoch 1: nothing is stopped where nothing differs"

    @pytest.mark.parametrize("policy", EVERY_POLICY)
    def test_a_diverged_trial_among_equal_ones_is_stopped(self, make: MakeStudy, policy: str) -> None:
        study = self.of_policy(make, policy)
        for number in range(4):
            study.report(f"t{number}", [0.0] * EPOCHS)
        assert study.report("diverged", [0.0, float("nan")]).stop

    def test_in_a_rung_an_equal_trial_is_as_good(self, make: MakeStudy) -> None:
        """No curve ever changes, so the last-seen value predicts without spread: 0.5 is as good as 0.5, 0.4 surely is not."""
        study = make(settings())
        for number in range(1, 7):
            study.report(f"t{number}", [number / 10] * EPOCHS)
        self.settle(study)
        tie, worse = study.report("tie", [0.5], value_to_beat=0.5), study.report("worse", [0.4], value_to_beat=0.5)
        assert (tie.stop, tie.probability) == (False, 0.0)
        assert (worse.stop, worse.probability) == (True, 1.0)

    def test_the_rank_policy_stops_what_is_hopeless_without_a_warm_up(self, make: MakeStudy) -> None:
        study = with_complete(make(StudySettings("s", 20, policy="predictive-rank")), 0)
        for level in range(1, 6):
            assert train(study, f"good-{level}", rising(level, 20))[0] == 20
        epochs, decision = train(study, "hopeless", rising(0.5, 20))
        assert epochs == 1
        assert decision.reason == (
            "rank 6 of 6 at epoch 1, the best 5 continue (no forecast yet: fewer than 8 curves reached epoch 20: 5 so far)"
        )
        assert train(study, "promising", rising(6, 20))[0] == 20

    def test_minimises_by_the_policy(self, make: MakeStudy) -> None:
        study = with_complete(make(settings(direction="minimize")), 5)
        assert train(study, "high", rising(9))[0] == 1
        assert train(study, "low", rising(0.5))[0] == EPOCHS

    def test_the_top_k_are_protected(self, make: MakeStudy) -> None:
        strict = {"start": 0.01, "keep": [0.01, 0.01], "protected": 3}
        study = with_complete(make(settings(policy_settings=strict)), 6)
        assert train(study, "third", rising(4.5))[0] == EPOCHS
        assert train(study, "fourth", rising(4.4))[0] == 1

    def test_shadow_mode_stops_nothing_and_says_what_it_would_have_stopped(self, make: MakeStudy) -> None:
        study = with_complete(make(settings(shadow=True)), 6)
        first = study.report("hopeless", [0.0])
        assert (first.stop, first.would_stop) == (False, True)
        assert first.reason.startswith("shadow mode, would have stopped: rank 7 of 7 at epoch 1")
        assert train(study, "hopeless", rising(0.0))[0] == EPOCHS
        self.settle(study)
        rung = study.report("other", [0.0], value_to_beat=1e6)
        assert not rung.stop
        assert rung.reason.startswith("shadow mode, would have stopped: P(no better than 1e+06")

    def test_a_share_runs_on_for_calibration(self, make: MakeStudy) -> None:
        study = with_complete(make(settings(hold_out=0.5)), 6)
        shadowed = Shadow(PredictiveRank(), hold_out=0.5)
        epochs = {f"hopeless-{i}": train(study, f"hopeless-{i}", rising(1 / i))[0] for i in range(2, 14)}
        assert epochs == {name: EPOCHS if shadowed.is_held_out(name) else 1 for name in epochs}
        assert set(epochs.values()) == {1, EPOCHS}
        assert all(study.settings.is_held_out(name) == (epochs[name] == EPOCHS) for name in epochs)

    def test_the_risk_policy_abstains_until_it_may_stop(self, make: MakeStudy) -> None:
        study = with_complete(make(settings(policy="risk", policy_settings={"risk": 0.1})), 7)
        decision = study.report("a", [0.0])
        assert not decision.stop
        assert decision.reason == "stops nothing yet: a risk of 0.1 needs 2 more complete trials"
        with_complete(study, 9)
        epochs, decision = train(study, "b", rising(0.0))
        assert epochs < EPOCHS
        assert "at a risk of 0.1" in decision.reason

    @pytest.mark.parametrize("saving", [0.5, 0.75])
    def test_the_saving_policy_saves_what_was_asked_for(self, make: MakeStudy, saving: float) -> None:
        study = make(settings(policy="saving", policy_settings={"saving": saving}))
        curves = drawn(150, seed=1)
        epochs = {trial: train(study, trial, values)[0] for trial, values in curves.items()}
        assert 1 - sum(epochs.values()) / (EPOCHS * len(curves)) == pytest.approx(saving, abs=0.03)
        assert epochs[max(curves, key=lambda trial: curves[trial][-1])] == EPOCHS

    def test_policies_combine(self, make: MakeStudy) -> None:
        either = {"rules": [{"name": "patience", "share": 0.2}, {"name": "rank", "keep": [0.5, 0.5]}]}
        study = with_complete(make(settings(policy="any", policy_settings=either)), 6)
        epochs, decision = train(study, "flat", [9.0] * EPOCHS)
        assert (epochs, decision.reason) == (3, "the best value improved by 0 in the last 2 epochs")
        assert train(study, "bad", rising(0.5))[0] == 1
        both = make(settings(name="both", policy="all", policy_settings=either))
        with_complete(both, 6)
        assert train(both, "flat", [9.0] * EPOCHS)[0] == EPOCHS
        assert train(both, "flat and bad", [0.01] * EPOCHS)[0] == 3

    @pytest.mark.parametrize(("policy", "would_stop"), [("any", True), ("all", False)])
    @pytest.mark.parametrize("shadowed_first", [True, False])
    def test_a_shadow_stop_counts_in_a_combination_as_a_stop_would(
        self, make: MakeStudy, policy: str, would_stop: bool, shadowed_first: bool
    ) -> None:
        shadowed = {"name": "shadow", "shadow": True, "rule": {"name": "rank", "keep": [0.3, 0.3]}}
        patience = {"name": "patience", "share": 0.5}  # never stops a first epoch
        rules = [shadowed, patience] if shadowed_first else [patience, shadowed]
        study = with_complete(make(settings(policy=policy, policy_settings={"rules": rules})), 8)
        decision = study.report("bad", [0.1])
        assert (decision.stop, decision.would_stop) == (False, would_stop)

    def test_a_combination_of_a_stop_and_a_shadow_stop(self, make: MakeStudy) -> None:
        rank = {"name": "rank", "keep": [0.3, 0.3]}
        rules = [{"name": "shadow", "shadow": True, "rule": rank}, {**rank, "n_early": 1}]
        any_study = with_complete(make(settings(name="any", policy="any", policy_settings={"rules": rules})), 8)
        all_study = with_complete(make(settings(name="all", policy="all", policy_settings={"rules": rules})), 8)
        stop, shadow_stop = any_study.report("bad", [0.1]), all_study.report("bad", [0.1])
        assert (stop.stop, stop.would_stop) == (True, False)
        assert (shadow_stop.stop, shadow_stop.would_stop) == (False, True)

    @pytest.mark.parametrize("policy", ["predictive-rank", "rank", "patience", "asha"])
    def test_every_answer_carries_a_prediction_whatever_the_policy(self, make: MakeStudy, policy: str) -> None:
        study = make(settings(policy=policy, max_epochs=2))
        for number, final in enumerate((0.6, 0.4, 0.6, 0.4, 0.6, 0.4)):
            study.report(str(number), [0.5, final])
        study.report("stopped", [0.9])
        study.finish("stopped", "stopped")
        self.settle(study)
        decision = study.report("a", [0.5])
        assert decision.probability == pytest.approx(ONE_SIGMA)  # 0.6 is to beat: the value of the stopped trial is not final
        assert decision.prediction is not None
        assert decision.prediction.mean == 0.5
        assert (decision.n_curves, decision.model_epoch) == (6, 1)
        assert decision.reason

    def test_trials_side_by_side_are_ranked_by_who_came_first(self, make: MakeStudy) -> None:
        study = make(settings(policy="rank", policy_settings={"keep": [0.5, 0.5], "min_arrivals": 3}))
        levels: Mapping[str, float] = {"a": 4, "b": 2, "c": 3, "d": 1, "e": 5}
        answers = {trial: study.report(trial, rising(level)[:1]).stop for trial, level in levels.items()}
        # "d" is the first with three others, all better. After two epochs only "a", "b" and "c" came before "e".
        assert answers == {"a": False, "b": False, "c": False, "d": True, "e": False}
        seconds = {trial: study.report(trial, rising(levels[trial])[1:2], first_epoch=2).stop for trial in "abce"}
        assert seconds == {"a": False, "b": False, "c": False, "e": False}
        assert study.report("late", rising(1.0)[:2]).stop  # both decision points at once: behind all four at the later one

    def test_a_trial_that_reports_every_second_epoch_is_judged(self, make: MakeStudy) -> None:
        study = with_complete(make(settings()), 6)
        decision = study.report("a", [0.0], first_epoch=2)
        assert decision.stop
        assert "at epoch 2" in decision.reason
        assert decision.reason.endswith("; the trial made 1 report so far")

    def test_questions_about_a_rung_are_for_the_rule_and_do_not_use_up_a_look(self, make: MakeStudy) -> None:
        study = with_complete(make(settings()), 6)
        self.settle(study)
        rung = study.report("a", [0.0], value_to_beat=-99.0)
        assert rung.reason.startswith("P(no better than -99 at epoch 10) = 0.000")
        assert not rung.stop
        assert study.report("a", []).reason.startswith("rank 7 of 7 at epoch 1")
