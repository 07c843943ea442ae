"""`SRMPruner`: an Optuna pruner that stops a trial when its curve says that it will not be among the best.

study = optuna.create_study(pruner=SRMPruner(max_epochs=50))
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import optuna
from optuna.pruners import BasePruner
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from curvestop.clients.optuna.study_sync import StudySync, Target
from curvestop.clients.optuna.trial_curves import PREDICTED, REASON, STOPPED_AT, Grid, Reports, final_value
from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.plural import plural
from curvestop.srm.policies.registry import JSON
from curvestop.srm.policies.stopping_rule import Direction, StoppingRule, nth_best
from curvestop.srm.study import Study, StudyLike, StudySettings
from curvestop.srm.validation import is_name

FindTarget = Callable[[StudySync], Target]
"""Finds what a trial has to beat, and where."""

_log = logging.getLogger(__name__)


@dataclass
class _StudyState:
    """What is known of an Optuna study, and the last answers: by trial number, after how many reports.

    asked: trial number -> epoch after which the policy last let it go on.
    """

    sync: StudySync
    answers: dict[int, tuple[int, Decision | None]] = field(default_factory=dict)
    asked: dict[int, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class SRMPruner(BasePruner):
    """Predicts where a trial's curve ends, from the trials that ran to their end, and prunes it by `policy`.

    max_epochs: T; how many epochs a trial runs that is not pruned. What the objective returns is its final value.
    policy, policy_settings: when to prune, see `curvestop.srm.StudySettings`: "predictive-rank" compares with all other trials,
    raw and predicted; "saving" prunes so much that a stated share of the epochs is saved; "risk" under a stated risk;
    "threshold" (the thesis) prunes when the final value is no better than the incumbent with probability `threshold`.
    threshold, tolerance, rank: what "no better" means; the rank-th best final value, less the tolerance in the metric's unit.
    min_curves: complete trials before anything is predicted.
    n_startup_trials: until so many are complete, and while there are no models, `fallback` decides; without one nothing is
    pruned before n_startup_trials, and the policy decides by what it has (ranks by value) after.
    min_resource: epochs before which nothing is pruned. interval: epochs between two questions.
    first_step: the step that a trial reports after its first epoch: 0, or 1 for `range(1, max_epochs + 1)`.
    server: HOST:PORT of a curvestop service that does the predicting for all processes; without, each does it for itself.
    token: of the server; better in CURVESTOP_TOKEN. predictor: a name of `curvestop.srm.predictors.registry.PREDICTORS`.

    Steps that were not reported lie on a straight line between those that were. A value that is not finite, reported last, is
    a diverged trial and pruned; an earlier one counts as not reported. Raises ValueError for settings that make no sense.

    All it knows comes from `study.get_trials()`: it may be copied, pickled and used by any number of threads and processes.
    """

    def __init__(
        self,
        max_epochs: int,
        *,
        policy: str = "predictive-rank",
        policy_settings: Mapping[str, JSON] | None = None,
        threshold: float = 0.95,
        tolerance: float = 0.0,
        rank: int = 1,
        min_curves: int = 20,
        n_startup_trials: int = 5,
        fallback: BasePruner | None = None,
        min_resource: int = 1,
        interval: int = 1,
        first_step: int = 0,
        predictor: str = "stacked",
        server: str | None = None,
        token: str | None = None,
    ) -> None:
        for name, value, least in (
            ("n_startup_trials", n_startup_trials, 0),
            ("min_resource", min_resource, 1),
            ("interval", interval, 1),
            ("first_step", first_step, 0),
        ):
            if value < least:
                raise ValueError(f"{name} must be >= {least}, but got {value!r}")
        self._settings = StudySettings(
            name="optuna",
            max_epochs=max_epochs,
            rule=StoppingRule(threshold=threshold, tolerance=tolerance, rank=rank, min_curves=min_curves),
            predictor=predictor,
            policy=policy,
            policy_settings=policy_settings or {},
        )
        self.grid = Grid(max_epochs, first_step)
        self._n_startup_trials, self._fallback = n_startup_trials, fallback
        self._min_resource, self._interval = min_resource, interval
        self._server, self._token = server, token
        self._forget()

    # What Optuna calls.

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the trial should end now."""
        return not self._is_between_looks(study, trial) and self.decide(study, trial).stop

    # What people call.

    def explain(self, trial: optuna.Trial) -> Decision:
        """The last answer to a trial of this process, with its reason, probability and prediction; a new one without."""
        frozen = _frozen(trial)
        return self.remembered(trial.study, frozen) or self.decide(trial.study, frozen)

    def predicted_value(self, trial: optuna.Trial) -> float | None:
        """The final value that a running trial is predicted to have; None without a model for it."""
        prediction = self.predict(trial.study, _frozen(trial))
        return None if prediction is None else prediction.mean

    def value_or_prune(self, trial: optuna.Trial) -> float:
        """The predicted final value, for an objective to return in place of `raise TrialPruned`; a sampler learns from it.

            if trial.should_prune():
                return pruner.value_or_prune(trial)

        It is worse than the best trial that ran to its end, so that no trial cut short becomes the study's best one.
        Why and where it was stopped is noted in the trial's user attributes, by which the pruner knows it for no final value.
        Raises TrialPruned without a prediction.
        """
        frozen = _frozen(trial)
        prediction, best = self.predict(trial.study, frozen), self._best(trial.study)
        if prediction is None or best is None:
            raise optuna.TrialPruned("no prediction of the final value")
        worse, worst = (min, -math.inf) if trial.study.direction == StudyDirection.MAXIMIZE else (max, math.inf)
        value = worse(prediction.mean, math.nextafter(best, worst))
        trial.set_user_attr(STOPPED_AT, frozen.last_step)
        trial.set_user_attr(PREDICTED, prediction.mean)
        trial.set_user_attr(REASON, self.explain(trial).reason)
        return value

    # The same, of frozen trials.

    def decide(self, study: optuna.Study, trial: FrozenTrial, target: FindTarget | None = None) -> Decision:
        """As `prune`, with the reason. target: finds a value to beat before the last epoch; None is the policy's question."""
        watched = self._state_of(study)
        decision = self._before_asking(self.grid.reports(trial))
        if decision is None:
            with watched.lock:
                decision = self._asked(watched, study, trial, target)
            if decision.prediction is None and not decision.stop and self._fallback is not None:
                decision = self._fallen_back(self._fallback.prune(study, trial), decision)
        self.note(study, trial, decision)
        return decision

    def remembered(self, study: optuna.Study, trial: FrozenTrial) -> Decision | None:
        """The decision that was kept since the trial's last report."""
        n_reports, decision = self._state_of(study).answers.get(trial.number, (-1, None))
        return decision if n_reports == len(trial.intermediate_values) else None

    def note(self, study: optuna.Study, trial: FrozenTrial, decision: Decision) -> None:
        """Keep a decision for `explain`, and log a stop."""
        self._state_of(study).answers[trial.number] = (len(trial.intermediate_values), decision)
        if decision.stop:
            _log.info("trial %d is pruned after step %s: %s", trial.number, trial.last_step, decision.reason)

    def predict(self, study: optuna.Study, trial: FrozenTrial) -> Prediction | None:
        """Of the final value; None without a model."""
        watched = self._state_of(study)
        with watched.lock:
            watched.sync.sync(study.get_trials(deepcopy=False), asking=trial.number)
            return watched.sync.predict(trial)

    # Deciding.

    def _is_between_looks(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Whether the policy, which let the trial go on, stops nothing after this epoch: the study need not be read."""
        watched, reports = self._state_of(study), self.grid.reports(trial)
        asked = watched.asked.get(trial.number)
        if asked is None or reports.diverged or self._server is not None or self._fallback is not None:
            return False
        looks = self._settings.stopping.decision_points(self.grid.max_epochs)
        return asked < reports.last_epoch and bisect_right(looks, asked) == bisect_right(looks, reports.last_epoch)

    def _before_asking(self, reports: Reports) -> Decision | None:
        """The answer that needs no other trials; None when there is a question."""
        epoch, (first, every) = reports.last_epoch, (self._min_resource, self._interval)
        if epoch == 0:
            return Decision.carry_on("nothing was reported yet")
        if reports.diverged:
            return Decision(stop=True, reason=f"the value of epoch {epoch} is not a finite number: the trial diverged")
        if epoch < first:
            return Decision.carry_on(f"nothing is pruned before epoch {first}")
        before = ([0, *reports.values])[-2]
        if before >= first and (epoch - first) // every == (before - first) // every:
            return Decision.carry_on(f"asked every {plural(every, 'epoch')} from epoch {first} on")
        return None

    def _asked(self, watched: _StudyState, study: optuna.Study, trial: FrozenTrial, target: FindTarget | None) -> Decision:
        sync = watched.sync
        sync.sync(study.get_trials(deepcopy=False), asking=trial.number)
        if sync.n_complete < self._n_startup_trials:
            return Decision.carry_on(f"{sync.n_complete} trials are complete, fewer than {self._n_startup_trials}")
        if target is not None:
            return sync.ask(trial, target(sync))
        decision = sync.ask(trial)
        if not decision.stop:  # a stop is final
            watched.asked[trial.number] = self.grid.reports(trial).last_epoch
        return decision

    def _fallen_back(self, stop: bool, instead_of: Decision) -> Decision:
        verdict = "prunes" if stop else "goes on"
        return Decision(stop, f"{type(self._fallback).__name__} {verdict}, as there is no prediction: {instead_of.reason}")

    def _best(self, study: optuna.Study) -> float | None:
        finals = [v for t in study.get_trials(deepcopy=False) if (v := final_value(t)) is not None]
        return nth_best(finals, 1, _direction(study))

    # The studies it is used in.

    def _state_of(self, study: optuna.Study) -> _StudyState:
        with self._lock:
            watched = self._studies.get(study)
            if watched is None:
                settings = replace(self._settings, name=_valid_name(study.study_name), direction=_direction(study))
                sync = StudySync(self._connect(settings), self.grid, is_shared=self._server is not None)
                watched = self._studies[study] = _StudyState(sync)
        return watched

    def _connect(self, settings: StudySettings) -> StudyLike:
        if self._server is None:
            return Study(settings)
        from curvestop.clients.remote.remote_study import connect  # only here, as it loads gRPC

        return connect(self._server, settings, token=self._token)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._studies: WeakKeyDictionary[optuna.Study, _StudyState] = WeakKeyDictionary()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_lock", "_studies")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()


def _direction(study: optuna.Study) -> Direction:
    return "maximize" if study.direction == StudyDirection.MAXIMIZE else "minimize"


def _frozen(trial: optuna.Trial) -> FrozenTrial:
    return trial.study.get_trials(deepcopy=False)[trial.number]


def _valid_name(name: str) -> str:
    """The name, or, where it is none for a study of ours, its hash."""
    return name if is_name(name) else hashlib.sha256(name.encode(errors="backslashreplace")).hexdigest()
