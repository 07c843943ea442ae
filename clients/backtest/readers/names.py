"""What a column, tag or key is by its name: the run, the epoch, the state, a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from curvestop.srm.metric_names import words_of

TRIAL = (
    *("trial", "trial_id", "trial_number", "trial_name", "run", "run_id", "run_uuid", "run_name"),
    *("name", "id", "number", "config_id"),
)
"""Names of a column that names the runs. All names are compared in lower case and without a leading "_"."""
EPOCH = (
    *("epoch", "step", "global_step", "iteration", "training_iteration", "iter", "round"),
    *("epochs", "steps", "total_timesteps", "timesteps_total", "timesteps", "iterations"),
)
"""Names of a column of epochs, the most usual first."""
STATE = ("state", "status")
"""Names of a column that tells how a run ended."""
KEY = ("key", "tag", "metric")
"""Names of a column of metric names, in a table that has a row for every value of every metric."""
VALUE = ("value", "metric_value")
"""Names of the column of values in such a table."""
_CLOCK = {
    *("time", "times", "timestamp", "timestep", "timesteps", "date", "datetime"),
    *("created", "duration", "runtime", "walltime", "relative"),
}
_BOOKKEEPING = {"iterations_since_restore", "timesteps_since_restore", "episodes_total", "pid"}
"""What Ray writes into every row."""


HISTORIES = (
    *("result.json", "progress.csv", "metrics.csv", "results.csv", "trainer_state.json", "training.log", "summary.csv"),
    *("history.csv", "history.json", "log.csv", "metrics.json", "metrics.jsonl", "scalars.json", "progress.txt"),
)
"""Names of files with the history of the run that has the folder: of Ray, Lightning, Ultralytics, transformers, Keras, ..."""


EXPORT_OF_WANDB = (
    'export the chart of the metric as CSV, or the histories as JSON: [{"name": r.name, "config": r.config, "state": r.state, '
    '"history": list(r.scan_history())} for r in wandb.Api().runs(...)]'
)
"""How to get learning curves out of W&B."""


def run_name(file: Path) -> str:
    """Return the name of a run that has a file: that of its folder if all files of such runs have the same name, else its own.

    Args:
        file: The file.
    """
    return file.absolute().parent.name if file.name in HISTORIES else file.stem


def is_clock(name: str) -> bool:
    """Return whether a name is that of a time or a duration, which is neither a metric nor a hyper-parameter.

    Args:
        name: The name; whole words count, so that "validate_acc" is no date.
    """
    return bool(_CLOCK & set(words_of(name))) or name in _BOOKKEEPING


def plain_name(name: str) -> str:
    """Return the last part of a path in lower case without a leading "_": "step" for "_step", "epoch" for "train/epoch"."""
    return name.rsplit("/", 1)[-1].strip().lower().lstrip("_")


def is_step(name: str) -> bool:
    """Return whether a name is that of an epoch or a step."""
    return plain_name(name) in EPOCH


def best_step(names: Iterable[str], steps: Callable[[str], Iterable[Sequence[float | None]]]) -> str | None:
    """Return the name of what counts the reports of a metric.

    Args:
        names: The names that may; see `is_step`.
        steps: Returns, for a name, its values in the rows of each run that have the metric; None for one that is missing.

    Returns:
        The first name, in the order of `EPOCH`, whose values are whole numbers that mostly change from report to report. If
        there is none (epochs 0.1, 0.2, ... or several reports an epoch), the first that has a value in every row, else the first.
    """
    ranked = sorted(names, key=lambda name: EPOCH.index(plain_name(name)))
    known = {name: list(steps(name)) for name in ranked}
    whole = [name for name in ranked if all(step is not None for its in known[name] for step in its)]
    return next((name for name in whole if _counts(known[name])), next(iter(whole or ranked), None))


def _counts(steps: Iterable[Sequence[float | None]]) -> bool:
    runs = list(steps)
    moves = [later != earlier for its in runs for earlier, later in pairwise(its)]
    return all(step is not None and step % 1 == 0 for its in runs for step in its) and 2 * sum(moves) >= len(moves)
