"""What does a study of a million trials and ten thousand trainers cost? Measured small, extrapolated by the formulas printed.

Studies of growing size are read from a SQLite file as at a start (memory, seconds, bytes), then reported to (CPU of a report
with its decision by rank, without the disk); the default predictor is fitted on as many curves as it takes; threads report to
one study in SQLite and, with --store postgresql://..., there.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m benchmarks.service.scaling
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import benchmark_cli
from benchmarks.service.restart import log, write
from curvestop.server.storage.store import CurveStore
from curvestop.server.studies.log_replay import rebuild
from curvestop.server.studies.registry import Registry
from curvestop.srm.curve import LearningCurve
from curvestop.srm.predictors.registry import PREDICTORS
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study

N_REPORTS = 2_000
PAGE = 4096
MOST_CURVES = 400  # that the default predictor learns from


@dataclass(frozen=True)
class Size:
    """Of one study: memory of the process that holds it beyond an empty one, and CPU microseconds of a report."""

    trials: int
    observations: int
    memory_mb: float
    read_s: float
    disk_mb: float
    report_us: float


def measured(url: str, n_trials: int, n_epochs: int) -> Size:
    """In this process, which should have done nothing else."""
    settings = StudySettings("s", n_epochs)
    with closing(CurveStore(url)) as store:
        study = store.find("s")
        assert study is not None
        before, begin = resident_mb(), time.process_time()
        memory = Study(settings, fit="deferred")
        with store.state(study.id) as (_, entries, observed):
            rebuild(memory, entries, observed)
        read_s, held_mb = time.process_time() - begin, resident_mb() - before
    begin = time.process_time()
    for number in range(N_REPORTS):
        memory.report(f"trial-{number % n_trials:07d}", [0.5], first_epoch=1 + number % n_epochs)
    for number in range(N_REPORTS):
        memory.report(f"new-{number}", [0.5 + number / 1e5])
    report_us = (time.process_time() - begin) / (2 * N_REPORTS) * 1e6
    disk_mb = Path(url.removeprefix("sqlite:///")).stat().st_size / 1e6
    return Size(n_trials, n_trials * n_epochs, held_mb, read_s, disk_mb, report_us)


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6


def fit_s(n_epochs: int, seed: int) -> float:
    """CPU seconds of a whole fit of the default predictor on as many curves as it takes."""
    rng = np.random.default_rng(seed)
    curves = [
        LearningCurve(f"t{i}", {"lr": float(lr)}, tuple((end * (1 - np.exp(-lr * np.arange(1, n_epochs + 1)))).tolist()))
        for i, (lr, end) in enumerate(zip(rng.uniform(0.02, 0.2, MOST_CURVES), rng.uniform(0.3, 0.95, MOST_CURVES), strict=True))
    ]
    begin = time.process_time()
    PREDICTORS["stacked"](direction="maximize").fit(curves)
    return time.process_time() - begin


def reports_per_s(url: str, n_threads: int, n_reports: int) -> float:
    """Durable reports with decisions to one study, by threads of one server without its gRPC."""
    with closing(Registry(CurveStore(url))) as registry:
        settings = StudySettings(f"threads-{n_threads}-{time.time_ns()}", 1000, predictor="last-seen")
        registry.create(settings)
        study = registry[settings.name]

        def train(trial: str) -> None:
            for epoch in range(1, 1 + n_reports // n_threads):
                study.report(trial, [epoch / 1000], first_epoch=epoch)

        threads = [threading.Thread(target=train, args=(f"t{number}",)) for number in range(n_threads)]
        begin = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return n_reports // n_threads * n_threads / (time.perf_counter() - begin)


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 4_000, 16_000], help="trials measured")
    parser.add_argument("--epochs", type=int, default=25, help="of each trial (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=1_000_000, help="to extrapolate to (default: %(default)s)")
    parser.add_argument("--trainers", type=int, default=10_000, help="at once (default: %(default)s)")
    parser.add_argument("--epoch-s", type=float, default=60.0, help="seconds of training between reports (default: %(default)s)")
    parser.add_argument("--store", help="a PostgreSQL to report to as well")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.measure:
        url, n_trials = options.measure
        print(*asdict(measured(url, int(n_trials), options.epochs)).values())
        return
    with tempfile.TemporaryDirectory() as folder:
        sizes = [size_in_a_process(Path(folder), n, options) for n in options.sizes]
        rates = {f"SQLite, {n} threads": reports_per_s(f"sqlite:///{folder}/threads.db", n, 100 * n) for n in (1, 16, 64)}
    if options.store:
        rates |= {f"PostgreSQL, {n} threads": reports_per_s(options.store, n, 50 * n) for n in (1, 16, 64)}
    fit = fit_s(options.epochs, options.seed)
    conclude(options, sizes, rates, fit)


def size_in_a_process(folder: Path, n_trials: int, options: Any) -> Size:
    """A fresh process, so that memory is that of this study."""
    url = f"sqlite:///{folder}/{n_trials}.db"
    with closing(CurveStore(url)) as store:
        study = store.add_study(StudySettings("s", options.epochs))
        write(store, study, log(n_trials, options.epochs, decisions=True, seed=options.seed))
    arguments = ["--measure", url, str(n_trials), "--epochs", str(options.epochs)]
    printed = subprocess.run(
        [sys.executable, "-m", "benchmarks.service.scaling", *arguments], capture_output=True, text=True, check=True
    )
    trials, observations, *rest = printed.stdout.split()
    return Size(int(trials), int(observations), *map(float, rest))


def conclude(options: Any, sizes: list[Size], rates: dict[str, float], fit: float) -> None:
    n_observations = options.trials * options.epochs
    last = sizes[-1]
    memory_kb, disk_b = last.memory_mb / last.trials * 1e3, last.disk_mb / last.observations * 1e6
    read_us = last.read_s / last.observations * 1e6
    slope = max(0.0, (last.report_us - sizes[0].report_us) / (last.trials - sizes[0].trials))
    report_us = last.report_us + slope * (options.trials - last.trials)
    benchmark_cli.show(
        f"a study of trials of {options.epochs} epochs with a decision after each",
        ["trials", "observations", "memory MB", "read CPU s", "disk MB", "report CPU us"],
        [[s.trials, s.observations, s.memory_mb, s.read_s, s.disk_mb, s.report_us] for s in sizes],
    )
    benchmark_cli.show(
        "durable reports to one study, without gRPC", ["", "reports/s"], [[name, rate] for name, rate in rates.items()]
    )
    n_trainers, every = f"{options.trainers:,} trainers", f"an epoch every {options.epoch_s:g} s"
    benchmark_cli.show(
        f"{options.trials:,} trials of {options.epochs} epochs, {n_trainers}, {every}",
        ["", "formula", "value"],
        [
            ["reports/s", "trainers / epoch_s", options.trainers / options.epoch_s],
            ["memory GB", f"trials x {memory_kb:.2f} KB", options.trials * memory_kb / 1e6],
            ["disk GB", f"observations x {disk_b:.0f} B", n_observations * disk_b / 1e9],
            ["restart CPU s", f"observations x {read_us:.2f} us", n_observations * read_us / 1e6],
            ["report CPU us", f"{last.report_us:.0f} + {slope * 1e3:.3f} for each 1,000 trials more", report_us],
            ["a whole fit CPU s", f"of {MOST_CURVES} curves, whatever the number of trials", fit],
        ],
    )
    headline = {
        "memory_gb": round(options.trials * memory_kb / 1e6, 2),
        "disk_gb": round(n_observations * disk_b / 1e9, 2),
        "restart_cpu_s": round(n_observations * read_us / 1e6, 1),
        "report_cpu_us": round(report_us),
        "fit_cpu_s": round(fit, 2),
        "reports_per_s_needed": round(options.trainers / options.epoch_s),
        "reports_per_s_64_threads": round(rates["SQLite, 64 threads"]),
    }
    benchmark_cli.conclude(options.out, "scaling", headline, {"sizes": [asdict(s) for s in sizes], "rates": rates})


if __name__ == "__main__":
    main()
