"""Does a backtest say the same of the same curves, whatever they are kept in? Real sets as CSV, Optuna study, TensorBoard logs.

Every set's curves (the first --trials of a random order) are written three times and read back as by `curvestop backtest`;
the three JSON objects must be equal but for the source's name. Values are 32-bit numbers, which is what TensorBoard keeps.

    python -m benchmarks.backtest_agreement --data ../shared/data --out out
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from benchmarks import benchmark_cli
from benchmarks.curves import CurveFile, load_all
from curvestop.clients.backtest.backtesting import backtest
from curvestop.clients.backtest.options import BacktestOptions
from curvestop.clients.backtest.readers.detect import read
from curvestop.clients.backtest.runs import curves_of
from curvestop.clients.backtest.summary import as_json
from tests.clients.backtest.sources import WRITERS, Search

SETS = ("metaqnn-cifar10", "naap440-cifar10", "resnet-cifar10", "lstm-ptb")
SOURCES = ("long CSV", "Optuna", "TensorBoard")


def search_of(curve_set: CurveFile, n_trials: int, seed: int) -> Search:
    """The curves without the epochs that were not trained."""
    rows = np.random.default_rng(seed).permutation(len(curve_set.curves))[:n_trials]
    values = curve_set.curves[rows].astype(np.float32).astype(float)
    curves = [curve[: int(np.isfinite(curve).nonzero()[0].max(initial=-1)) + 1].tolist() for curve in values]
    configurations = [dict(zip(curve_set.names, row, strict=True)) for row in curve_set.configurations[rows].tolist()]
    kept = [i for i, curve in enumerate(curves) if curve]
    name = "val_acc" if curve_set.direction == "maximize" else "val_loss"
    return Search(name, curve_set.direction, tuple(configurations[i] for i in kept), tuple(curves[i] for i in kept))


def report_on(source: str, search: Search, plan: BacktestOptions) -> dict[str, Any]:
    """The JSON object without what names the source."""
    found = as_json(backtest(curves_of(read(source), direction=search.direction, short_runs="finished"), plan))  # type: ignore[arg-type]
    for name in ("source", "metric", "steps"):
        found["curves"].pop(name)
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--sets", nargs="+", default=list(SETS), help="names of curve sets (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=120, help="most trials of a set (default: %(default)s)")
    parser.add_argument("--orders", type=int, default=1, help="the first random order, and shuffled ones (default: %(default)s)")
    options = parser.parse_args(argv)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    plan = BacktestOptions(orders=options.orders, seed=options.seed, processes=1)
    rows: list[list[object]] = []
    reports: dict[str, Any] = {}
    agreed = {}
    for curve_set in load_all(options.data, options.sets):
        search = search_of(curve_set, options.trials, options.seed)
        with tempfile.TemporaryDirectory() as folder:
            found = {name: report_on(WRITERS[name](search, Path(folder)), search, plan) for name in SOURCES}
        texts = {name: json.dumps(report, sort_keys=True) for name, report in found.items()}
        agreed[curve_set.name] = len(set(texts.values())) == 1
        reports[curve_set.name] = found
        for name, report in found.items():
            figures = [report[f] for f in ("epochs_saved", "top_tenth_stopped", "best_stopped", "regret", "calibration_error")]
            n_runs = f"{report['curves']['runs']} x {report['curves']['epochs']}"
            rows.append([curve_set.name, name, n_runs, *figures, report["optuna_median"]["epochs_saved"], agreed[curve_set.name]])
    heads = ["set", "source", "runs", "saved", "top tenth", "best", "regret", "calibration", "Optuna median saved", "all equal"]
    benchmark_cli.show("The same curves from three kinds of source", heads, rows)
    headline = {"sets": len(agreed), "agreed": sum(agreed.values()), "by_set": agreed}
    benchmark_cli.conclude(options.out, "backtest_agreement", headline, reports)


if __name__ == "__main__":
    main()
