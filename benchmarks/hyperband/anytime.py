"""What does a budget find? Share of searches that found one of the best 1 % of a set, by budget, and the regret.

A budget is a number of full trainings. Searchers draw configurations of a set with replacement, the same ones for all. Only sets
of 100 runs and more count. With several workers, epochs take uneven times and a budget is a time in which workers may be idle.

    python -m benchmarks.hyperband.anytime --data ../shared/data --out out
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import benchmark_cli
from benchmarks.hyperband.budgeted_search import Complete, Draws, Made, scheduled, stopped
from benchmarks.replay.policy_figures import subplots
from benchmarks.replay.search_set import SearchSet, domain_of, load_searches
from benchmarks.replay.train_policy import LEFT_OUT, left_out_coefficients, mapped
from curvestop.clients.backtest.curve_set import Array
from curvestop.hyperband.run.run_folder import DEFAULTS
from curvestop.hyperband.scheduler.asynchronous import Asha, AsynchronousHyperband
from curvestop.hyperband.scheduler.bracket_scheduler import BracketScheduler
from curvestop.hyperband.scheduler.brackets import Bracket, Rung, single_bracket
from curvestop.hyperband.scheduler.rung_history import CutoffRecall
from curvestop.hyperband.scheduler.synchronous import FHyperband
from curvestop.srm.curve import Configuration
from curvestop.srm.policies.learned import LearnedPolicy
from curvestop.srm.policies.registry import POLICIES
from curvestop.srm.policies.rules import Halving
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.settings import POLICY_FOR, StudySettings
from curvestop.srm.study import Study

LEAST_RUNS = 100
BUDGETS = (20, 40, 80)
"""In full trainings."""
LARGEST_SAVING, LARGEST_SAVING_OF_LEARNED, LARGEST_SAVING_WITH_STOPS = 0.92, 0.75, 0.97
"""No stopping rule here saves more, nor `hyperband run` with its stops: so many draws are enough for the largest budget."""
OURS, WITH_STOPS = "hyperband run --no-stop", "hyperband run"

Sample = Callable[[], Configuration]
Searcher = Callable[[Draws, float], list[Complete]]


def asha(
    sample: Sample, max_epochs: int, budget: float, *, eta: int = 3, by_last: bool = False, with_stops: bool = False
) -> Made:
    """Return what `hyperband run` makes, with draws left at the end of the budget.

    Args:
        sample: Draws a configuration.
        max_epochs: Most epochs of any configuration.
        budget: In full trainings.
        eta: One configuration in eta is promoted.
        by_last: Whether the last value ranks, not the best so far.
        with_stops: Whether trials are stopped inside rungs.
    """
    defaults = DEFAULTS["asha"]
    rule = StoppingRule(threshold=defaults["threshold"])
    study = Study(StudySettings("anytime", max_epochs, rule=rule), fit="deferred") if with_stops else None
    make = AsynchronousHyperband if by_last else Asha
    plan = [single_bracket(max_epochs, eta=eta, budget=2 * budget)]
    recall = CutoffRecall() if with_stops else None
    return Made(
        make(sample, max_epochs=max_epochs, eta=eta, plan=plan, study=study, kappa=defaults["kappa"], recall=recall), study
    )


def hyperband(sample: Sample, max_epochs: int, budget: float, *, scheduler: type[BracketScheduler]) -> Made:
    """Return plain Hyperband, eta 3, with more iterations than the budget needs."""
    return Made(scheduler(sample, max_epochs=max_epochs, n_iterations=max(2, int(budget))))


def promoting(sample: Sample, max_epochs: int, budget: float, *, share: float, eta: int) -> Made:
    """Return promoting ASHA with its first rung after a share of the epochs, ranked by the last value, with draws left."""
    lengths = [*Halving(first_share=share, eta=eta).decision_points(max_epochs), max_epochs]
    n = math.ceil(2 * budget / share)
    plan = [Bracket(tuple(Rung(max(n // eta**i, 1), epochs) for i, epochs in enumerate(lengths)))]
    return Made(AsynchronousHyperband(sample, max_epochs=max_epochs, eta=eta, plan=plan))


def by_rule(draws: Draws, budget: float, *, policy: str, settings: Mapping[str, Any]) -> list[Complete]:
    """Search at random, under a stopping rule."""
    return stopped(draws, POLICIES[policy](**settings))


def by_learned(draws: Draws, budget: float) -> list[Complete]:
    """Search at random under the default policy, with coefficients that never saw the set's domain."""
    coefficients = left_out_coefficients(LEFT_OUT).get(domain_of(draws.search.name))
    return stopped(draws.first(int(budget / (1 - LARGEST_SAVING_OF_LEARNED))), LearnedPolicy(coefficients=coefficients))


SEARCHERS: Mapping[str, Searcher] = {
    "random, nothing stopped": lambda draws, budget: stopped(draws, None),
    **{
        f"stopping ASHA from {share:.0%}, eta {eta}": partial(by_rule, policy="asha", settings={"first_share": share, "eta": eta})
        for share in (0.05, 0.1)
        for eta in (2, 4)
    },
    **{f"promoting ASHA from 10%, eta {eta}": partial(scheduled, make=partial(promoting, share=0.1, eta=eta)) for eta in (2, 4)},
    'stopping ASHA, goal="budget"': partial(by_rule, policy=POLICY_FOR["budget"][0], settings=POLICY_FOR["budget"][1]),
    "one look at 10 %, keep half": partial(by_rule, policy="i-epoch", settings={"share": 0.1, "keep": 0.5}),
    "Hyperband": partial(scheduled, make=partial(hyperband, scheduler=FHyperband)),
    "Hyperband, async": partial(scheduled, make=partial(hyperband, scheduler=AsynchronousHyperband)),
    f"{OURS}, by last value": partial(scheduled, make=partial(asha, by_last=True)),
    f"{OURS}, eta 2": partial(scheduled, make=partial(asha, eta=2)),
    f"{OURS}, eta 4": partial(scheduled, make=partial(asha, eta=4)),
    OURS: partial(scheduled, make=asha),
}
SLOW: Mapping[str, Searcher] = {
    "random, learned policy": by_learned,
    WITH_STOPS: partial(scheduled, make=partial(asha, with_stops=True)),
}
"""With models of many curves, a search takes up to minutes."""
PEERS = ("stopping ASHA from 10%, eta 2", "stopping ASHA from 10%, eta 4")
"""The better of these is what ours is compared with: ASHA with usual settings."""


def searchers(slow: bool) -> Mapping[str, Searcher]:
    """Return all searchers, or all but the slow ones."""
    return {**SEARCHERS, **SLOW} if slow else SEARCHERS


def large(sets: Sequence[SearchSet]) -> list[SearchSet]:
    """Return the sets that have enough runs."""
    return [searches for searches in sets if len(searches.scores) >= LEAST_RUNS]


@dataclass(frozen=True)
class Task:
    """All searchers on one set with one seed."""

    searches: SearchSet
    seed: int
    budgets: tuple[int, ...]
    workers: int
    slow: bool


def figures_of(task: Task) -> dict[str, Array]:
    """Return, by searcher, `(budgets, 2)`: found and regret."""
    largest = max(task.budgets)
    saving = LARGEST_SAVING_WITH_STOPS if task.slow else LARGEST_SAVING
    draws = Draws.of(task.searches, task.seed, int(largest / (1 - saving)) + task.workers, workers=task.workers)
    found = {}
    for name, searcher in searchers(task.slow).items():
        complete = searcher(draws, largest)
        found[name] = np.array([draws.figures(complete, budget) for budget in task.budgets])
    return found


def compare(
    sets: Sequence[SearchSet],
    seeds: Sequence[int],
    budgets: tuple[int, ...],
    *,
    workers: int = 1,
    slow: bool = False,
    jobs: int = 1,
) -> dict[str, Array]:
    """Return, by searcher, `(sets, seeds, budgets, 2)`: found and regret."""
    tasks = [Task(searches, seed, budgets, workers, slow) for searches in sets for seed in seeds]
    found = list(mapped(figures_of, tasks, jobs))
    shape = (len(sets), len(seeds), len(budgets), 2)
    return {name: np.array([f[name] for f in found]).reshape(shape) for name in searchers(slow)}


def headline(results: Mapping[str, Array], budgets: Sequence[int]) -> dict[str, list[float]]:
    """Return, by budget, the share that found one of the best: ours, and the better ASHA."""
    shares = {name: scores.mean(axis=(0, 1))[:, 0] for name, scores in results.items()}
    best = np.max([shares[name] for name in PEERS], axis=0)
    return {str(budget): [round(float(shares[OURS][k]), 4), round(float(best[k]), 4)] for k, budget in enumerate(budgets)}


def found_by_budget(sets: Sequence[SearchSet], seed: int, *, jobs: int = 1) -> dict[str, list[float]] | None:
    """Return the headline of five seeds with one worker; None if no set has enough runs."""
    sets = large(sets)
    if not sets:
        return None
    return headline(compare(sets, range(seed, seed + 5), BUDGETS, jobs=jobs), BUDGETS)


def show(title: str, results: Mapping[str, Array], budgets: Sequence[int]) -> None:
    """Print means over sets and seeds, and ours minus each searcher with the standard error over the sets."""
    rows: list[list[object]] = []
    for name, scores in results.items():
        means = scores.mean(axis=(0, 1))
        row: list[object] = [name, *(f"{share:.3f}" for share in means[:, 0]), *(f"{regret:.3f}" for regret in means[:, 1])]
        for measure in (0, 1):
            gaps = (results[OURS] - scores).mean(axis=1)[..., measure].mean(axis=1)
            mean, error = benchmark_cli.mean_and_error(gaps.tolist())
            row.append(f"{mean:+.3f} +- {error:.3f}")
        rows.append(row)
    heads = ["searcher", *(f"found, {b}" for b in budgets), *(f"regret, {b}" for b in budgets), "ours - it, found", "regret"]
    benchmark_cli.show(title, heads, rows)


def show_sets(sets: Sequence[SearchSet], results: Mapping[str, Array]) -> None:
    """Print the sets in which ours finds one of the best less often than the better ASHA."""
    ours = results[OURS].mean(axis=(1, 2))[:, 0]
    best = np.max([results[name].mean(axis=(1, 2))[:, 0] for name in PEERS], axis=0)
    rows: list[list[object]] = [
        [name, float(ours[k]), float(best[k])] for k, name in enumerate(s.name for s in sets) if ours[k] < best[k] - 1e-9
    ]
    benchmark_cli.show(
        "Sets in which ASHA finds one of the best more often (mean over the budgets)", ["set", "ours", "ASHA"], rows
    )


def draw(path: Path, title: str, results: Mapping[str, Array], budgets: Sequence[int]) -> None:
    """Draw found and regret against the budget, a line for each searcher."""
    figure, axes = subplots(1, 2)
    for ax, measure, words in zip(axes, (0, 1), ("share that found one of the best 1 %", "regret"), strict=True):
        for name, scores in results.items():
            style = {"lw": 2.5, "color": "black", "zorder": 3} if name in (OURS, WITH_STOPS) else {"lw": 1}
            ax.plot(budgets, scores.mean(axis=(0, 1))[:, measure], marker="o", ms=3, label=name, **style)
        ax.set(xlabel="budget in full trainings", ylabel=words, xscale="log")
    axes[0].legend(fontsize=7)
    figure.suptitle(title)
    figure.savefig(path, dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison."""
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--sets", nargs="+", help="names of curve sets (default: all but NAME-seeds)")
    parser.add_argument("--seeds", type=int, default=5, help="searches of every set (default: %(default)s)")
    parser.add_argument("--budgets", type=int, nargs="+", default=list(BUDGETS), help="full trainings (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="trials that train at once (default: %(default)s)")
    parser.add_argument(
        "--slow", action="store_true", help="also what takes minutes a search: the learned policy, `hyperband run` with its stops"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes; the figures do not depend on it")
    options = parser.parse_args(argv)
    sets, budgets = large(load_searches(options.data, options.sets)), tuple(options.budgets)
    if not sets:
        print(f"skipped: no set in {options.data} has {LEAST_RUNS} runs")
        return
    seeds = range(options.seed, options.seed + options.seeds)
    results = compare(sets, seeds, budgets, workers=options.workers, slow=options.slow, jobs=options.jobs)
    title = f"{len(sets)} sets, {options.seeds} seeds, {options.workers} workers"
    show(title, results, budgets)
    show_sets(sets, results)
    options.out.mkdir(parents=True, exist_ok=True)
    draw(options.out / f"anytime_{options.workers}.png", title, results, budgets)
    found = headline(results, budgets)
    benchmark_cli.conclude(options.out, "anytime", {"sets": len(sets), "workers": options.workers, "budget": found})


if __name__ == "__main__":
    main()
