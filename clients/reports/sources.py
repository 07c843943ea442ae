"""Any study as one plain structure, `StudyView`: in this process, on a server, of Optuna, or a backtest."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Union

from curvestop.clients.reports.study_log import StudyFollower, StudyView
from curvestop.proto.entries import Decided, Ended, Entry, Observed, Resumed, TrialAdded
from curvestop.srm.policies.stopping_rule import Direction
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study

if TYPE_CHECKING:
    import optuna

    from curvestop.clients.backtest.backtesting import Backtest
    from curvestop.clients.remote.remote_study import RemoteStudy

Source = Union[Study, "RemoteStudy", "optuna.Study", "Backtest", StudyView]
"""What can be drawn and reported."""


def view_of(source: Source) -> StudyView:
    """Return a study as reports and plots read it.

    Args:
        source: A study in this process or on a server; an Optuna study, whose decisions are known if this process made them with
            `SRMPruner`; or the result of a backtest: its runs in their recorded order, as the default policy sees them in shadow
            mode, so that what it would have stopped stands beside what came of it.

    Raises:
        TypeError: If it is none of these.
        ConnectionError: If the study is on a server that does not answer.

    Examples:
        >>> study = Study(StudySettings("demo", max_epochs=2))
        >>> decision = study.report("a", [0.5, 0.7])
        >>> view_of(study).trials["a"].values
        [0.5, 0.7]
    """
    if isinstance(source, StudyView):
        return source
    if isinstance(source, Study):
        return _view_in_process(source)
    # Whoever has such an object has loaded its module; nobody else needs it.
    if (remote := sys.modules.get("curvestop.clients.remote.remote_study")) and isinstance(source, remote.RemoteStudy):
        return _view_of_server(source)
    if (optuna := sys.modules.get("optuna")) and isinstance(source, optuna.Study):
        return view_of(_study_of_optuna(source))
    if (backtesting := sys.modules.get("curvestop.clients.backtest.backtesting")) and isinstance(source, backtesting.Backtest):
        return _view_in_process(_replayed(source))
    raise TypeError(f"a study of curvestop or Optuna, or a backtest, is needed, but got {source!r}")


def _view_in_process(study: Study) -> StudyView:
    view = StudyView(study.settings)
    view.add(_entries(study))
    return view


def _entries(study: Study) -> Iterator[Entry]:
    """Yield the log that a server would have of the study, without the decisions that it did not keep."""
    known: set[str] = set()
    for event in study.memory or ():
        record = study.book[event.trial]
        if event.trial not in known:
            known.add(event.trial)
            yield TrialAdded(event.trial, record.configuration)
        if event.epoch is not None:
            yield Observed(event.trial, event.epoch, record.observed.values[event.epoch])
        elif event.decided is not None:
            yield Decided(event.trial, *event.decided)
        elif event.ended is not None:
            yield Ended(event.trial, event.ended)
        else:
            yield Resumed(event.trial, "")


def _view_of_server(study: RemoteStudy) -> StudyView:
    from curvestop.clients.remote.connection import ServerTrouble

    try:
        return StudyFollower(study.connection, study.settings.name).read()
    except ServerTrouble as trouble:
        raise ConnectionError(trouble.at(study.address)) from None


def _study_of_optuna(study: optuna.Study) -> Study | RemoteStudy:
    from curvestop.clients.optuna.srm_pruner import SRMPruner
    from curvestop.clients.optuna.study_sync import StudySync
    from curvestop.clients.optuna.trial_curves import StepGrid

    if isinstance(study.pruner, SRMPruner):
        return study.pruner.study_of(study)  # type: ignore[return-value]  # one of the two that `connect` makes
    trials = study.get_trials(deepcopy=False)
    steps = [step for trial in trials for step in trial.intermediate_values]
    grid = StepGrid(max(steps, default=0) - min(steps, default=0) + 1, min(steps, default=0))
    direction: Direction = "minimize" if study.direction.name == "MINIMIZE" else "maximize"
    copy = Study(StudySettings("optuna", grid.max_epochs, direction=direction))
    StudySync(copy, grid, is_shared=False).sync(trials, asking=-1)
    return copy


def _replayed(result: Backtest) -> Study:
    from curvestop.clients.backtest.contenders import DEFAULT

    curves = result.curves
    settings = DEFAULT.study_settings(curves.max_epochs, curves.direction)
    study = Study(replace(settings, metric=curves.metric, shadow=True))
    for row, (recorded, is_complete) in enumerate(zip(curves.recorded, curves.is_complete.tolist(), strict=True)):
        values = curves.curves[row, : int(curves.epochs[row])].tolist()
        for epoch, value in enumerate(values, start=1):
            study.report(recorded.trial, [value], first_epoch=epoch, configuration=recorded.configuration)
        if recorded.outcome != "diverged":
            study.finish(recorded.trial, "finished" if is_complete else "failed")
    return study
