"""How long does a backtest of a thousand curves of 100 epochs take, beside Optuna's pruners alone on the same curves?

Curves of the set, resampled to --epochs epochs (straight lines between its own), are drawn with replacement up to --trials, with
noise of a thousandth of their spread so that no two are equal. Written as CSV; then `curvestop backtest CSV --html` is run as a
user runs it, and Optuna's four pruners of its table alone, in the same orders on one processor. Wall time suffers from
whatever else runs; CPU seconds, of all its processes, hardly do.

    python -m benchmarks.pruners.backtest_speed --data ../shared/data --out out
"""

from __future__ import annotations

import csv
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import benchmark_cli
from benchmarks.curves import CurveFile, load_all
from curvestop.clients.backtest.backtesting import orders_of, replay_all
from curvestop.clients.backtest.contenders import PRUNERS
from curvestop.clients.backtest.options import BacktestOptions
from curvestop.clients.backtest.readers.detect import read
from curvestop.clients.backtest.runs import curves_of


@dataclass(frozen=True)
class Seconds:
    """cpu: of all processes."""

    wall: float
    cpu: float


def timed(work: Callable[[], object]) -> Seconds:
    def cpu() -> float:
        usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    began, cpu_began = time.perf_counter(), cpu()
    work()
    return Seconds(time.perf_counter() - began, cpu() - cpu_began)


def write_csv(curve_set: CurveFile, path: Path, *, n_trials: int, n_epochs: int, seed: int) -> None:
    rng, curve_set = np.random.default_rng(seed), curve_set.finite
    rows = rng.permutation(np.resize(np.arange(len(curve_set.curves)), n_trials))
    at, known = np.linspace(0, 1, n_epochs), np.linspace(0, 1, curve_set.n_epochs)
    values = np.stack([np.interp(at, known, curve) for curve in curve_set.curves[rows]])
    values += rng.normal(0, 1e-3 * values[:, -1].std(), values.shape)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "epoch", "metric_of_set", *curve_set.names])
        for trial, (curve, configuration) in enumerate(
            zip(values.tolist(), curve_set.configurations[rows].tolist(), strict=True)
        ):
            writer.writerows([trial, epoch, value, *configuration] for epoch, value in enumerate(curve, start=1))


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--sets", nargs="+", default=["metaqnn-cifar10"], help="names of curve sets (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=1000, help="curves (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=100, help="of each (default: %(default)s)")
    parser.add_argument("--orders", type=int, default=BacktestOptions.orders, help="as of the backtest (default: %(default)s)")
    options = parser.parse_args(argv)
    rows: list[list[object]] = []
    headline: dict[str, dict[str, float]] = {}
    for curve_set in load_all(options.data, options.sets):
        with tempfile.TemporaryDirectory() as folder:
            path, page = Path(folder) / "runs.csv", Path(folder) / "report.html"
            write_csv(curve_set, path, n_trials=options.trials, n_epochs=options.epochs, seed=options.seed)
            given = ["--direction", curve_set.direction, "--orders", str(options.orders), "--html", str(page)]
            code = "from curvestop.cli import main; main()"
            ours = timed(lambda: subprocess.run([sys.executable, "-c", code, "backtest", str(path), *given], check=True))  # noqa: B023
            curves = curves_of(read(str(path)), direction=curve_set.direction)
            orders = list(orders_of(curves, BacktestOptions(options.orders)))
            theirs = timed(lambda: [replay_all((order, list(PRUNERS.values()))) for order in orders])  # noqa: B023
        ratio = ours.cpu / theirs.cpu
        rows.append(
            [
                curve_set.name,
                f"{options.trials} x {options.epochs}",
                options.orders,
                ours.wall,
                ours.cpu,
                theirs.wall,
                theirs.cpu,
                ratio,
            ]
        )
        seconds = {"wall_s": ours.wall, "cpu_s": ours.cpu, "optuna_cpu_s": theirs.cpu, "cpu_ratio": ratio}
        headline[curve_set.name] = {name: round(value, 2) for name, value in seconds.items()}
    heads = ["set", "curves", "orders", "wall, s", "CPU, s", "Optuna wall, s", "Optuna CPU, s", "CPU ratio"]
    benchmark_cli.show(f"A backtest on {os.cpu_count()} processors, and Optuna's pruners alone on one", heads, rows)
    benchmark_cli.conclude(options.out, "backtest_speed", headline)


if __name__ == "__main__":
    main()
