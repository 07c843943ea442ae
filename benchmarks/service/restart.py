"""How long until a server that was killed answers again, with a million observations on disk?

A study is written as trainers would have (trials side by side, a decision after every epoch unless --no-decisions). Then
`curvestop serve` is started on it: from the start of the process until it listens, and of that the reading of the log; beside
it the same log read entry by entry, as a study in process would replay it.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m benchmarks.service.restart
"""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import benchmark_cli
from curvestop.proto.entries import Decided, Entry, Observed, TrialAdded
from curvestop.server.storage.data_folder import DATABASE_FILE
from curvestop.server.storage.store import CurveStore, StoredStudy
from curvestop.server.studies.log_replay import replay
from curvestop.server.studies.registry import Registry
from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.report import Question
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study
from tests.server_process import ServerProcess

SIDE_BY_SIDE = 100
APPENDS_AT_ONCE = 500  # in one commit, so that writing does not wait for the disk
REASON = "97% of 34 others were better at this epoch, stops at 99%: predicted 0.891 +- 0.025 from 4 epochs"


def log(n_trials: int, n_epochs: int, *, decisions: bool, seed: int) -> Iterator[list[Entry]]:
    """What `SIDE_BY_SIDE` trainers at a time send, an epoch of all of them after the other."""
    rng = np.random.default_rng(seed)
    for first in range(0, n_trials, SIDE_BY_SIDE):
        trials = [f"trial-{number:07d}" for number in range(first, min(first + SIDE_BY_SIDE, n_trials))]
        speed, end = rng.uniform(0.02, 0.2, len(trials)), rng.uniform(0.3, 0.95, len(trials))
        yield [TrialAdded(trial, {"lr": float(lr), "width": 64}) for trial, lr in zip(trials, speed, strict=True)]
        for epoch in range(1, n_epochs + 1):
            values = (end * (1 - np.exp(-speed * epoch)) + rng.normal(0, 0.01, len(trials))).tolist()
            entries: list[Entry] = []
            for trial, value in zip(trials, values, strict=True):
                entries.append(Observed(trial, epoch, value))
                if decisions:
                    decision = Decision(False, REASON, 0.7, Prediction(value, 0.1), 400, epoch)
                    entries.append(Decided(trial, Question(epoch, n_epochs, None), decision))
            yield entries


def write(store: CurveStore, study: StoredStudy, log: Iterator[list[Entry]]) -> int:
    """Returns the number of entries."""
    last = 0
    while some := list(islice(log, APPENDS_AT_ONCE)):
        with store.transaction() as transaction:
            for entries in some:
                last = transaction.append(study.id, entries, after=last)
    return last


def start(folder: Path) -> tuple[float, float]:
    """Wall and CPU seconds until a server on it listens."""
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    with ServerProcess(folder):
        wall = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--observations", type=int, default=1_000_000, help="(default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=100, help="of each trial (default: %(default)s)")
    parser.add_argument("--no-decisions", dest="decisions", action="store_false", help="trainers that only report")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data" / DATABASE_FILE
        path.parent.mkdir()
        url = f"sqlite:///{path}"
        entries = log(options.observations // options.epochs, options.epochs, decisions=options.decisions, seed=options.seed)
        with closing(CurveStore(url)) as store:
            study = store.add_study(StudySettings("s", options.epochs))
            n_entries = write(store, study, entries)
        size_mb = path.stat().st_size / 1e6

        empty = start(Path(folder) / "empty")
        ready = start(path.parent)
        with closing(CurveStore(url)) as store:
            entry_by_entry = timed(lambda: replay(Study(study.settings, fit="deferred"), store.log(study.id)))
        store = CurveStore(url)
        registries: list[Registry] = []
        at_start = timed(lambda: registries.append(Registry(store)))
        registries[0].close()
    benchmark_cli.show(
        f"{options.observations:,} observations, {n_entries:,} log entries, {size_mb:.0f} MB: seconds",
        ["", "wall", "CPU"],
        [
            ["from the start of the process until it listens", *ready],
            ["the same without any study", *empty],
            ["of that: reading the log", *at_start],
            ["reading it entry by entry", *entry_by_entry],
        ],
    )
    headline = {
        "observations": options.observations,
        "ready_s": round(ready[0], 2),
        "ready_cpu_s": round(ready[1], 2),
        "empty_ready_s": round(empty[0], 2),
        "read_cpu_s": round(at_start[1], 2),
        "ratio_to_entry_by_entry": round(entry_by_entry[1] / at_start[1], 2),
        "bytes_per_observation": round(size_mb * 1e6 / options.observations),
    }
    benchmark_cli.conclude(options.out, "restart", headline)


if __name__ == "__main__":
    main()
