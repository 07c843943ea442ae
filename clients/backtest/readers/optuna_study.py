"""Runs from an Optuna storage: a database URL, an SQLite file or a journal file.

Trials' reports are steps and values. As in `SRMPruner`, what the objective returned is the value after the last report, and a
trial that returned a prediction (`value_or_prune`) is unfinished, as a pruned or failed one is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import OptunaError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from curvestop.clients.backtest.readers.read_options import ReadOptions, choose
from curvestop.clients.backtest.runs import Run, Runs, no_curves, run_of
from curvestop.clients.optuna.trial_curves import STOPPED_AT, final_value
from curvestop.command_line import hide_passwords
from curvestop.srm.plural import plural
from curvestop.srm.policies.stopping_rule import Direction


def read(source: str, options: ReadOptions) -> Runs:
    """Return the trials of an Optuna study as runs; waiting trials are none.

    Args:
        source: URL of a database, or path of an SQLite file or journal file; nothing in it is changed.
        options: `study` if the storage has several; `metric` only names the reported values.

    Raises:
        ValueError: If the storage cannot be read, the study cannot be chosen or has several objectives, or no trial reported.
    """
    try:
        with _open_storage(source) as storage:
            names = [study.study_name for study in storage.get_all_studies()]
            name = choose(names, options.study, source=source, what="study")
            study = optuna.load_study(study_name=name, storage=storage)
            directions, trials = study.directions, study.get_trials(deepcopy=False)
    # Which of these a broken storage raises depends on its kind.
    except (SQLAlchemyError, OptunaError, RuntimeError, KeyError) as error:
        raise ValueError(f"{source} cannot be read as an Optuna storage: {error.__cause__ or error}") from None
    if len(directions) != 1:
        raise ValueError(f"a study must have one objective, but {name!r} has {len(directions)}")
    direction: Direction = "maximize" if directions[0] == optuna.study.StudyDirection.MAXIMIZE else "minimize"
    trials = [trial for trial in trials if trial.state != TrialState.WAITING]
    if trials and not any(trial.intermediate_values for trial in trials):
        raise no_curves(f"{hide_passwords(source)} ({name})", "report them in the next search: trial.report(value, epoch)")
    runs = tuple(map(_run, trials))
    return Runs(f"{hide_passwords(source)} ({name})", runs, options.metric or "value", direction, notes=_notes(trials))


def _run(trial: FrozenTrial) -> Run:
    configuration = {name: _plain_value(value) for name, value in trial.params.items()}
    # Sorted: Optuna keeps one value for each step, so that a step that goes back begins nothing again.
    points = sorted(trial.intermediate_values.items())
    final = final_value(trial)
    if final is not None and points:
        points[-1] = points[-1][0], final
    return run_of(str(trial.number), configuration, points, "unfinished" if final is None else "finished")


def _notes(trials: Sequence[FrozenTrial]) -> tuple[str, ...]:
    """Return what the values of the trials are where their reports do not say it."""
    n_other = sum(_returned_another_value(trial) for trial in trials)
    n_cut = sum(STOPPED_AT in trial.user_attrs for trial in trials)
    other = f"{plural(n_other, 'trial')} returned another value than the last report: the returned one is the final one"
    cut = f"{plural(n_cut, 'trial')} returned a prediction (value_or_prune): unfinished"
    return tuple(note for n, note in ((n_other, other), (n_cut, cut)) if n)


def _returned_another_value(trial: FrozenTrial) -> bool:
    final, values = final_value(trial), trial.intermediate_values
    return final is not None and bool(values) and values[max(values)] != final


def _plain_value(value: Any) -> bool | int | float | str:
    return value if isinstance(value, bool | int | float | str) else str(value)


@contextmanager
def _open_storage(source: str) -> Iterator[BaseStorage]:
    storage = _storage(source)
    try:
        yield storage
    finally:
        if isinstance(storage, RDBStorage):
            storage.engine.dispose()  # Optuna leaves its connections to the garbage collector


def _storage(source: str) -> BaseStorage:
    if "://" not in source:
        path = Path(source)
        if not path.is_file():
            raise ValueError(f"{source} does not exist")
        if path.suffix in (".log", ".journal", ".jsonl"):
            return JournalStorage(JournalFileBackend(source))
        source = f"sqlite:///{source}"
    url = make_url(source)
    # Opening an SQLite file that does not exist would create it.
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).is_file():
        raise ValueError(f"{url.database} does not exist")
    return RDBStorage(source, skip_table_creation=True)  # reading must not change the user's database
