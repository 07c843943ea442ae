"""`SRMPruner`: an Optuna pruner that ends a trial whose learning curve predicts that it will not be among the best."""

from __future__ import annotations

import hashlib
import logging
import math
import threading
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from weakref import WeakKeyDictionary

import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from curvestop.clients.optuna.step_check import StepCheck
from curvestop.clients.optuna.study_sync import StudySync, Target
from curvestop.clients.optuna.trial_curves import PREDICTED, REASON, STOPPED_AT, Reports, StepGrid, final_value
from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.grid import Grid
from curvestop.srm.plural import plural
from curvestop.srm.policies.registry import JSON
from curvestop.srm.policies.stopping_rule import Direction, StoppingRule
from curvestop.srm.second_chances import SecondChance
from curvestop.srm.settings import DEFAULT_REFIT_GROWTH, THESIS, Goal, StudySettings, default_rule, policy_for
from curvestop.srm.study import Study
from curvestop.srm.study_like import StudyOfMany
from curvestop.srm.validation import is_name, whole_number

FindTarget = Callable[[StudySync], Target]
"""Returns what a trial must beat, and at which epoch, once the study is up to date."""

LENGTH_UNKNOWN = 10**9
"""Stands for the length of a complete trial until max_epochs="auto" has learnt it."""

THESIS_PRUNER: Mapping[str, Any] = {
    "policy": THESIS["policy"],
    "threshold": THESIS["rule"].threshold,
    "min_curves": THESIS["rule"].min_curves,
    "predictor": THESIS["predictor"],
    "refit_growth": THESIS["refit_growth"],
}
"""The thesis's settings, `THESIS`, as keyword arguments of `SRMPruner` and `FHyperbandPruner`."""

_log = logging.getLogger(__name__)


@dataclass
class _StudyState:
    """The pruner's knowledge of one Optuna study.

    Attributes:
        sync: The curvestop study.
        steps: Looks at the steps that are reported.
        answers: Trial number -> (number of reports, the decision after them).
        continued_at: Trial number -> the epoch at which the policy last let the trial continue.
        lock: Held while `sync` is used.
    """

    sync: StudySync
    steps: StepCheck
    answers: dict[int, tuple[int, Decision | None]] = field(default_factory=dict)
    continued_at: dict[int, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class SRMPruner(BasePruner):
    """Prune a trial when its learning curve says that it will not be among the best.

    The pruner learns from the trials that trained to their end where a curve ends, and its policy compares a trial with all
    others. It knows nothing but `study.get_trials()`, so it may be copied, pickled and used by any number of threads and
    processes.

    Values at steps that were not reported lie on a straight line. A trial whose last reported value is not finite has diverged
    and is pruned; an earlier value that is not finite counts as not reported. Nothing else is pruned after the report of the
    last epoch, or where no complete trial went further. Steps that do not fit `max_epochs` and `first_step` are warned of once.

    Args:
        max_epochs: Number of epochs (or of steps, of which few may be reported), in 1..10^9, of a trial that is not pruned. The
            objective's result counts as the value after the last one. "auto": the largest last step of the complete trials, as
            with `optuna.pruners.HyperbandPruner`; nothing but a diverged trial is pruned before one is complete. Not with a
            server.
        goal: Chooses the policy where none is named. "trials": `n_trials` are given, lose none of the best. "budget": a time or a
            number of epochs is given, and as many trials as fit in; then bold rungs ("asha") try more of them. Default: "trials".
        policy: Name of the rule that prunes; see `StudySettings`. "learned" prunes a trial whose chance to end as the best is
            too small; "predictive-rank" compares a trial's rank, by value and by prediction, with the ranks that the best
            trials had at the same epoch; "saving" prunes so much that a stated share of the epochs is saved; "risk" keeps to a
            stated risk; "threshold" prunes when the final value is no better than the incumbent's with probability
            `threshold`. Default: "learned", or that of the goal.
        policy_settings: Arguments of the policy by name. Default: those of the policy; for "learned" {"risk": 0.03}, the share
            of searches in which the best trial may be lost.
        threshold: Probability in (0, 1] from which policy "threshold" prunes; higher prunes less. Default: 0.95.
        tolerance: Difference >= 0 to the value to beat that still counts as no better, in the metric's unit. Default: 0.
        rank: Which of the best final values is the one to beat, >= 1. Default: 1, the best.
        min_curves: Complete trials, >= 6, before any final value is predicted. Default: 8; 20 for policy
            "threshold".
        n_startup_trials: Complete trials, >= 0, before the policy decides. Default: 5, or 0 with the goal "budget"; policy
            "learned" prunes nothing before 5 itself, unless 20 others are as far as the trial.
        fallback: A pruner that decides before `n_startup_trials`, and while there is no prediction. Default: none; then nothing
            is pruned before `n_startup_trials`, and later the policy compares values only.
        min_resource: First epoch, >= 1, after which a trial may be pruned. Default: 1.
        interval: Number of epochs, >= 1, between two decisions about a trial. Default: 1.
        first_step: The step, >= 0, that a trial reports after its first epoch. Default: 0; 1 for `range(1, max_epochs + 1)`.
        predictor: Name of the predictor, a key of `curvestop.srm.predictors.registry.PREDICTORS`. Default: "stacked".
        predictor_settings: Arguments of the predictor by name. Default: those of the predictor.
        refit_growth: As of `StudySettings`. Default: 1.2.
        server: Address HOST:PORT of a server that predicts for all processes. Default: every process predicts for itself.
        token: Token of the server. Default: found as `connect` finds it; prefer the variable CURVESTOP_TOKEN.

    Attributes:
        grid: The map from Optuna's steps to epochs. With max_epochs="auto" that of a study has a last epoch: `grid_of(study)`.

    Raises:
        ValueError: If an argument is out of its range, or a policy, predictor or one of their settings does not exist.

    Examples:
        >>> import optuna
        >>> from curvestop import SRMPruner
        >>> def objective(trial):
        ...     level = trial.suggest_float("level", 0, 1)
        ...     for epoch in range(10):
        ...         trial.report(level * (1 - 0.7 ** (epoch + 1)), epoch)
        ...         if trial.should_prune():
        ...             raise optuna.TrialPruned
        ...     return level
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> sampler = optuna.samplers.RandomSampler(seed=0)
        >>> study = optuna.create_study(direction="maximize", sampler=sampler, pruner=SRMPruner(max_epochs=10))
        >>> study.optimize(objective, n_trials=20)
        >>> any(trial.state.name == "PRUNED" for trial in study.trials)
        True
    """

    def __init__(
        self,
        max_epochs: int | Literal["auto"],
        *,
        goal: Goal = "trials",
        policy: str | None = None,
        policy_settings: Mapping[str, JSON] | None = None,
        threshold: float = 0.95,
        tolerance: float = 0.0,
        rank: int = 1,
        min_curves: int | None = None,
        n_startup_trials: int | None = None,
        fallback: BasePruner | None = None,
        min_resource: int = 1,
        interval: int = 1,
        first_step: int = 0,
        predictor: str = "stacked",
        predictor_settings: Mapping[str, float] | None = None,
        refit_growth: float = DEFAULT_REFIT_GROWTH,
        server: str | None = None,
        token: str | None = None,
    ) -> None:
        self._is_auto = max_epochs == "auto"
        if isinstance(max_epochs, str):
            if not self._is_auto:
                raise ValueError(f"max_epochs must be a number of epochs or 'auto', but got {max_epochs!r}")
            if server is not None:
                raise ValueError("max_epochs must be a number with a server, as all processes must have the same, but got 'auto'")
            max_epochs = LENGTH_UNKNOWN
        policy, policy_settings = policy_for(goal, policy, policy_settings or {})
        if n_startup_trials is None:
            n_startup_trials = 0 if goal == "budget" else 5
        self._n_startup_trials = whole_number("n_startup_trials", n_startup_trials, least=0)
        self._min_resource = whole_number("min_resource", min_resource)
        self._interval = whole_number("interval", interval)
        self._settings = StudySettings(
            name="optuna",
            max_epochs=max_epochs,
            rule=StoppingRule(
                threshold=threshold,
                tolerance=tolerance,
                rank=rank,
                min_curves=default_rule(policy).min_curves if min_curves is None else min_curves,
            ),
            predictor=predictor,
            predictor_settings=predictor_settings or {},
            refit_growth=refit_growth,
            policy=policy,
            policy_settings=policy_settings,
        )
        if self._min_resource > self._settings.max_epochs:
            most = self._settings.max_epochs
            raise ValueError(f"min_resource must be at most max_epochs = {most}, or nothing is pruned, but got {min_resource!r}")
        self.grid = StepGrid(self._settings.max_epochs, whole_number("first_step", first_step, least=0))
        self._fallback, self._server, self._token = fallback, server, token
        self._reset()

    # Called by Optuna.

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Return whether the trial should end now.

        Args:
            study: The Optuna study.
            trial: The trial, as the storage has it, after its last report.
        """
        self.check_steps(study, trial)
        return not self._is_between_decision_points(study, trial) and self.decide(study, trial).stop

    # Called by the objective.

    def explain(self, trial: optuna.Trial) -> Decision:
        """Return the decision after a trial's last report, with its reason, probability and prediction; make one if needed.

        Args:
            trial: The running trial.
        """
        frozen = _frozen(trial)
        return self.remembered(trial.study, frozen) or self.decide(trial.study, frozen)

    def predicted_value(self, trial: optuna.Trial) -> float | None:
        """Return the predicted final value of a running trial; None if there is no model for it.

        Args:
            trial: The running trial.

        Returns:
            The value after the last epoch, in the metric's unit; it may be better than that of the best complete trial.
        """
        prediction = self.predict(trial.study, _frozen(trial))
        return None if prediction is None else prediction.mean

    def value_or_prune(self, trial: optuna.Trial) -> float:
        """Return the predicted final value, for an objective to return instead of raising `TrialPruned`.

        The sampler then learns from pruned trials too:

            if trial.should_prune():
                return pruner.value_or_prune(trial)

        The value is always worse than that of the best trial, feasible if there are constraints, that trained to its end: so
        `study.best_value` is never a prediction.
        The trial's user attributes keep step, prediction and reason; by them the pruner knows that the value is not a final one.

        Args:
            trial: The running trial.

        Raises:
            optuna.TrialPruned: If there is no prediction, or the study's best trial is not one that trained to its end.
        """
        frozen = _frozen(trial)
        prediction, best = self.predict(trial.study, frozen), _best_real_value(trial.study)
        if prediction is None or best is None:
            raise optuna.TrialPruned("there is no prediction of the final value, or no complete trial that is better")
        worse, worst = (min, -math.inf) if trial.study.direction == StudyDirection.MAXIMIZE else (max, math.inf)
        # One float below (above) the best, if the prediction is better.
        value = worse(math.nextafter(best, worst), prediction.mean)
        trial.set_user_attr(STOPPED_AT, frozen.last_step)
        trial.set_user_attr(PREDICTED, prediction.mean)
        trial.set_user_attr(REASON, self.explain(trial).reason)
        return value

    # Called between two calls of `optimize`, by `curvestop.clients.optuna.second_chances`.

    def second_chances(self, study: optuna.Study, n: int = 5) -> list[SecondChance]:
        """Return the pruned trials that most likely end as the best after all, the most promising first.

        Args:
            study: The Optuna study.
            n: Most trials to return, >= 1.

        Raises:
            ValueError: If n < 1, or the policy states no chances (only "learned" does).
            ConnectionError: If a server predicts, and it does not answer.
        """
        state = self._synced(study, asking=-1)  # -1 is no trial: all running ones are sent
        with state.lock:
            return state.sync.study.second_chances(n)

    def study_of(self, study: optuna.Study) -> StudyOfMany:
        """Return the curvestop study that decides for an Optuna study, with all that the storage has.

        Args:
            study: The Optuna study.
        """
        return self._synced(study, asking=-1).sync.study  # -1 is no trial: all running ones are sent

    # The same for frozen trials, as `FHyperbandPruner` uses it.

    def check_steps(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Warn, once in a study, if a trial's steps do not fit `max_epochs` and `first_step`.

        With max_epochs="auto" no step is too large; beyond what was learnt, look for a longer complete trial.

        Args:
            study: The Optuna study.
            trial: The trial, as the storage has it, after its last report.
        """
        state = self._state_of(study)
        state.steps.see(trial)
        if self._is_auto and trial.last_step is not None and trial.last_step > state.sync.grid.last_step:
            self._synced(study, asking=trial.number)

    def grid_of(self, study: optuna.Study) -> StepGrid:
        """Return the map from an Optuna study's steps to epochs."""
        return self._state_of(study).sync.grid

    def is_at_end(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Return whether a trial reported the last epoch: then nothing is left to save."""
        grid = self.grid_of(study)
        return trial.last_step is not None and grid.epoch(trial.last_step) == grid.max_epochs

    def decide(self, study: optuna.Study, trial: FrozenTrial, find_target: FindTarget | None = None) -> Decision:
        """Decide whether a trial should continue, and remember the decision.

        Args:
            study: The Optuna study.
            trial: The trial, as the storage has it.
            find_target: Returns a value to beat before the last epoch; None to ask the policy.
        """
        decision = self._decide_alone(self.grid_of(study).reports(trial))
        if decision is None:
            state = self._synced(study, asking=trial.number)
            with state.lock:
                decision = self._decide_in_study(state, trial, find_target)
            if decision.prediction is None and not decision.stop and self._fallback is not None:
                decision = self._fallback_decision(self._fallback.prune(study, trial), decision)
        self.remember(study, trial, decision)
        return decision

    def remembered(self, study: optuna.Study, trial: FrozenTrial) -> Decision | None:
        """Return the decision made since the trial's last report; None if there is none.

        Args:
            study: The Optuna study.
            trial: The trial, as the storage has it. Only decisions of this process are remembered.
        """
        # By the number of reports: after another report the decision is outdated.
        n_reports, decision = self._state_of(study).answers.get(trial.number, (-1, None))
        return decision if n_reports == len(trial.intermediate_values) else None

    def remember(self, study: optuna.Study, trial: FrozenTrial, decision: Decision) -> None:
        """Keep a decision for `explain`, and log a stop.

        Args:
            study: The Optuna study.
            trial: The trial, as the storage has it; the decision holds until it reports again.
            decision: The decision.
        """
        self._state_of(study).answers[trial.number] = (len(trial.intermediate_values), decision)
        if decision.stop:
            _log.info("trial %d is pruned after step %s: %s", trial.number, trial.last_step, decision.reason)

    def predict(self, study: optuna.Study, trial: FrozenTrial) -> Prediction | None:
        """Predict a trial's final value; None if there is no model for it.

        Args:
            study: The Optuna study, whose other trials the models learn from.
            trial: The trial, as the storage has it.
        """
        state = self._synced(study, asking=trial.number)
        with state.lock:
            return state.sync.predict(trial)

    # Deciding.

    def _is_between_decision_points(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Return whether the policy cannot stop the trial after this epoch, so that the storage need not be read."""
        continued_at = self._state_of(study).continued_at.get(trial.number)
        step = trial.last_step
        # A server must get all values; a fallback may prune after any epoch.
        if continued_at is None or step is None or self._server is not None or self._fallback is not None:
            return False
        steps = self.grid_of(study)
        grid, epoch = Grid(steps.max_epochs), steps.epoch(step)
        if not math.isfinite(trial.intermediate_values[step]) or epoch == steps.max_epochs:
            return False
        points = self._settings.stopping.decision_points(len(grid))
        before, now = (bisect_right(points, grid.n_points(at)) for at in (continued_at, epoch))
        return continued_at < epoch and before == now

    def _decide_alone(self, reports: Reports) -> Decision | None:
        """Return the decision that needs no other trials; None if they are needed."""
        epoch, first, every = reports.last_epoch, self._min_resource, self._interval
        if epoch == 0:
            return Decision.carry_on("nothing was reported yet")
        if reports.diverged:
            return Decision(stop=True, reason=f"the metric of epoch {epoch} is not a finite number: the trial diverged")
        if epoch == reports.grid.max_epochs:
            return Decision.carry_on(f"epoch {epoch} is reached: nothing is left to save")
        if epoch < first:
            return Decision.carry_on(f"no trial is pruned before epoch {first} (min_resource)")
        # Trials may skip epochs, so the first report at or after each multiple of the interval is the one that asks.
        before = ([0, *reports.values])[-2]
        if before >= first and (epoch - first) // every == (before - first) // every:
            return Decision.carry_on(f"decisions are made every {plural(every, 'epoch')} from epoch {first} (interval)")
        return None

    def _decide_in_study(self, state: _StudyState, trial: FrozenTrial, find_target: FindTarget | None) -> Decision:
        sync = state.sync
        last_epoch = sync.grid.reports(trial).last_epoch
        if sync.n_complete < self._n_startup_trials:
            return Decision.carry_on(f"{sync.n_complete} of {self._n_startup_trials} startup trials are complete")
        if self._is_auto and sync.grid.max_epochs == LENGTH_UNKNOWN:
            return Decision.carry_on("max_epochs='auto' is learnt from a complete trial that reported, and there is none yet")
        if sync.n_complete and last_epoch >= sync.furthest:
            return Decision.carry_on(f"no complete trial went beyond epoch {sync.furthest}: nothing is left to save")
        if find_target is not None:
            return sync.ask(trial, find_target(sync))
        decision = sync.ask(trial)
        if not decision.stop:  # a stop is final, so it must be answered again at every report
            state.continued_at[trial.number] = last_epoch
        return decision

    def _fallback_decision(self, stop: bool, instead_of: Decision) -> Decision:
        verb = "prunes" if stop else "continues"
        return Decision(stop, f"{type(self._fallback).__name__} {verb}, as there is no prediction: {instead_of.reason}")

    # The Optuna studies that use this pruner.

    def _synced(self, study: optuna.Study, *, asking: int) -> _StudyState:
        """Return the knowledge of a study after sending what its storage has; see `StudySync.sync`."""
        trials, state = study.get_trials(deepcopy=False), self._state_of(study)
        if self._is_auto:
            longest, known = max(map(self._last_epoch_if_complete, trials), default=0), state.sync.grid.max_epochs
            if longest > (0 if known == LENGTH_UNKNOWN else known):
                # The first complete trial, or a longer one: what was learnt on another grid does not fit any more.
                with self._lock:
                    state = self._studies[study] = self._new_state(study, longest)
        with state.lock:
            state.sync.sync(trials, asking=asking)
        return state

    def _last_epoch_if_complete(self, trial: FrozenTrial) -> int:
        step = None if final_value(trial) is None else trial.last_step
        return 0 if step is None else self.grid.epoch(step)

    def _state_of(self, study: optuna.Study) -> _StudyState:
        with self._lock:
            state = self._studies.get(study)
            if state is None:
                state = self._studies[study] = self._new_state(study, self.grid.max_epochs)
        return state

    def _new_state(self, study: optuna.Study, max_epochs: int) -> _StudyState:
        name, grid = _valid_name(study.study_name), replace(self.grid, max_epochs=max_epochs)
        settings = replace(self._settings, name=name, direction=_direction(study), max_epochs=max_epochs)
        sync = StudySync(self._connect(settings), grid, is_shared=self._server is not None)
        if self._server is not None:
            sync.look_at_server(lambda: study.get_trials(deepcopy=False))
        return _StudyState(sync, StepCheck(self.grid))

    def _connect(self, settings: StudySettings) -> StudyOfMany:
        if self._server is None:
            return Study(settings)
        from curvestop.clients.remote.remote_study import connect  # imported here, as it loads gRPC

        return connect(self._server, settings, token=self._token)

    def _reset(self) -> None:
        # Weak keys: a pruner that serves one study after another does not keep them alive.
        self._lock = threading.Lock()
        self._studies: WeakKeyDictionary[optuna.Study, _StudyState] = WeakKeyDictionary()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_studies")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()


def _direction(study: optuna.Study) -> Direction:
    return "maximize" if study.direction == StudyDirection.MAXIMIZE else "minimize"


def _best_real_value(study: optuna.Study) -> float | None:
    """Return `study.best_value`; None without one, or if it is not that of a trial that trained to its end."""
    try:
        return final_value(study.best_trial)
    except ValueError:  # no trial is complete, or none of them feasible
        return None


def _frozen(trial: optuna.Trial) -> FrozenTrial:
    return trial.study.get_trials(deepcopy=False)[trial.number]  # a running trial has no public way to its frozen self


def _valid_name(name: str) -> str:
    """Return a study's name, or its hash if our studies do not accept the name."""
    return name if is_name(name) else hashlib.sha256(name.encode(errors="backslashreplace")).hexdigest()
