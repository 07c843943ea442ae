"""What does a search cost whose trials count in steps: a hundred or a billion of them, of which each reports twenty?

Curves that rise to a drawn level, with noise, reported to a study in this process and to both pruners; a row is a process of its
own, whose CPU seconds and largest memory are taken. The last rows: searches of many trials that report every epoch of 30.

    python -m benchmarks.pruners.long_trainings --out out
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import optuna

from benchmarks import benchmark_cli
from curvestop.clients.optuna import FHyperbandPruner, SRMPruner
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study

PRUNERS = {"SRMPruner": SRMPruner, "FHyperbandPruner": FHyperbandPruner}


@dataclass(frozen=True)
class Case:
    """A search: n_trials of max_epochs, each of which reports n_reports times at even distances."""

    asked: str
    max_epochs: int
    n_trials: int
    n_reports: int
    seed: int

    def steps(self) -> list[int]:
        return [round(self.max_epochs * k / self.n_reports) for k in range(1, self.n_reports + 1)]

    def values(self, level: float, rng: np.random.Generator) -> list[float]:
        return [level * (1 - math.exp(-5 * k / self.n_reports)) + rng.normal(0, 0.02) for k in range(1, self.n_reports + 1)]


@dataclass(frozen=True)
class Cost:
    """cpu_s: of the whole search. peak_mb: largest memory of its process. p99_ms: of the CPU of a question."""

    n_stopped: int
    n_reports: int
    cpu_s: float
    p99_ms: float
    peak_mb: float


def cost(case: Case) -> Cost:
    """Run the search in this process."""
    began = time.process_time()
    stopped, times = _in_study(case) if case.asked == "Study" else _in_pruner(case)
    return Cost(stopped, len(times), time.process_time() - began, 1e3 * float(np.quantile(times, 0.99)), peak_memory_mb())


def peak_memory_mb() -> float:
    """Return the largest memory of this process, in MB.

    Read from /proc: `resource.getrusage` also counts the process that this one was started from.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def _in_study(case: Case) -> tuple[int, list[float]]:
    study, rng, times, n_stopped = Study(StudySettings("s", case.max_epochs)), np.random.default_rng(case.seed), [], 0
    for trial in range(case.n_trials):
        level = rng.uniform(0.1, 1)
        for step, value in zip(case.steps(), case.values(level, rng), strict=True):
            asked = time.thread_time()
            decision = study.report(str(trial), [value], first_epoch=step, configuration={"level": level})
            times.append(time.thread_time() - asked)
            if decision.stop:
                n_stopped += 1
                break
    return n_stopped, times


def _in_pruner(case: Case) -> tuple[int, list[float]]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = PRUNERS[case.asked](case.max_epochs, first_step=1)
    sampler = optuna.samplers.RandomSampler(seed=case.seed)
    study = optuna.create_study(study_name="s", direction="maximize", pruner=pruner, sampler=sampler)
    rng, times = np.random.default_rng(case.seed), []

    def objective(trial: optuna.Trial) -> float:
        values = case.values(trial.suggest_float("level", 0.1, 1), rng)
        for step, value in zip(case.steps(), values, strict=True):
            trial.report(value, step)
            asked = time.thread_time()
            pruned = trial.should_prune()
            times.append(time.thread_time() - asked)
            if pruned:
                raise optuna.TrialPruned
        return values[-1]

    study.optimize(objective, n_trials=case.n_trials)
    return sum(trial.state == optuna.trial.TrialState.PRUNED for trial in study.trials), times


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--epochs", type=int, nargs="+", default=[20, 100, 10**4, 10**6, 10**9], help="(default: %(default)s)")
    parser.add_argument("--trials", type=int, default=60, help="of a search of long trials (default: %(default)s)")
    parser.add_argument("--many", type=int, default=1000, help="trials of 30 epochs (default: %(default)s)")
    options = parser.parse_args(argv)
    cases = [Case(asked, last, options.trials, 20, options.seed) for asked in ("Study", *PRUNERS) for last in options.epochs]
    cases += [Case(asked, 30, options.many, 30, options.seed) for asked in PRUNERS]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as processes:
        costs = list(processes.map(cost, cases))
    columns = ["asked", "max_epochs", "trials", "stopped", "reports", "CPU, s", "99 % of questions, ms", "largest memory, MB"]
    rows: list[list[object]] = [
        [case.asked, case.max_epochs, case.n_trials, c.n_stopped, c.n_reports, c.cpu_s, c.p99_ms, c.peak_mb]
        for case, c in zip(cases, costs, strict=True)
    ]
    benchmark_cli.show("searches by the length of their trials", columns, rows)
    headline = {
        "most_memory_mb": round(max(c.peak_mb for c in costs)),
        "most_cpu_s": round(max(c.cpu_s for c, case in zip(costs, cases, strict=True) if case.n_trials == options.trials), 1),
        "p99_ms": {case.asked: round(c.p99_ms, 1) for case, c in zip(cases, costs, strict=True) if case.n_trials == options.many},
    }
    details = [{**asdict(case), **asdict(c)} for case, c in zip(cases, costs, strict=True)]
    benchmark_cli.conclude(options.out, "long_trainings", headline, details)


if __name__ == "__main__":
    main()
