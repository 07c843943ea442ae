"""What do pruners save, and which good runs do they prune? Optuna's and ours in real studies whose objective replays real curves.

A study is --trials curves of a set in a random order, in memory, one trial after the other through ask, report, should_prune
and tell; every epoch of every trial counts, those before a pruner begins too. Sets, measures and the comparison at equal saving
are those of `python -m benchmarks.replay`: nothing is clipped, and SRMPruner has coefficients that never saw the set's domain.

--cost asks instead what one call of `prune` costs, with 1,000 finished trials of 50 steps.

    python -m benchmarks.pruners --data ../shared/data --out out
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna

from benchmarks import benchmark_cli
from benchmarks.curves import CurveFile, load_all
from benchmarks.pruners import cost
from benchmarks.pruners.pruner_settings import AS_IT_COMES, Setting, others_of_ours, ours, peers
from benchmarks.replay import policy_figures, policy_report
from benchmarks.replay.left_out import coefficients_by_domain, shipped
from benchmarks.replay.paired import Results, paired
from benchmarks.replay.search_scores import Scores
from benchmarks.replay.search_set import SearchSet, load_searches
from benchmarks.replay.train_policy import mapped
from curvestop.clients.backtest.optuna_pruners import ended_at
from curvestop.srm.policies.learned import Coefficients


@dataclass(frozen=True)
class Task:
    """One study to replay under all settings.

    Attributes:
        searches: The set.
        seed: Seed of the order.
        n_trials: Number of trials.
        coefficients: Those of the learned policy; None for those of the package.
    """

    searches: SearchSet
    seed: int
    n_trials: int
    coefficients: Coefficients | None


def settings() -> Iterator[Setting]:
    """Return all settings that are compared, ours first."""
    yield from ours()
    yield from others_of_ours()
    yield from peers()


def scores_of(task: Task) -> dict[str, Scores]:
    """Return what each setting does to a study, by its label."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = task.searches.search(task.seed, task.n_trials)
    scores = {}
    with warnings.catch_warnings(), shipped(task.coefficients):
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        for setting in settings():
            ended = ended_at(search, setting.make(search.max_epochs))
            scores[setting.label] = Scores.of(search, ended, noise=task.searches.noise)
    return scores


def compare(tasks: Sequence[Task], *, jobs: int = 1) -> Results:
    """Replay all tasks, the same number of orders of every set, set by set; return `(sets, orders, measures)` by label."""
    scored: list[dict[str, Scores]] = list(mapped(scores_of, tasks, jobs))
    n_sets = len(dict.fromkeys(task.searches.name for task in tasks))
    return {label: np.array([s[label] for s in scored]).reshape(n_sets, -1, len(Scores._fields)) for label in scored[0]}


def show_cost(sets: Sequence[CurveFile], n_calls: int, seed: int, out: Path) -> None:
    """Show what a call costs, on the first set whose curves are long enough."""
    curve_set = next((s for s in sets if s.n_epochs >= cost.STEPS), None)
    if curve_set is None:
        print(f"skipped: no curve set of {cost.STEPS} epochs or more")
        return
    replayed = cost.resampled(curve_set, cost.FINISHED + 100, seed)
    with tempfile.TemporaryDirectory() as folder:
        found = [(storage, name, cost) for storage, name, cost in cost.costs(replayed, n_calls, Path(folder))]
    title = f"prune() with {cost.FINISHED} finished trials of {cost.STEPS} steps of {curve_set.name}"
    benchmark_cli.show(title, cost.COLUMNS, [[storage, name, *cost.row()] for storage, name, cost in found])
    headline = {f"{name}, {storage}": round(cost.median(), 3) for storage, name, cost in found}
    benchmark_cli.conclude(out, "pruners_cost", {"median_ms": headline})


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--sets", nargs="+", help="names of curve sets (default: all but NAME-seeds)")
    parser.add_argument("--orders", type=int, default=4, help="orders of every set, from --seed on (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=60, help="most trials in a study (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=1, help="processes; the figures do not depend on it")
    parser.add_argument("--cost", action="store_true", help="what a call costs")
    parser.add_argument("--calls", type=int, default=500, help="of each pruner, for --cost (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison, or measure what a call costs."""
    options = parsed(argv)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if options.cost:
        show_cost(load_all(options.data, options.sets), options.calls, options.seed, options.out)
        return
    sets = load_searches(options.data, options.sets)
    if not sets:
        return
    known = coefficients_by_domain(s.domain for s in sets)
    seeds = range(options.seed, options.seed + options.orders)
    results = compare([Task(s, seed, options.trials, known[s.domain]) for s in sets for seed in seeds], jobs=options.jobs)
    names, pairs = [s.name for s in sets], paired(results, [setting.label for setting in ours()])
    title = f"{len(sets)} sets, studies of {options.trials} trials, {options.orders} random orders"
    policy_report.show_results(title, results)
    policy_report.show_pairs(pairs)
    policy_report.show_lost_sets(names, pairs)
    options.out.mkdir(parents=True, exist_ok=True)
    policy_figures.draw(options.out / "pruners.png", title, list(settings()), results)
    means = policy_report.means_of(results[AS_IT_COMES])
    headline = {
        "as_it_comes": {measure: means[measure] for measure in ("saved", "top_lost", "best_lost", "regret")},
        "pruners_above": [pair.label for pair in pairs if pair.is_above_ours],
    }
    benchmark_cli.conclude(options.out, "pruners", headline, policy_report.details(names, results))


if __name__ == "__main__":
    main()
