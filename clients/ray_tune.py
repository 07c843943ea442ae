"""Ray Tune: `SRMStopper` and `SRMScheduler` stop the trials whose curves say that they will not be among the best.

    tune.Tuner(train, tune_config=tune.TuneConfig(metric="accuracy", mode="max", scheduler=SRMScheduler(max_t=50)))
    tune.Tuner(train, run_config=tune.RunConfig(stop=SRMStopper(max_t=50, metric="accuracy", mode="max")))

For Ray 2.40 (where `RunConfig` is in `ray.train`) and newer. Tune itself keeps a stopper's state, but no scheduler's:
`SRMScheduler` keeps its own beside Tune's.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from curvestop.clients.driver import TrialDriver
from curvestop.srm.curve import Decision
from curvestop.srm.plural import plural
from curvestop.srm.policies.stopping_rule import Direction
from curvestop.srm.settings import StudySettings
from curvestop.srm.trial import StudyLike

try:
    from ray.tune import Stopper
    from ray.tune.schedulers import FIFOScheduler, TrialScheduler
except ImportError as error:
    raise ImportError("the classes for Ray Tune need it: pip install 'curvestop[ray]'") from error

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

Mode = Literal["max", "min"]

DIRECTIONS: Mapping[str, Direction] = {"max": "maximize", "min": "minimize"}

STATE = "curvestop-scheduler.json"
"""The file of a scheduler in the experiment's folder: Tune brings .json files there to the storage, and back on restore."""

_log = logging.getLogger(__name__)


class SRMStopper(Stopper):
    """Stops single trials, in `tune.RunConfig(stop=...)`, beside any scheduler.

    max_t: the count of time_attr at which a trial is over; it is stopped there.
    metric: of the results, as they are reported; "a/b" is `result["a"]["b"]`. mode: "max" or "min".
    study: HOST:PORT of a curvestop service, a study that is used as it is, or None for one of its own in this process.
    name: of the study on the server; without, a new one. token: of the server; better in CURVESTOP_TOKEN, as Tune's files do
    not have it: after a restore it has to be there.
    time_attr: of the results, what trials count in. time_step: how much of it makes an epoch; max_t / time_step epochs is a
    whole trial. Trials may report at steps of their own: between two reports their values lie on a straight line.
    grace_period: the count before which nothing is stopped.
    settings: more of `curvestop.srm.StudySettings`, by name: policy, policy_settings, rule, predictor, ...

    Results without the metric or time_attr are passed over; a metric that is not finite stops its trial as diverged. What a
    trial reports again after it was restored changes nothing. Each stop is logged with its reason, which `explain` gives, too.
    The study is not told of trials that failed: Tune may try them again. Tune keeps the state with its own, and restores it.
    Raises ValueError for settings that make no sense.
    """

    def __init__(
        self,
        max_t: float,
        *,
        metric: str,
        mode: Mode,
        study: str | StudyLike | None = None,
        name: str | None = None,
        token: str | None = None,
        time_attr: str = "training_iteration",
        time_step: float = 1,
        grace_period: float = 1,
        **settings: Any,
    ) -> None:
        self._watch = _RayReporter(study, name, token, time_attr, max_t, time_step, grace_period, settings)
        self._watch.set_goal(metric, mode)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Whether the trial should end now."""
        stop = self._watch.seen(trial_id, result, result.get("config", {}))
        if result.get("done") and not stop:
            self._watch.search.end(trial_id)
        return stop

    def stop_all(self) -> bool:
        """Never: it is about single trials."""
        return False

    def explain(self, trial_id: str) -> Decision | None:
        """The last answer to a trial, with its reason; None before one."""
        return self._watch.search.decisions.get(trial_id)


class SRMScheduler(FIFOScheduler):
    """Stops trials, in `tune.TuneConfig(scheduler=...)`; runs them in the order in which they come.

    Arguments as of `SRMStopper`; metric and mode may come from `tune.TuneConfig`. What it knows is in the experiment's folder,
    written as it happens, so `tune.Tuner.restore` goes on with all that was learnt and every stop; a trial that Tune runs again
    from an older checkpoint is stopped where it was.
    """

    def __init__(
        self,
        max_t: float,
        *,
        metric: str | None = None,
        mode: Mode | None = None,
        study: str | StudyLike | None = None,
        name: str | None = None,
        token: str | None = None,
        time_attr: str = "training_iteration",
        time_step: float = 1,
        grace_period: float = 1,
        **settings: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._watch = _RayReporter(study, name, token, time_attr, max_t, time_step, grace_period, settings)
        self._metric: str | None = metric
        self._mode: str | None = mode
        self._kept_in: Path | None = None
        if metric is not None and mode is not None:
            self._watch.set_goal(metric, mode)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Of `tune.TuneConfig`; False when it was given here and there."""
        if (self._metric and metric) or (self._mode and mode):
            return False
        self._metric, self._mode = self._metric or metric, self._mode or mode
        return True

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        if self._watch.metric is None:
            if self._metric is None or self._mode is None:
                raise ValueError(
                    f"SRMScheduler needs a metric and a mode, its own or those of tune.TuneConfig, "
                    f"but got metric={self._metric!r} and mode={self._mode!r}"
                )
            self._watch.set_goal(self._metric, self._mode)
        self._keep_in(Path(trial.local_experiment_path) / STATE)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        stop = self._watch.seen(trial.trial_id, result, trial.config)
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """By itself, or because it was stopped, here or by a criterion of the run; that keeps the last result from us."""
        self._watch.seen(trial.trial_id, result, trial.config)
        self._watch.search.end(trial.trial_id)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """While it did not run."""
        self._watch.search.end(trial.trial_id, "stopped")

    def debug_string(self) -> str:
        stops = self._watch.search.stops
        last = next(reversed(stops.items()), None)
        return f"Using SRM: {len(stops)} trials stopped" + ("" if last is None else f"; the last, {last[0]}: {last[1].reason}")

    def explain(self, trial_id: str) -> Decision | None:
        """The last answer to a trial, with its reason; None before one."""
        return self._watch.search.decisions.get(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """All that it knows, as JSON lines."""
        self._watch.search.save(Path(checkpoint_path))

    def restore(self, checkpoint_path: str) -> None:
        """Knows what was saved, in place of what it knew."""
        self._watch.search.restore(Path(checkpoint_path))

    def _keep_in(self, file: Path) -> None:
        """From the first trial of an experiment on, new or restored."""
        if file == self._kept_in:
            return
        search = self._watch.search
        if file.exists():
            search.restore(file)
            _log.info("restored: %d trials, %d of them stopped", len(search.curves), len(search.stops))
        file.parent.mkdir(parents=True, exist_ok=True)
        search.keep_in(file)
        self._kept_in = file

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept_in": None}


class _RayReporter:
    """What both have in common: which part of a result counts, and the search that is told of it."""

    def __init__(
        self,
        study: str | StudyLike | None,
        name: str | None,
        token: str | None,
        time_attr: str,
        max_t: float,
        time_step: float,
        grace_period: float,
        settings: dict[str, Any],
    ) -> None:
        if not (max_t >= time_step > 0 and math.isfinite(max_t)):
            raise ValueError(f"max_t must be finite and >= time_step > 0, but got {max_t=!r} and {time_step=!r}")
        max_epochs = round(max_t / time_step)
        if not (study is None or isinstance(study, str)):
            if settings or name is not None:
                raise ValueError(f"a study has its settings and a name, but got {[*settings, *(['name'] if name else [])]} too")
            if study.settings.max_epochs != max_epochs:
                wanted = plural(study.settings.max_epochs, "epoch")
                raise ValueError(f"max_t / time_step must be the study's {wanted}, but is {max_epochs}")
        new = f"ray-tune-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        of_its_own = StudySettings(name=name or new, max_epochs=max_epochs, **settings)
        grace = max(1, round(grace_period / time_step))
        self.search = TrialDriver(of_its_own, study=study, token=token, step=time_step, grace=grace)
        self._has_given_study = not (study is None or isinstance(study, str))
        self._time_attr, self._max_t = time_attr, max_t
        self.metric: str | None = None

    def set_goal(self, metric: str, mode: str) -> None:
        """What the values are, and which are better; known before the first trial."""
        if mode not in DIRECTIONS:
            raise ValueError(f"mode must be 'max' or 'min', but got {mode!r}")
        if not self._has_given_study:
            self.search.settings = replace(self.search.settings, metric=metric, direction=DIRECTIONS[mode])
        elif self.search.settings.direction != DIRECTIONS[mode]:
            raise ValueError(f"mode must be the study's, which is to {self.search.settings.direction}, but got {mode!r}")
        self.metric = metric

    def seen(self, trial: str, result: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
        """Whether a trial with this result is to end: it is stopped, or whole."""
        count, value = _found(result, self._time_attr), _found(result, self.metric or "")
        if count is None or value is None:
            _log.debug("trial %s: a result without %s and %s is passed over", trial, self._time_attr, self.metric)
            return False
        was_stopped = trial in self.search.stops
        decision = self.search.report(trial, count, value, config)
        if decision.stop and not was_stopped:
            _log.info("trial %s is stopped at %s %g: %s", trial, self._time_attr, count, decision.reason)
        if decision.stop or count >= self._max_t:
            self.search.end(trial)
            return True
        return False


def _found(result: Mapping[str, Any], name: str) -> float | None:
    """A number of a result, flat or nested; None when it has none of that name."""
    value: Any = result.get(name)
    if value is None and "/" in name:
        outer, inner = name.split("/", 1)
        return _found(result[outer], inner) if isinstance(result.get(outer), Mapping) else None
    return None if value is None else float(value)
