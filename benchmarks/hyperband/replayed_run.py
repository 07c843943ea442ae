"""Whole runs of Hyperband and f-Hyperband on replayed curves: the scheduler and the study that `hyperband run` drives."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from benchmarks.curves import CurveFile
from curvestop.hyperband.scheduler.rung_history import CutoffRecall
from curvestop.hyperband.scheduler.synchronous import FHyperband
from curvestop.hyperband.scheduler.trials import RungOpened
from curvestop.srm.curve import Configuration
from curvestop.srm.model_cache import due_size
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study

Array = npt.NDArray[np.float64]

ETA = 3
RESOURCES = (81, 27, 18, 9)
"""R is the first of these that the curves of a set reach."""


@dataclass(frozen=True)
class Setting:
    """One way to run f-Hyperband. recall: None is Algorithm 2 to the letter. min_curves: the paper's d, where models begin."""

    name: str
    threshold: float = 0.95
    kappa: float = 1.0
    recall: CutoffRecall | None = None
    predictor: str = "stacked"
    min_curves: int = 20


@dataclass(frozen=True)
class Table:
    """Curves to draw from. values: `(n, R)` in the metric, all finite: the first R epochs of each."""

    curve_set: CurveFile
    values: Array
    configurations: tuple[Configuration, ...]

    @staticmethod
    def of(curve_set: CurveFile) -> Table | None:
        """None when no run is long enough."""
        resource = next((r for r in RESOURCES if r <= curve_set.n_epochs), None)
        if resource is None:
            return None
        configurations = tuple(curve.configuration for curve in curve_set.learning_curves())
        return Table(curve_set, curve_set.scored()[:, :resource], configurations)

    @property
    def max_epochs(self) -> int:
        return int(self.values.shape[1])


@dataclass(frozen=True)
class Course:
    """How one run went: `(n_iterations,)` each, by the end of every iteration. best: in the metric."""

    epochs: Array
    best: Array


@dataclass
class _Draws:
    """Draws rows of a table, with replacement or each once before any again, and remembers which."""

    table: Table
    rng: np.random.Generator
    with_replacement: bool
    rows: list[int] = field(default_factory=list)
    _left: list[int] = field(default_factory=list)

    def __call__(self) -> Configuration:
        if self.with_replacement:
            self.rows.append(int(self.rng.integers(0, len(self.table.values))))
        else:
            self._left = self._left or self.rng.permutation(len(self.table.values)).tolist()
            self.rows.append(self._left.pop())
        return self.table.configurations[self.rows[-1]]


def replay(table: Table, setting: Setting | None, seed: int, *, n_iterations: int, with_replacement: bool = True) -> Course:
    """One run. setting: None for plain Hyperband, which draws the same configurations for the same seed.

    Models are searched for when a rung begins, at the numbers of curves at which a study searches; the refits at known
    settings that it makes in between are left out, as they cost more than they change.
    """
    draws = _Draws(table, np.random.default_rng(seed), with_replacement)
    study = None if setting is None else Study(_study_settings(table, setting), fit="deferred")
    scheduler = FHyperband(
        draws,
        max_epochs=table.max_epochs,
        eta=ETA,
        study=study,
        direction=table.curve_set.direction,
        kappa=setting.kappa if setting else 1.0,
        n_iterations=n_iterations,
        recall=setting.recall if setting else None,
    )
    epochs, best = np.zeros(n_iterations), np.full(n_iterations, -np.inf)
    row_of: dict[str, int] = {}
    iteration = 0
    sign = 1.0 if table.curve_set.direction == "maximize" else -1.0
    while (job := scheduler.ask()) is not None:
        for event in scheduler.take_events():
            if isinstance(event, RungOpened):
                row_of |= dict(zip(event.trials, draws.rows[-len(event.trials) :], strict=True)) if event.index == 0 else {}
                iteration = event.iteration
                search_models(study)
        values = table.values[row_of[job.trial]]
        epoch = job.first_epoch
        while not scheduler.report(job.trial, float(values[epoch - 1])).stop:
            epoch += 1
        scheduler.job_over(job.trial)
        epochs[iteration] += epoch - job.first_epoch + 1
        if epoch == table.max_epochs:
            best[iteration] = max(best[iteration], sign * values[-1])
    return Course(np.cumsum(epochs), sign * np.maximum.accumulate(best))


def _study_settings(table: Table, setting: Setting) -> StudySettings:
    return StudySettings(
        "replay",
        max_epochs=table.max_epochs,
        direction=table.curve_set.direction,
        rule=StoppingRule(threshold=setting.threshold, min_curves=setting.min_curves),
        predictor=setting.predictor,
        log_scaled=table.curve_set.log_scaled,
    )


def search_models(study: Study | None) -> None:
    """Fit the models that are due, at the numbers of curves at which a study searches their settings."""
    if study is None:
        return
    first, growth = study.settings.rule.min_curves, study.settings.refit_growth
    sizes = {target: due_size(study.book.n_reached(target), first=first, growth=growth) for target in study.forecasts.targets()}
    if any(size > study.forecasts.n_fitted(target) for target, size in sizes.items()):
        for job in study.forecasts.due():
            if job.known is None:
                study.forecasts.install(job.run())
