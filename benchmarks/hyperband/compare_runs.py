"""How much faster than Hyperband is f-Hyperband, and does it find as good a configuration? Real curves, replayed.

Consecutive Hyperbands (eta 3) draw configurations of a set with replacement, the same for both, through the scheduler and study
that `hyperband run` drives. R is 81, 27, 18 or 9 epochs, the most that the curves reach; of longer ones the first R are used.
Late is the second half of the iterations. The regret gap: by how much Hyperband's best value is better than ours, on the mean
over the seeds, in standard errors of that difference; null where all seeds lose the same.

    python -m benchmarks.hyperband --data ../shared/data --out out
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from benchmarks import benchmark_cli
from benchmarks.curves import load_all
from benchmarks.hyperband import run_figures
from benchmarks.hyperband.replayed_run import Course, Setting, Table, replay
from benchmarks.hyperband.run_scores import Comparison
from curvestop.hyperband.scheduler.rung_history import CutoffRecall

DEFAULT = Setting("default", threshold=0.9, kappa=0.5, recall=CutoffRecall())
"""What `hyperband run --mode sync` does when nothing else is asked for."""
THRESHOLDS, KAPPAS = (0.9, 0.95, 0.99), (1.0, 0.5, 0.25)
GOAL_LATE, GOAL_TOTAL, GOAL_GAP, LEAST_CONFIGURATIONS = 2.5, 2.0, 1.0, 400


def grid(predictor: str) -> tuple[Setting, ...]:
    """The thesis's settings, to the letter of Algorithm 2 and with a memory of earlier rungs."""
    return tuple(
        Setting(f"{'recall' if recall else 'letter'} {threshold:g} {kappa:g}", threshold, kappa, recall, predictor)
        for recall in (None, CutoffRecall())
        for threshold in THRESHOLDS
        for kappa in KAPPAS
    )


def compare(
    table: Table, settings: Iterable[Setting], seeds: Sequence[int], *, n_iterations: int, with_replacement: bool = True
) -> list[Comparison]:
    """Each setting against plain Hyperband on the same draws."""

    def run(setting: Setting | None, seed: int) -> Course:
        return replay(table, setting, seed, n_iterations=n_iterations, with_replacement=with_replacement)

    plain = [run(None, seed) for seed in seeds]
    name, direction = table.curve_set.name, table.curve_set.direction
    return [Comparison(name, setting, direction, plain, [run(setting, seed) for seed in seeds]) for setting in settings]


def row(comparison: Comparison, table: Table) -> list[object]:
    late, total, loss = comparison.late(), comparison.total(), comparison.loss()
    asked = len(table.values) >= LEAST_CONFIGURATIONS
    reached = late[0] >= GOAL_LATE and total[0] >= GOAL_TOTAL and comparison.gap() <= GOAL_GAP
    texts = [f"{mean:.2f} +- {error:.2f}" for mean, error in (total, late)]
    verdict = ("yes" if reached else "NO") if asked else "-"
    return [
        comparison.set_name, len(table.values), table.max_epochs, comparison.setting.name, *texts,
        f"{loss[0]:.5f} +- {loss[1]:.5f}", f"{comparison.gap():.2f}", comparison.n_worse(), verdict,
    ]  # fmt: skip


COLUMNS = ["set", "n", "R", "setting", "speed-up", "late", "best lost", "gap/SE", "worse", "goal"]


def main(argv: Sequence[str] | None = None) -> None:
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--sets", nargs="+", help="names of curve sets (default: all)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of the default setting (default: %(default)s)")
    parser.add_argument(
        "--grid-seeds", type=int, default=1, help="runs of every other setting; 0 for none (default: %(default)s)"
    )
    parser.add_argument("--iterations", type=int, default=40, help="consecutive Hyperbands (default: %(default)s)")
    parser.add_argument("--predictor", default=DEFAULT.predictor, help="of the other settings (default: %(default)s)")
    parser.add_argument("--once", action="store_true", help="no configuration is drawn again before all others were")
    options = parser.parse_args(argv)
    found = [Table.of(curve_set) for curve_set in load_all(options.data, options.sets)]
    tables = {table.curve_set.name: table for table in found if table is not None}
    if not tables:
        return
    how = {"n_iterations": options.iterations, "with_replacement": not options.once}
    shipped, others = [], []
    for table in tables.values():
        shipped += compare(table, [DEFAULT], range(options.seed, options.seed + options.seeds), **how)
        benchmark_cli.show("f-Hyperband over Hyperband", COLUMNS, [row(shipped[-1], table)])
        if options.grid_seeds:
            others += compare(table, grid(options.predictor), range(options.seed, options.seed + options.grid_seeds), **how)
    benchmark_cli.show("Shipped default", COLUMNS, [row(c, tables[c.set_name]) for c in shipped])
    if others:
        benchmark_cli.show(
            "Other settings: letter or recall, threshold, kappa", COLUMNS, [row(c, tables[c.set_name]) for c in others]
        )
    options.out.mkdir(parents=True, exist_ok=True)
    run_figures.draw(options.out, shipped, others)
    headline = {
        "speedup_late": {c.set_name: round(c.late()[0], 3) for c in shipped},
        "speedup_total": {c.set_name: round(c.total()[0], 3) for c in shipped},
        "regret_gap_in_se": {c.set_name: round(c.gap(), 3) if np.isfinite(c.gap()) else None for c in shipped},
    }
    benchmark_cli.conclude(options.out, "hyperband_replay", headline, [c.details() for c in [*shipped, *others]])


if __name__ == "__main__":
    main()
