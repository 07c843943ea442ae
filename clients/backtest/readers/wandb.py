"""Runs from histories exported from Weights & Biases as JSON.

The file is a list of runs (or has one run on each line), each {"name", "config", "state", "history": [row, ...]}, as made by
`[{"name": r.name, "config": r.config, "state": r.state, "history": list(r.scan_history())} for r in wandb.Api().runs(...)]`;
or it is the list of rows of one run. A CSV file of many runs, or of a chart, is read as any other table (see `table_layouts`).
"""

from __future__ import annotations

from pathlib import Path

from curvestop.clients.backtest.readers import run_folders
from curvestop.clients.backtest.readers.histories import histories_in, runs_of_histories
from curvestop.clients.backtest.readers.read_options import ReadOptions
from curvestop.clients.backtest.runs import Runs


def read(source: str, options: ReadOptions) -> Runs:
    """Return the runs of an export.

    Args:
        source: A JSON, JSON-lines or CSV file, or a folder of such files (see `run_folders`).
        options: `metric` and `epoch`, names of entries of a history's rows.

    Raises:
        ValueError: If the source is not such an export, or its metric or step cannot be chosen.
        OSError: If a file cannot be read.
    """
    path = Path(source)
    if path.is_dir():
        return run_folders.read(source, options)
    histories = histories_in(path)
    if not histories:
        raise ValueError(f"{source} has no exported runs")
    return runs_of_histories(source, histories, options)
