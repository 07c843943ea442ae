"""MetaQNN's search at the size of its papers: 2,700 networks of 20 epochs, with and without stopping by prediction.

The thesis (section 4.2.3) trains 2,700 networks by the schedule of Table 2, learns from the first 100 curves (d = 100), stops at
a probability of 0.99, and reports 3.8 times fewer epochs and the cumulative accuracy of the best networks (Figure 4-6). Here the
images are scikit-learn's digits and the space is that of `metaqnn_digits`, so that a search takes an hour of one core, not weeks.

The sides: "whole" trains every network to the end; "nu-SVR" is the thesis's model, fitted once on the first 100 curves, and
"stacked" the default one, each with the thesis's rule against the best and against the 10th best network (section 4.1.2);
"learned" is a study's default policy. Two questions are answered for each:

- A search: networks proposed by the agent, which learns from predicted accuracies of those that are stopped. Epochs, the best
  networks, and the mean accuracy at each epsilon.
- A replay: the networks of the whole search in their order, so that the ten best of 2,700 are known. How many are kept?

Curves are kept in OUT/metaqnn_paper.npz as they come: the command goes on where it was interrupted, and sides share networks.

    python -m benchmarks.nas.metaqnn_paper --out out --seeds 1  # about an hour on one core
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import benchmark_cli
from benchmarks.nas.metaqnn_digits import CurveTrainer, Outcome, load_curves, run_digits_search, save_curves
from benchmarks.replay.policy_figures import subplots
from curvestop.clients.nas.search.architecture_search import Record
from curvestop.clients.nas.training.recipes import Recipe, decayed
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study

EPOCHS, N_MODELS, N_FIRST, THRESHOLD = 20, 2700, 100, 0.99
RECIPE = Recipe(decayed(EPOCHS), batch_size=10)
N_BEST = 10
N_MARKS = 9
WHOLE = "whole"


def thesis(rank: int) -> StudySettings:
    """The thesis's predictor, fitted once, and its rule against the rank-th best."""
    return StudySettings(
        "thesis",
        EPOCHS,
        rule=StoppingRule(threshold=THRESHOLD, rank=rank, min_curves=N_FIRST),
        policy="threshold",
        predictor="nu-svr",
        predictor_settings={"n_candidates": 1000},
        log_scaled=("ap:weights",),
        refit_growth=1e6,
    )


def stacked(rank: int) -> StudySettings:
    """The default predictor, which learns from each complete curve, and the thesis's rule against the rank-th best."""
    rule = StoppingRule(threshold=THRESHOLD, rank=rank, min_curves=N_FIRST)
    return StudySettings("stacked", EPOCHS, rule=rule, policy="threshold", log_scaled=("ap:weights",))


SIDES: Mapping[str, Callable[[], StudySettings | None]] = {
    WHOLE: lambda: None,
    "nu-SVR, best": lambda: thesis(1),
    "nu-SVR, 10th best": lambda: thesis(N_BEST),
    "stacked, best": lambda: stacked(1),
    "stacked, 10th best": lambda: stacked(N_BEST),
    "learned": lambda: StudySettings("learned", EPOCHS, log_scaled=("ap:weights",)),
}


@dataclass(frozen=True)
class Kept:
    """A replay of a whole search in its own order: the epochs that were trained, and how many of its ten best to the end."""

    seed: int
    side: str
    epochs: int
    speedup: float
    n_kept: int


def replayed(whole: Outcome, side: str, settings: StudySettings) -> Kept:
    """Report the networks of a search that trained all to the end, epoch by epoch, and stop those that the study stops."""
    study, ended_at = Study(settings), list[int]()
    for record in whole.records:
        for epoch, value in enumerate(record.values, start=1):
            answer = study.report(record.trial, value, first_epoch=epoch, configuration=record.features, ask=epoch < EPOCHS)
            if answer.stop:
                break
        study.finish(record.trial, "finished" if epoch == EPOCHS else "stopped")
        ended_at.append(epoch)
    finals = np.array([record.values[-1] for record in whole.records])
    best = np.argsort(-finals, kind="stable")[:N_BEST]
    kept = int(np.sum(np.array(ended_at)[best] == EPOCHS))
    return Kept(whole.seed, side, sum(ended_at), whole.epochs / sum(ended_at), kept)


def best_so_far(records: Sequence[Record], n: int) -> list[float]:
    """The mean final accuracy of the n best of the first 1, 2, ... networks, of those that were trained to the end."""
    best, means = list[float](), []
    for record in records:
        if record.state == "finished":
            best = sorted([*best, record.values[-1]], reverse=True)[:n]
        means.append(float(np.mean(best)) if best else float("nan"))
    return means


def epochs_so_far(outcome: Outcome) -> list[int]:
    """Epochs trained in the first 1, 2, ... networks."""
    return list(itertools.accumulate(len(record.values) for record in outcome.records))


def main(argv: Sequence[str] | None = None) -> None:
    """Run all searches and print the comparison."""
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="searches of each side (default: %(default)s)")
    parser.add_argument("--models", type=int, default=N_MODELS, help="networks of each search (default: %(default)s)")
    options = parser.parse_args(argv)
    compare(CurveTrainer({}, RECIPE, options.out / "metaqnn_paper.npz"), options.seed, options.seeds, options.models, options.out)


def compare(trainer: CurveTrainer, seed: int, n_seeds: int, n_models: int, out: Path) -> None:
    """Run every side for each seed, and print and draw what became of it."""
    if trainer.kept_in is not None and trainer.kept_in.exists():
        trainer.curves.update(load_curves(trainer.kept_in))
    outcomes, replays = list[Outcome](), list[Kept]()
    for own_seed in range(seed, seed + n_seeds):
        for side, settings in SIDES.items():
            outcome = run_digits_search(trainer, own_seed, side=side, settings=settings(), n_models=n_models)
            if trainer.kept_in is not None and trainer.curves:
                trainer.kept_in.parent.mkdir(parents=True, exist_ok=True)
                save_curves(trainer.kept_in, trainer.curves)
            print(f"seed {own_seed}, {side}: {outcome.epochs} epochs, {outcome.seconds:.0f} s", flush=True)
            if side == WHOLE:
                whole = outcome
            elif (own := settings()) is not None:
                began = time.perf_counter()
                replays.append(replayed(whole, side, own))
                print(
                    f"  its networks in order: {replays[-1].n_kept} of {N_BEST}, {time.perf_counter() - began:.0f} s", flush=True
                )
            outcomes.append(outcome)
    report(outcomes, replays, out)
    draw(outcomes, out)


def report(outcomes: Sequence[Outcome], replays: Sequence[Kept], out: Path) -> None:
    """Print the tables; the last line has the means over the seeds."""
    by_seed = {o.seed: o for o in outcomes if o.side == WHOLE}
    rows: list[list[object]] = [
        [
            o.seed,
            o.side,
            o.epochs,
            by_seed[o.seed].epochs / o.epochs,
            o.n_stopped,
            *(float(np.mean(o.best_values(n))) for n in (1, 5, 15)),
        ]
        for o in outcomes
    ]
    heads = ["seed", "side", "epochs", "speed-up", "stopped", "best", "best 5", "best 15"]
    benchmark_cli.show("Each search", heads, rows)
    benchmark_cli.show(
        f"The networks of the whole search in its order: how many of its {N_BEST} best are trained to the end",
        ["seed", "side", "epochs", "speed-up", "kept"],
        [[k.seed, k.side, k.epochs, k.speedup, k.n_kept] for k in replays],
    )
    epsilons = sorted({record.label for o in outcomes for record in o.records}, reverse=True)
    accuracy = {side: {e: mean_over([o.mean_reward(e) for o in outcomes if o.side == side]) for e in epsilons} for side in SIDES}
    benchmark_cli.show(
        "Mean accuracy of the networks proposed at each epsilon, predicted where stopped (mean +- error over seeds)",
        ["epsilon", *SIDES],
        [[e, *(accuracy[side][e] for side in SIDES)] for e in epsilons],
    )
    n = len(outcomes[0].records)
    marks = [n * k // N_MARKS for k in range(1, N_MARKS + 1)]
    benchmark_cli.show(
        "Speed-up after so many networks (mean +- error over seeds)",
        ["networks", *(side for side in SIDES if side != WHOLE)],
        [
            [
                mark,
                *(
                    mean_over(
                        [
                            epochs_so_far(by_seed[o.seed])[mark - 1] / epochs_so_far(o)[mark - 1]
                            for o in outcomes
                            if o.side == side
                        ]
                    )
                    for side in SIDES
                    if side != WHOLE
                ),
            ]
            for mark in marks
        ],
    )
    headline = {
        side: {
            "speedup": round(float(np.mean([row[3] for row in rows if row[1] == side])), 3),
            "best5": round(float(np.mean([row[6] for row in rows if row[1] == side])), 4),
            "kept_of_10": float(np.mean([k.n_kept for k in replays if k.side == side])) if side != WHOLE else float(N_BEST),
            "speedup_in_order": round(float(np.mean([k.speedup for k in replays if k.side == side])), 3)
            if side != WHOLE
            else 1.0,
        }
        for side in SIDES
    }
    benchmark_cli.conclude(out, "metaqnn_paper", headline, {"searches": rows, "kept": [vars(k) for k in replays]})


def mean_over(values: Sequence[float]) -> str:
    """The mean over seeds and its standard error."""
    mean, error = benchmark_cli.mean_and_error(list(values))
    return f"{mean:.3f} +- {error:.3f}"


def draw(outcomes: Sequence[Outcome], out: Path) -> None:
    """`metaqnn_4_6.png`: the mean accuracy of the best, the 5 and the 15 best networks so far, by networks and by epochs."""
    figure, axes = subplots(1, 2)
    for k, side in enumerate(SIDES):
        outcome = next(o for o in outcomes if o.side == side)
        for n, style in ((1, "-"), (5, "--"), (15, ":")):
            means, label = best_so_far(outcome.records, n), f"{side}, best {n}" if n > 1 else side
            axes[0].plot(range(1, len(means) + 1), means, style, lw=0.9, color=f"C{k}", label=label)
            axes[1].plot(epochs_so_far(outcome), means, style, lw=0.9, color=f"C{k}")
    axes[0].set(xlabel="networks", ylabel="validation accuracy")
    axes[1].set(xlabel="epochs", xscale="log")
    axes[0].legend(fontsize=6)
    figure.savefig(out / "metaqnn_4_6.png", dpi=150)


if __name__ == "__main__":
    main()
