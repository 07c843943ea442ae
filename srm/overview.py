"""What came of a study: the best trial, a summary, a table, and how a notebook shows it. All of it is read from `trials()`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from curvestop.srm.curve import Configuration
from curvestop.srm.overview_html import html_of
from curvestop.srm.plural import plural
from curvestop.srm.settings import StudySettings
from curvestop.srm.trial import Trial, TrialState

if TYPE_CHECKING:
    import pandas as pd

N_REASONS = 3
"""Number of reasons in a summary."""


@dataclass(frozen=True)
class BestTrial:
    """The best trial of a study.

    Attributes:
        trial: Its name.
        value: Its final value; if no trial is complete yet, the latest value of one that runs.
        configuration: Hyper-parameters and architecture numbers by name.
        is_final: Whether the trial is complete.
    """

    trial: str
    value: float
    configuration: Configuration
    is_final: bool = True


@dataclass(frozen=True)
class StudySummary:
    """What came of a study so far.

    Attributes:
        settings: Settings of the study.
        n_by_state: Number of trials by state; one that was told to stop and did not report since counts as stopped.
        epochs_trained: Epochs of all trials together.
        epochs_saved: Epochs between the end of each stopped trial and the epoch that its stop was about.
        best: The best trial; None before the first value.
        reasons: `(trial, reason)` of the last trials that were stopped; before the first stop, of the last decisions.
    """

    settings: StudySettings
    n_by_state: Mapping[TrialState, int]
    epochs_trained: int
    epochs_saved: int
    best: BestTrial | None
    reasons: tuple[tuple[str, str], ...]

    @property
    def n_trials(self) -> int:
        """Number of all trials."""
        return sum(self.n_by_state.values())

    @property
    def n_stopped(self) -> int:
        """Number of stopped trials."""
        return self.n_by_state.get("stopped", 0)

    @property
    def saved_share(self) -> float:
        """The saved epochs as a share of these and the trained ones, in [0, 1]."""
        return self.epochs_saved / (self.epochs_saved + self.epochs_trained) if self.epochs_saved else 0.0

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """What a person reads first, as `(label, text)`."""
        states = ", ".join(f"{n} {state}" for state, n in self.n_by_state.items())
        lines = [("trials", f"{self.n_trials}" + (f" ({states})" if states else ""))]
        if self.best is not None:
            lines.append(("best", self._best_text(self.best)))
        axis = self.settings.axis
        saved = f", {axis.number(self.epochs_saved)} saved ({self.saved_share:.0%})" if self.epochs_saved else ""
        lines.append((f"{axis.unit}s", f"{axis.number(self.epochs_trained)} trained{saved}"))
        lines += [("stopped" if self.n_stopped else "going on", f"{trial}: {reason}") for trial, reason in self.reasons]
        return tuple(lines)

    def __str__(self) -> str:
        return "\n".join([f"study {self.settings.name!r}", *(f"  {label:8}  {text}" for label, text in self.lines)])

    def _best_text(self, best: BestTrial) -> str:
        so_far = "" if best.is_final else " so far"
        configuration = ", ".join(f"{name}={_shown(value)}" for name, value in best.configuration.items())
        return f"{self.settings.metric} {best.value:.6g}{so_far}, trial {best.trial!r}" + (
            configuration and f" ({configuration})"
        )


def summary_of(settings: StudySettings, trials: Sequence[Trial]) -> StudySummary:
    """Return what came of a study.

    Args:
        settings: Its settings.
        trials: All its trials.
    """
    by_state: dict[TrialState, int] = {}
    for state in ("finished", "stopped", "running", "failed"):
        n = sum(_state(trial) == state for trial in trials)
        if n:
            by_state[state] = n
    decided = [(trial.trial, trial.decision.reason) for trial in trials if trial.is_stopped and trial.decision]
    decided = decided or [(trial.trial, trial.decision.reason) for trial in trials if trial.decision]
    return StudySummary(
        settings,
        by_state,
        epochs_trained=sum(trial.last_epoch for trial in trials),
        epochs_saved=sum(trial.epochs_saved for trial in trials),
        best=best_of(settings, trials),
        reasons=tuple(decided[-N_REASONS:]),
    )


def best_of(settings: StudySettings, trials: Sequence[Trial]) -> BestTrial | None:
    """Return the best complete trial, the first of equal ones; before the first, the best by the latest value of those that run.

    Args:
        settings: Settings of the study.
        trials: All its trials.
    """
    complete = [trial for trial in trials if is_complete(trial, settings)]
    candidates = complete or [trial for trial in trials if trial.state == "running" and trial.values]
    if not candidates:
        return None
    sign = 1 if settings.direction == "maximize" else -1
    best = max(candidates, key=lambda trial: sign * trial.values[-1])
    return BestTrial(best.trial, best.values[-1], best.configuration, is_final=bool(complete))


def is_complete(trial: Trial, settings: StudySettings) -> bool:
    """Return whether a trial's last value is its final one: it finished, or reached `max_epochs`.

    Args:
        trial: The trial.
        settings: Settings of its study.
    """
    return bool(trial.values) and (trial.state == "finished" or trial.last_epoch >= settings.max_epochs)


class _HasTrials(Protocol):
    @property
    def settings(self) -> StudySettings: ...
    def trials(self) -> tuple[Trial, ...]: ...


class Overview:
    """Mixin that gives every study its best trial, a summary, a table of its trials, and its look in a notebook."""

    @property
    def best(self: _HasTrials) -> BestTrial | None:
        """The best complete trial; before the first one, the best so far (`is_final` is False); None before the first value.

        Examples:
            >>> from curvestop import Study, StudySettings
            >>> study = Study(StudySettings("demo", max_epochs=2))
            >>> for trial, final in enumerate([0.7, 0.9, 0.8]):
            ...     decision = study.report(trial, [0.5, final], configuration={"lr": 10.0**-trial})
            >>> study.best
            BestTrial(trial='1', value=0.9, configuration={'lr': 0.1}, is_final=True)
        """
        return best_of(self.settings, self.trials())

    def summary(self: _HasTrials) -> StudySummary:
        """Return what came of the study so far; printed, it is a few lines.

        Raises:
            ConnectionError: If the study is on a server that does not answer.

        Examples:
            >>> from curvestop import Study, StudySettings
            >>> study = Study(StudySettings("demo", max_epochs=2, metric="accuracy"))
            >>> for trial, final in enumerate([0.7, 0.9, 0.8]):
            ...     decision = study.report(trial, [0.5, final], configuration={"lr": 10.0**-trial}, ask=False)
            ...     state = study.finish(trial)
            >>> print(study.summary())
            study 'demo'
              trials    3 (3 finished)
              best      accuracy 0.9, trial '1' (lr=0.1)
              epochs    6 trained
        """
        return summary_of(self.settings, self.trials())

    def trials_dataframe(self: _HasTrials) -> pd.DataFrame:
        """Return the trials as a pandas data frame, one row for each, in the order of their first report.

        Returns:
            Columns trial, state, value (the last one), epochs, epochs_saved, reason (of the latest decision), and `params_NAME`
            for each name of the configurations, as Optuna calls them.

        Raises:
            ModuleNotFoundError: If pandas is not installed.
            ConnectionError: If the study is on a server that does not answer.
        """
        import pandas as pd  # only here: no other part needs it

        return pd.DataFrame([_row(trial) for trial in self.trials()])

    def _repr_html_(self: _HasTrials) -> str | None:
        """Return the study as a notebook shows it; None, for the plain `repr`, if its server does not answer."""
        try:
            trials = self.trials()
        except (ConnectionError, PermissionError):
            return None
        summary = summary_of(self.settings, trials)
        best = None if summary.best is None else summary.best.trial
        return html_of(self.settings, summary.lines, trials, best=best)


def overview_line(settings: StudySettings, trials: Sequence[Trial]) -> str:
    """Return trials, stops and the best value in a few words, for a `repr`.

    Args:
        settings: Settings of the study.
        trials: All its trials.
    """
    summary = summary_of(settings, trials)
    best = summary.best
    shown = "" if best is None else f", best {settings.metric} {best.value:.6g}{'' if best.is_final else ' so far'}"
    return f"{plural(summary.n_trials, 'trial')}, {summary.n_stopped} stopped{shown}"


def _state(trial: Trial) -> TrialState:
    return "stopped" if trial.is_stopped else trial.state


def _row(trial: Trial) -> dict[str, Any]:
    return {
        "trial": trial.trial,
        "state": _state(trial),
        "value": trial.values[-1] if trial.values else None,
        "epochs": trial.last_epoch,
        "epochs_saved": trial.epochs_saved,
        "reason": None if trial.decision is None else trial.decision.reason,
        **{f"params_{name}": value for name, value in trial.configuration.items()},
    }


def _shown(value: bool | int | float | str) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
