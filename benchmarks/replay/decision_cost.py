"""What one decision costs in a `Study` with default settings and a thousand finished trials, once its models are fitted.

New trials report epoch by epoch, each a little unlike one of the finished. CPU time is the thread's own; wall time suffers from
whatever else runs. At a decision point the rule ranks the trial; between two of them it only predicts and states a probability.

    python -m benchmarks.replay.decision_cost --data ../shared/data --out out
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks import benchmark_cli
from benchmarks.curves import CurveFile, load_all
from benchmarks.replay.shuffled_study import shuffled
from curvestop.clients.backtest.curve_set import Array, CurveSet
from curvestop.srm.report import Report
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study

N_WARM = 20
"""First reports that are not counted: they score all that came before, once."""
COLUMNS = ["set", "epochs", "reports", "CPU us, median", "at decision points", "between", "95 % of all below", "wall us, median"]


@dataclass(frozen=True)
class Costs:
    """Of n reports that were answered with a decision, in microseconds. at_look: `(n,)`, whether the rule looked at the trial."""

    name: str
    n_epochs: int
    cpu_us: Array
    wall_us: Array
    at_look: Array

    def row(self) -> list[object]:
        between = self.cpu_us[self.at_look == 0]
        decision_points, others = (
            float(np.median(self.cpu_us[self.at_look == 1])),
            float(np.median(between)) if len(between) else "",
        )
        most = float(np.percentile(self.cpu_us, 95))
        return [
            self.name,
            self.n_epochs,
            len(self.cpu_us),
            self.median_us,
            decision_points,
            others,
            most,
            float(np.median(self.wall_us)),
        ]

    @property
    def median_us(self) -> float:
        return float(np.median(self.cpu_us))


def decision_costs(curve_set: CurveFile, *, n_trials: int, n_new: int, seed: int) -> Costs:
    """Finish n_trials of the set, fit, and report n_new more until they end or are stopped."""
    replayed = shuffled(curve_set, seed, n_trials=n_trials)
    configurations = [replayed.configuration(row) for row in range(len(replayed.curves))]
    n_epochs, rng = replayed.curves.shape[1], np.random.default_rng(seed)
    study = Study(StudySettings(replayed.name, n_epochs, direction=replayed.direction), fit="deferred")
    for i, configuration in enumerate(configurations):
        study.record(Report(str(i), replayed.curves[i].tolist(), configuration))
    for job in study.forecasts.due():
        study.forecasts.install(job.run())
    decision_points = set(study.settings.stopping.decision_points(n_epochs))
    rows: list[tuple[float, float, float]] = []
    for new in range(n_new):
        like = int(rng.integers(len(configurations)))
        curve = _like(replayed, like, rng)
        for epoch, value in enumerate(curve[:-1].tolist(), start=1):
            wall, cpu = time.perf_counter(), time.thread_time()
            decision = study.report(f"new {new}", [value], configuration=configurations[like], first_epoch=epoch)
            rows.append((time.thread_time() - cpu, time.perf_counter() - wall, float(epoch in decision_points)))
            if decision.stop:
                break
    cpu_s, wall_s, at_look = np.array(rows[N_WARM:]).T
    return Costs(replayed.name, n_epochs, 1e6 * cpu_s, 1e6 * wall_s, at_look)


def _like(replayed: CurveSet, row: int, rng: np.random.Generator) -> Array:
    curve: Array = replayed.curves[row]
    return curve + 1e-3 * float(curve.std()) * rng.standard_normal(len(curve))


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--sets", nargs="+", help="names of curve sets (default: all that have as many curves)")
    parser.add_argument("--trials", type=int, default=1000, help="finished trials (default: %(default)s)")
    parser.add_argument("--new", type=int, default=60, help="trials that are reported and timed (default: %(default)s)")
    options = parser.parse_args(argv)
    sets = [s for s in load_all(options.data, options.sets) if len(s.curves) >= options.trials]
    costs = [decision_costs(s, n_trials=options.trials, n_new=options.new, seed=options.seed) for s in sets]
    benchmark_cli.show(f"One decision with {options.trials} finished trials", COLUMNS, [c.row() for c in costs])
    headline = {
        "decision_us": float(np.median(np.concatenate([c.cpu_us for c in costs]))) if costs else None,
        "worst_set_us": max((c.median_us for c in costs), default=None),
    }
    benchmark_cli.conclude(options.out, "decision_cost", headline, {c.name: c.row() for c in costs})


if __name__ == "__main__":
    main()
