"""Ray Tune: `SRMStopper` and `SRMScheduler` stop trials whose learning curves predict that they will not be among the best.

    tune.Tuner(train, tune_config=tune.TuneConfig(metric="accuracy", mode="max", scheduler=SRMScheduler(max_t=50)))
    tune.Tuner(train, run_config=tune.RunConfig(stop=SRMStopper(max_t=50, metric="accuracy", mode="max")))

For Ray 2.40 (where `RunConfig` is in `ray.train`) and later. Tune saves and restores a stopper's state, but no scheduler's, so
`SRMScheduler` writes its own file beside Tune's.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from curvestop.clients.driver import TrialDriver
from curvestop.srm.configuration import flattened
from curvestop.srm.curve import Decision
from curvestop.srm.policies.stopping_rule import Direction
from curvestop.srm.resource import TIME_UNITS, Axis, axis_of, singular
from curvestop.srm.second_chances import SecondChance
from curvestop.srm.settings import StudySettings
from curvestop.srm.study_like import ResumableStudy
from curvestop.srm.validation import check_keywords, is_finite

try:
    from ray.tune import Stopper
    from ray.tune.schedulers import FIFOScheduler, TrialScheduler
except ImportError as error:
    raise ImportError("curvestop.clients.ray_tune needs Ray Tune: pip install 'curvestop[ray]'") from error

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

Mode = Literal["max", "min"]

DIRECTIONS: Mapping[str, Direction] = {"max": "maximize", "min": "minimize"}

STATE_FILE = "curvestop-scheduler.json"
"""Name of the scheduler's file in the experiment's folder. Tune copies its .json files to its storage and back."""

_log = logging.getLogger(__name__)


class SRMStopper(Stopper):
    """Stop single trials, in `tune.RunConfig(stop=...)`, beside any scheduler.

    A result without the metric tells a study nothing, but its trial is stopped at `max_t` all the same; the first such result is
    logged as a warning, unless others had the metric. A metric that is not finite stops its trial as diverged. Values between two
    results lie on a straight line, so trials may report at steps of their own. Results that a restored trial repeats
    change nothing. Trials that failed stay running in the study, as Tune may try them again. Each stop is logged with its
    reason. Tune saves and restores this object with its own state.

    Args:
        max_t: Value of `time_attr` at which a trial is complete; it is stopped there.
        metric: Name of the metric in the results; "a/b" is `result["a"]["b"]`.
        mode: "max" if higher is better, or "min".
        study: The address HOST:PORT of a server, or a study object. Default: a study in this process.
        name: Name of the study on the server. Default: a new one, made of the time.
        token: Token of the server. Prefer the variable CURVESTOP_TOKEN: Tune's files never contain the token, so it must be set
            again after a restore.
        time_attr: Name of the result that trials count in. Default: "training_iteration".
        time_step: Amount of `time_attr` in one epoch; a complete trial has max_t / time_step epochs. Default: 1.
        grace_period: Value of `time_attr` before which no trial is stopped. Default: 1.
        **settings: Further `StudySettings` by name: policy, rule, ..., and resource: the unit of `time_attr`, such as "step" for
            "timesteps_total" or "second" for "time_total_s", which needs no `time_step`.

    Raises:
        ValueError: If `max_t` and `time_step` are not finite with max_t >= time_step > 0, `grace_period` is beyond `max_t`,
            `mode` is unknown, or a setting is invalid or contradicts the given study.
        TypeError: If one of the settings is no argument of `StudySettings`.

    Examples:
        >>> stopper = SRMStopper(max_t=3, metric="accuracy", mode="max")
        >>> [stopper("trial-1", {"training_iteration": n, "accuracy": 0.5}) for n in (1, 2, 3)]  # complete at 3
        [False, False, True]
    """

    def __init__(
        self,
        max_t: float,
        *,
        metric: str,
        mode: Mode,
        study: str | ResumableStudy | None = None,
        name: str | None = None,
        token: str | None = None,
        time_attr: str = "training_iteration",
        time_step: float = 1,
        grace_period: float = 1,
        **settings: Any,
    ) -> None:
        self._reporter = _RayReporter(
            type(self).__name__, study, name, token, time_attr, max_t, time_step, grace_period, settings
        )
        self._reporter.set_goal(metric, mode)

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Return whether the trial should end now."""
        # Tune gives a stopper the configuration inside of each result.
        is_last = bool(result.get("done"))
        stop = self._reporter.report(trial_id, result, result.get("config", {}), is_last=is_last)
        # "done": the trial ended by itself; a stopped one is ended by `report`.
        if is_last and not stop:
            self._reporter.driver.end(trial_id)
        return stop

    def stop_all(self) -> bool:
        """Return False: this stopper never ends the whole experiment."""
        return False

    def explain(self, trial_id: str) -> Decision | None:
        """Return the last decision about a trial, with its reason; None before the first one.

        Args:
            trial_id: Tune's id of the trial.
        """
        return self._reporter.driver.decisions.get(trial_id)


class SRMScheduler(FIFOScheduler):
    """Stop trials, in `tune.TuneConfig(scheduler=...)`; trials run in the order in which they come.

    Every event is appended to a file in the experiment's folder as it happens, so `tune.Tuner.restore` continues with the same
    models and stops. A trial that Tune runs again from an older checkpoint is stopped where it was stopped before. See
    `SRMStopper` for how results are read.

    Args:
        max_t: Value of `time_attr` at which a trial is complete; it is stopped there.
        metric: Name of the metric in the results; "a/b" is `result["a"]["b"]`. Default: that of `tune.TuneConfig`.
        mode: "max" if higher is better, or "min". Default: that of `tune.TuneConfig`.
        study: The address HOST:PORT of a server, or a study object. Default: a study in this process.
        name: Name of the study on the server. Default: a new one, made of the time.
        token: Token of the server. Prefer the variable CURVESTOP_TOKEN: Tune's files never contain the token.
        time_attr: Name of the result that trials count in. Default: "training_iteration".
        time_step: Amount of `time_attr` in one epoch; a complete trial has max_t / time_step epochs. Default: 1.
        grace_period: Value of `time_attr` before which no trial is stopped. Default: 1.
        **settings: Further `StudySettings` by name: policy, rule, ..., and resource: the unit of `time_attr`, such as "step" for
            "timesteps_total" or "second" for "time_total_s", which needs no `time_step`.

    Raises:
        ValueError: If `max_t` and `time_step` are not finite with max_t >= time_step > 0, `grace_period` is beyond `max_t`,
            `mode` is unknown, or a setting is invalid or contradicts the given study; with the first trial, if metric or mode is
            still unknown.
        TypeError: If one of the settings is no argument of `StudySettings`.

    Examples:
        >>> from ray import tune
        >>> scheduler = SRMScheduler(max_t=50)
        >>> config = tune.TuneConfig(metric="accuracy", mode="max", num_samples=100, scheduler=scheduler)
    """

    def __init__(
        self,
        max_t: float,
        *,
        metric: str | None = None,
        mode: Mode | None = None,
        study: str | ResumableStudy | None = None,
        name: str | None = None,
        token: str | None = None,
        time_attr: str = "training_iteration",
        time_step: float = 1,
        grace_period: float = 1,
        **settings: Any,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._reporter = _RayReporter(
            type(self).__name__, study, name, token, time_attr, max_t, time_step, grace_period, settings
        )
        self._metric: str | None = metric
        self._mode: str | None = mode
        self._state_path: Path | None = None
        if metric is not None and mode is not None:
            self._reporter.set_goal(metric, mode)

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Take metric and mode from `tune.TuneConfig`; return False if one is given both there and here.

        Args:
            metric: Name of the metric; None if `tune.TuneConfig` has none.
            mode: "max" or "min"; None if `tune.TuneConfig` has none.
            **spec: What later versions of Tune add; not read.
        """
        if (self._metric and metric) or (self._mode and mode):
            return False
        # `set_goal` waits for the first trial: the study is fixed then.
        self._metric, self._mode = self._metric or metric, self._mode or mode
        return True

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Open the experiment's file, and restore from it, when the first trial comes.

        Args:
            tune_controller: Not read.
            trial: The trial, which knows the experiment's folder.

        Raises:
            ValueError: If neither this scheduler nor `tune.TuneConfig` has a metric and a mode.
        """
        if self._reporter.metric is None:
            if self._metric is None or self._mode is None:
                raise ValueError(
                    f"SRMScheduler needs a metric and a mode, but got metric={self._metric!r} and mode={self._mode!r}: "
                    "give them here or in tune.TuneConfig"
                )
            self._reporter.set_goal(self._metric, self._mode)
        self._keep_in(Path(trial.local_experiment_path) / STATE_FILE)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Report a result and return Tune's word for the decision.

        Args:
            tune_controller: Not read.
            trial: The trial, with its configuration.
            result: Its result; one without the metric or `time_attr` tells nothing.
        """
        stop = self._reporter.report(trial.trial_id, result, trial.config, is_last=bool(result.get("done")))
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Mark a trial as ended, by itself or by a stop.

        Args:
            tune_controller: Not read.
            trial: The trial, with its configuration.
            result: Its last result, which may have been reported before.
        """
        # If a criterion of the run ended it, Tune did not give the last result to `on_trial_result`.
        self._reporter.report(trial.trial_id, result, trial.config, is_last=True)
        self._reporter.driver.end(trial.trial_id)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Mark a trial as stopped that Tune removed while it was paused or waiting."""
        self._reporter.driver.end(trial.trial_id, "stopped")

    def debug_string(self) -> str:
        """Return the number of stops and the last reason, for Tune's status output."""
        stops = self._reporter.driver.stops
        last = next(reversed(stops.items()), None)
        return f"Using SRM: {len(stops)} trials stopped" + ("" if last is None else f"; the last, {last[0]}: {last[1].reason}")

    def explain(self, trial_id: str) -> Decision | None:
        """Return the last decision about a trial, with its reason; None before the first one.

        Args:
            trial_id: Tune's id of the trial.
        """
        return self._reporter.driver.decisions.get(trial_id)

    def second_chances(self, n: int = 5) -> list[SecondChance]:
        """Return the stopped trials that most likely end as the best after all, the most promising first.

        Ask when the search is over, and train them on in a second `tune.Tuner`: docs/howto/ray-tune.md has the lines.

        Args:
            n: Most trials to return, >= 1; each by Tune's id of the trial.

        Raises:
            ValueError: If n < 1, or the study's policy states no chances (only "learned" does).
            ConnectionError: If the study is on a server, and it does not answer.
        """
        return self._reporter.driver.second_chances(n)

    def save(self, checkpoint_path: str) -> None:
        """Write all events to a file as JSON lines.

        Args:
            checkpoint_path: Path of the file, which is replaced as a whole.
        """
        self._reporter.driver.save(Path(checkpoint_path))

    def restore(self, checkpoint_path: str) -> None:
        """Replace all events by those of a file that `save` wrote.

        Args:
            checkpoint_path: Path of the file.

        Raises:
            OSError: If it cannot be read.
        """
        self._reporter.driver.restore(Path(checkpoint_path))

    def _keep_in(self, path: Path) -> None:
        """Restore from the experiment's file if it exists, and append all later events to it."""
        # Tune adds all trials one by one, and all have the same experiment folder.
        if path == self._state_path:
            return
        driver = self._reporter.driver
        if path.exists():
            driver.restore(path)
            _log.info("restored %d trials, of which %d were stopped", len(driver.reported), len(driver.stops))
        path.parent.mkdir(parents=True, exist_ok=True)
        driver.keep_in(path)
        self._state_path = path

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles the scheduler too. The file knows more than that pickle, so a restored scheduler reads the file again.
        return {**self.__dict__, "_state_path": None}


class _RayReporter:
    """The part that stopper and scheduler share: read a result and report it to the study's driver.

    Attributes:
        driver: The search's study.
        metric: Name of the metric in the results; None until `set_goal`.
    """

    def __init__(
        self,
        caller: str,
        study: str | ResumableStudy | None,
        name: str | None,
        token: str | None,
        time_attr: str,
        max_t: float,
        time_step: float,
        grace_period: float,
        settings: dict[str, Any],
    ) -> None:
        check_keywords(caller, settings, StudySettings, but_not=("name", "max_epochs", "max_resource", "metric", "direction"))
        if not (_is_number(max_t) and _is_number(time_step) and max_t >= time_step > 0 and is_finite(max_t)):
            raise ValueError(f"max_t must be finite and >= time_step > 0, but got {max_t=!r} and {time_step=!r}")
        if not (_is_number(grace_period) and grace_period <= max_t):
            raise ValueError(f"grace_period must be at most max_t = {max_t!r}, or nothing is stopped, but got {grace_period!r}")
        axis = Axis(ticks=round(max_t / time_step))
        if (resource := singular(settings.get("resource", "epoch"))) in TIME_UNITS:
            axis = axis_of(resource, max_t)
        if not (study is None or isinstance(study, str)):
            if settings or name is not None:
                extra = ", ".join([*settings, *(["name"] if name else [])])
                raise ValueError(f"settings and name must not be given with a study, which has its own, but got {extra}")
            its = study.settings.axis
            axis = axis if its.scaled_to is None else axis_of(its.unit, max_t)
            if its.ticks != axis.ticks:
                raise ValueError(f"max_t / time_step must be the study's {its.span(its.ticks)}, but is {axis.number(axis.ticks)}")
        # A server would take two searches of one name for the same study.
        new_name = f"ray-tune-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        own_settings = StudySettings(name=name or new_name, max_epochs=axis.ticks, max_resource=axis.scaled_to, **settings)
        grace = max(1, round(grace_period * axis.ticks / max_t))  # in epochs
        self.driver = TrialDriver(own_settings, study=study, token=token, step=time_step, grace=grace)
        self._has_given_study = not (study is None or isinstance(study, str))
        self._time_attr, self._max_t = time_attr, max_t
        self._has_metric = False  # whether a result had the metric, or a warning said that it has not
        self.metric: str | None = None

    def set_goal(self, metric: str, mode: str) -> None:
        """Set the metric and its direction; needed before the first result.

        Raises:
            ValueError: If the mode is unknown, or is not the direction of a given study.
        """
        if mode not in DIRECTIONS:
            raise ValueError(f"mode must be 'max' or 'min', but got {mode!r}")
        settings = self.driver.settings
        if not self._has_given_study:
            self.driver.settings = replace(settings, metric=metric, direction=DIRECTIONS[mode])
        elif settings.direction != DIRECTIONS[mode]:
            raise ValueError(f"mode must fit the study, whose direction is {settings.direction!r}, but got {mode!r}")
        self.metric = metric

    def report(self, trial: str, result: Mapping[str, Any], config: Mapping[str, Any], *, is_last: bool) -> bool:
        """Report a result and return whether its trial should end: because the study stops it, or because it is complete."""
        count, value = _number(result, self._time_attr), _number(result, self.metric or "")
        is_complete = count is not None and count >= self._max_t
        stop = False
        if count is None or value is None:
            # Not every result has the metric: a trial may report other things too.
            self._warn_of_what_is_missing(trial, result)
        else:
            self._has_metric = True
            was_stopped = trial in self.driver.stops
            decision = self.driver.report(trial, count, value, config, is_last=is_last)
            stop = decision.stop
            if stop and not was_stopped:  # log each stop once
                _log.info("trial %s is stopped at %s %g: %s", trial, self._time_attr, count, decision.reason)
        # Tune would let a complete trial train on: stopping it here is what ends it.
        if stop or is_complete:
            self.driver.end(trial)
        return stop or is_complete

    def _warn_of_what_is_missing(self, trial: str, result: Mapping[str, Any]) -> None:
        """Warn, once, unless a result had both the metric and the count."""
        if self._has_metric:
            return
        self._has_metric = True  # as if: a second warning would say the same
        missing = [name for name in (self._time_attr, self.metric or "") if _number(result, name) is None]
        unread = [f"; {name!r} is {value!r}, no number" for name in missing if (value := _value(result, name)) is not None]
        there = flattened({name: value for name, value in result.items() if name != "config"})
        numbers = ", ".join(repr(name) for name in sorted(there) if _is_number(there[name]))
        _log.warning(
            "trial %s: its result has no number %s; while none has, nothing is learnt and nothing stopped before max_t. "
            "It has %s%s",
            *(trial, " and ".join(map(repr, missing)), numbers, "".join(unread)),
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _number(result: Mapping[str, Any], name: str) -> float | None:
    """Return a number of a result, flat or nested; None if the result does not have it, or it is no number."""
    value = _value(result, name)
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def _value(result: Mapping[str, Any], name: str) -> Any:
    # A result may be flat, with the key "a/b", or nested.
    value = result.get(name)
    if value is None and "/" in name:
        outer, inner = name.split("/", 1)
        return _value(result[outer], inner) if isinstance(result.get(outer), Mapping) else None
    return value
