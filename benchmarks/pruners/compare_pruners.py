"""What do pruners save, and which good runs do they kill? Optuna's and ours in real studies whose objective replays real curves.

A study is --trials curves of a set in a random order, in memory, one trial after the other through ask, report, should_prune
and tell; every epoch of every trial counts, those before a pruner begins too. Saved: the share of the epochs that was not
trained. Killed: the share of the best tenth that was pruned. Regret: what the best complete trial falls short of the best of
all, in standard deviations of the better half. Our curve goes through several settings of SRMPruner, of which on each set the
best ones count, as the best ones of a peer do; a peer is above it where it saves more at no more killed. Some of the settings
are the field's own rules, which SRMPruner has too (ASHA, median, patience), guarded by predictions or not; who is above the
curve of the others alone is said as well.

--cost asks instead what one call of `prune` costs, with 1,000 finished trials of 50 steps.

    python -m benchmarks.pruners --data ../shared/data --out out
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import optuna

from benchmarks import benchmark_cli
from benchmarks.curves import CurveFile, load_all
from benchmarks.pruners import cost, figure
from benchmarks.pruners.pruner_scores import Above, Scored, above, details
from benchmarks.pruners.pruner_settings import DEFAULT, Setting, guarded, hyperbands, peers, predicting, wilcoxon
from benchmarks.replay.shuffled_study import shuffled
from curvestop.clients.backtest.curve_set import CurveSet, Outcome
from curvestop.clients.backtest.optuna_pruners import ended_at

Studies = dict[str, list[CurveSet]]
COLUMNS = ["pruner", "setting", "saved", "top tenth killed", "best killed", "regret"]
NOT_FOR_CURVES = """WilcoxonPruner tests whether a trial's values are worse than the best trial's at the same steps.
These are meant to be folds or instances of equal standing, which the epochs of a curve are not: it does not apply here."""
BUT_RUN = "It is run all the same, on the first {} of the orders, as its test is slow.\n"


def scores(settings: Callable[[], Iterable[Setting]], studies: Studies, jobs: int = 1) -> list[Scored]:
    """All settings on all studies, by so many processes."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        futures = {name: [pool.submit(outcomes, settings, study) for study in some] for name, some in studies.items()}
        by_order = {name: [future.result() for future in of_set] for name, of_set in futures.items()}
    return [
        Scored(setting, {name: [found[number] for found in orders] for name, orders in by_order.items()})
        for number, setting in enumerate(settings())
    ]


def outcomes(settings: Callable[[], Iterable[Setting]], study: CurveSet) -> list[Outcome]:
    """What each setting does to a study."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental pruners say so, and so does a test of values that are all equal
        return [Outcome.of(study, ended_at(study, setting.make(study.curves.shape[1]))) for setting in settings()]


def show(title: str, scored: Sequence[Scored], set_name: str | None) -> None:
    rows: list[list[object]] = [
        [
            one.setting.family,
            one.setting.label,
            *(_text(*figure(set_name)) for figure in (one.saved, one.killed, one.best_killed, one.regret)),
        ]
        for one in scored
    ]
    benchmark_cli.show(title, COLUMNS, rows)


def _text(mean: float, error: float) -> str:
    return f"{mean:.3f} +- {error:.3f}"


def _above(own: Sequence[Scored], theirs: Sequence[Scored], names: Iterable[str]) -> list[Above]:
    """By set, and last on all together."""
    return [a for name in (*names, None) for peer in theirs if (a := above(peer, own, name)) is not None]


def _sets_of(found: Iterable[Above]) -> list[str]:
    return sorted({a.set_name for a in found if a.set_name is not None})


def show_above(title: str, found: Sequence[Above]) -> None:
    heads = ["set", "peer", "setting", "killed", "saved", "more than our curve"]
    rows: list[list[object]] = [
        [a.set_name or "all sets", a.setting.family, a.setting.label, a.killed, _text(a.saved, a.error), a.by] for a in found
    ]
    benchmark_cli.show(title, heads, rows)


def show_cost(sets: Sequence[CurveFile], n_calls: int, seed: int, out: Path) -> None:
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
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--sets", nargs="+", help="names of curve sets (default: all)")
    parser.add_argument("--orders", type=int, default=4, help="random orders of every set (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=100, help="most trials in a study (default: %(default)s)")
    parser.add_argument("--wilcoxon-orders", type=int, default=0, help="orders for WilcoxonPruner (default: none)")
    parser.add_argument("--cost", action="store_true", help="what a call costs")
    parser.add_argument("--calls", type=int, default=500, help="of each pruner, for --cost (default: %(default)s)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    options = parsed(argv)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    sets = load_all(options.data, options.sets)
    if not sets:
        return
    if options.cost:
        show_cost(sets, options.calls, options.seed, options.out)
        return
    seeds = range(options.seed, options.seed + options.orders)
    studies = {s.name: [shuffled(s, seed, n_trials=options.trials) for seed in seeds] for s in sets}
    by_prediction, by_rule, rungs, theirs = (
        scores(settings, studies, options.jobs) for settings in (predicting, guarded, hyperbands, peers)
    )
    own = [*by_prediction, *by_rule]
    print(NOT_FOR_CURVES)
    if options.wilcoxon_orders:
        print(BUT_RUN.format(options.wilcoxon_orders))
        theirs += scores(wilcoxon, {name: some[: options.wilcoxon_orders] for name, some in studies.items()}, options.jobs)
    everything = [*own, *rungs, *theirs]
    for name in studies:
        show(f"{name}: {options.orders} orders of at most {options.trials} trials", everything, name)
    show(f"{len(studies)} sets, weighing the same", everything, None)
    show_above("Peers above our curve", found := _above(own, theirs, studies))
    without = _above(by_prediction, theirs, studies)
    show_above("Peers above the curve of the settings that go by predicted places alone", without)
    options.out.mkdir(parents=True, exist_ok=True)
    figure.draw(options.out, own, [*rungs, *theirs], list(studies))
    shipped = next(one for one in own if one.setting.label == DEFAULT)
    headline = {
        "sets_where_a_peer_is_above": _sets_of(found),
        "by_more_than_two_errors": _sets_of(a for a in found if a.by > 2 * a.error),
        "above_predicted_places_alone": _sets_of(without),
        "ours": {name: [round(shipped.saved(name)[0], 3), round(shipped.killed(name)[0], 3)] for name in studies},
    }
    benchmark_cli.conclude(options.out, "pruners", headline, details(everything))


if __name__ == "__main__":
    main()
