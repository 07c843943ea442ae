"""How much do stopping rules save, and what do they lose? Searches on real learning curves, replayed.

A search is --trials runs of a set in one order. Every epoch of every trial counts. Nothing is clipped: see `search_set`. The
learned policy is replayed on each set with coefficients that never saw the set's domain; --frozen takes those of the package.

    python -m benchmarks.replay --data ../shared/data --out out
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np

from benchmarks import benchmark_cli
from benchmarks.hyperband import anytime
from benchmarks.replay import calibration, policy_figures, policy_report
from benchmarks.replay.compared_rules import DEFAULT_RISK, OURS, Entry, OtherEntry, label_of, ours, peers
from benchmarks.replay.left_out import coefficients_by_domain
from benchmarks.replay.paired import Results, paired
from benchmarks.replay.search_replay import SearchReplay
from benchmarks.replay.search_scores import Scores, is_best
from benchmarks.replay.search_set import Order, SearchSet, epoch_durations, load_searches
from benchmarks.replay.shuffled_study import Models
from benchmarks.replay.train_policy import LEFT_OUT, mapped
from curvestop.clients.backtest.curve_set import Array
from curvestop.srm.plural import plural
from curvestop.srm.policies.learned import Coefficients, LearnedPolicy

SECOND_CHANCES = 0.05
"""Share of all epochs that second chances may cost."""
WITH_SECOND_CHANCES = f"{label_of(DEFAULT_RISK)} and second chances"


@dataclass(frozen=True)
class Task:
    """One search to replay under all rules.

    Attributes:
        searches: The set.
        seed: Seed of the order.
        n_trials: Number of trials.
        workers: Number of workers.
        order: Kind of order.
        coefficients: Those of the learned policy; None for those of the package.
    """

    searches: SearchSet
    seed: int
    n_trials: int
    workers: int
    order: Order
    coefficients: Coefficients | None


@dataclass(frozen=True)
class Replayed:
    """One search under all rules.

    Attributes:
        scores: Label of a rule -> its scores.
        stated: `(k,)` chances that the default stated at decision points.
        happened: `(k,)` 1 if the trial ended as the best, else 0.
    """

    scores: Mapping[str, Scores]
    stated: Array
    happened: Array


@dataclass(frozen=True)
class Comparison:
    """All searches of one size.

    Attributes:
        results: Label of a rule -> `(sets, orders, measures)` of `Scores`.
        calibration: Bins of the chances that the default stated.
        by_domain: Domain -> (cases, stated, happened) of statements below 2 %.
    """

    results: Results
    calibration: Sequence[calibration.Bin]
    by_domain: Mapping[str, tuple[int, float, float]]

    def headline(self) -> dict[str, float | None]:
        """Return the figures of the default."""
        default, second = (self.results[label].mean(axis=(0, 1)) for label in (label_of(DEFAULT_RISK), WITH_SECOND_CHANCES))
        means, with_second = Scores(*default.tolist()), Scores(*second.tolist())
        in_noise = policy_report.means_of(self.results[label_of(DEFAULT_RISK)])
        return {
            "saved": round(means.saved, 4),
            "regret": round(means.regret, 4),
            "top_lost": round(means.top_lost, 4),
            "best_lost": round(means.best_lost, 4),
            "best_lost_with_second_chances": round(with_second.best_lost, 4),
            **{name: in_noise[name] for name in policy_report.IN_NOISE},
        }


def replay(task: Task, entries: Sequence[Entry | OtherEntry]) -> Replayed:
    """Replay a search under all rules; models that learn from the same trials are fitted once."""
    search = task.searches.search(task.seed, task.n_trials, order=task.order)
    models, durations = Models(search), epoch_durations(search, task.workers)
    scores, stated, happened = {}, np.empty(0), np.empty(0)
    for entry in entries:
        if isinstance(entry, OtherEntry):
            other = entry.replays(search, workers=task.workers, durations=durations)
            scores[entry.label] = Scores.of(search, other.ended_at, other.time_saved, noise=task.searches.noise)
            continue
        rule = entry.learned_with(task.coefficients)
        run = SearchReplay(search, rule, workers=task.workers, models=models if entry.uses_model else None, durations=durations)
        scores[entry.label] = Scores.of(search, run.ended_at, run.time_saved, noise=task.searches.noise)
        if isinstance(rule, LearnedPolicy) and rule.risk == DEFAULT_RISK:
            if run.chances:
                trials, chances = zip(*run.chances, strict=True)
                stated, happened = np.array(chances), is_best(search)[list(trials)]
            after = run.second_chances(rule, SECOND_CHANCES)
            scores[WITH_SECOND_CHANCES] = Scores.of(search, after, noise=task.searches.noise)
    return Replayed(scores, stated, happened)


def compare(tasks: Sequence[Task], entries: Sequence[Entry | OtherEntry], *, jobs: int = 1) -> Comparison:
    """Replay all tasks: the same number of orders of every set, set by set."""
    replayed: list[Replayed] = list(mapped(partial(replay, entries=entries), tasks, jobs))
    n_sets = len(dict.fromkeys(task.searches.name for task in tasks))
    results = {
        label: np.array([r.scores[label] for r in replayed]).reshape(n_sets, -1, len(Scores._fields))
        for label in replayed[0].scores
    }
    stated, happened = (np.concatenate([getattr(r, name) for r in replayed]) for name in ("stated", "happened"))
    domains = np.concatenate([np.full(len(r.stated), t.searches.domain) for r, t in zip(replayed, tasks, strict=True)])
    low = stated < 0.02
    by_domain = {
        str(domain): (int(inside.sum()), float(stated[inside].mean()), float(happened[inside].mean()))
        for domain in np.unique(domains)
        if (inside := low & (domains == domain)).any()
    }
    return Comparison(results, calibration.bins(stated, happened, domains), by_domain)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison."""
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--sets", nargs="+", help="names of curve sets (default: all but NAME-seeds)")
    parser.add_argument(
        "--trials", type=int, nargs="+", default=[20, 40, 60, 100], help="numbers of trials (default: %(default)s)"
    )
    parser.add_argument("--orders", type=int, default=10, help="orders of every set, from --seed on (default: %(default)s)")
    parser.add_argument("--order", choices=get_args(Order), default="random", help="kind of order (default: %(default)s)")
    parser.add_argument(
        "--workers", type=int, default=1, help="trials that run at once, in simulated time (default: %(default)s)"
    )
    parser.add_argument("--frozen", action="store_true", help="the package's coefficients for all sets")
    parser.add_argument("--leave-out", choices=["domain"], default="domain", help="what the coefficients never saw")
    parser.add_argument("--coefficients", type=Path, default=LEFT_OUT, help="file of left-out coefficients")
    parser.add_argument("--only-ours", action="store_true", help="leave the other rules out")
    parser.add_argument("--jobs", type=int, default=1, help="processes; the figures do not depend on it")
    options = parser.parse_args(argv)
    sets = load_searches(options.data, options.sets)
    if not sets:
        return
    entries = ours() if options.only_ours else [*ours(), *peers()]
    known = {} if options.frozen else coefficients_by_domain((s.domain for s in sets), options.coefficients)
    seeds = range(options.seed, options.seed + options.orders)
    headline: dict[str, Any] = {}
    details, above = {}, []
    labels = [entry.label for entry in entries if entry.family == OURS]
    for n_trials in options.trials:
        tasks = [Task(s, seed, n_trials, options.workers, options.order, known.get(s.domain)) for s in sets for seed in seeds]
        comparison = compare(tasks, entries, jobs=options.jobs)
        plain = {label: scores for label, scores in comparison.results.items() if label != WITH_SECOND_CHANCES}
        pairs = paired(plain, labels)
        workers = plural(options.workers, "worker")
        title = f"{len(sets)} sets, {n_trials} trials, {options.orders} {options.order} orders, {workers}"
        policy_report.show_results(title, comparison.results)
        policy_report.show_noise(comparison.results)
        policy_report.show_pairs(pairs)
        policy_report.show_sets([s.name for s in sets], comparison.results[label_of(DEFAULT_RISK)])
        policy_report.show_lost_sets([s.name for s in sets], pairs)
        policy_report.show_calibration(comparison.calibration, comparison.by_domain)
        above += [f"{n_trials} trials: {pair.label}" for pair in pairs if pair.is_above_ours]
        headline[f"n{n_trials}"] = comparison.headline()
        factors = [
            f for f in (headline.get("calibration_worst"), calibration.worst_factor(comparison.calibration)) if f is not None
        ]
        headline["calibration_worst"] = round(max(factors), 3) if factors else None
        details[n_trials] = policy_report.details([s.name for s in sets], comparison.results, comparison.calibration)
        options.out.mkdir(parents=True, exist_ok=True)
        policy_figures.draw(options.out / f"replay_{n_trials}.png", title, entries, comparison.results)
    headline["rules_above"] = above
    headline["calibration_worst"] = headline.pop("calibration_worst")
    headline["budget"] = None if options.only_ours else anytime.found_by_budget(sets, options.seed, jobs=options.jobs)
    benchmark_cli.conclude(options.out, "replay", headline, details)


if __name__ == "__main__":
    main()
