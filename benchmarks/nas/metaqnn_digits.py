"""Compares small MetaQNN searches with and without stopping by prediction: epochs, speed-up, and the networks found.

The networks are really trained. The space is Table 1's for 8 x 8 digits, with filters and neurons divided by 8 and at most 4
layers; the epsilon schedule is Table 2's for 150 models; the recipe is section 5's for 10 epochs (batches of 10 of 100 images,
150 images for validation). With the service, a network is stopped when the probability that it will be no better than the best
one reaches 0.99, and its predicted final accuracy is the reward.

A network's training depends on the seed and the network only. The two searches of a seed therefore share the networks that both
train, but the epochs count for each of them. Curves are written to OUT/metaqnn_digits.npz and read from there the next time;
`--replay` reads benchmarks/nas/data/metaqnn_digits.npz, or the file that `--curves` names.

    python -m benchmarks.nas.metaqnn_digits --out out   # trains for tens of minutes on one core
    python -m benchmarks.nas.metaqnn_digits --replay --curves out/metaqnn_digits.npz --out out  # trains nothing, fits models
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import benchmark_cli
from curvestop.clients.nas.search.architecture_search import ArchitectureSearch, Description, Record
from curvestop.clients.nas.search.q_learning import METAQNN_SCHEDULE, QLearning
from curvestop.clients.nas.spaces.layers import Architecture, notation, parse, with_dropout
from curvestop.clients.nas.spaces.metaqnn import MetaQNNSpace
from curvestop.clients.nas.training.counting import features
from curvestop.clients.nas.training.recipes import Recipe, decayed
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study

DATA_SET = Path(__file__).parent / "data" / "metaqnn_digits.npz"
SPACE = MetaQNNSpace(image_size=8, n_channels=1, max_depth=4, filters=(8, 16, 32, 64), neurons=(64, 32, 16))
RECIPE = Recipe(decayed(10), batch_size=10)
N_TRAINING, N_VALIDATION, N_MODELS, THRESHOLD, MIN_CURVES = 100, 150, 150, 0.99, 20
KEEP_EVERY = 2000

Curves = dict[tuple[int, str], list[float]]
"""Validation accuracies by seed and architecture, in [0, 1]."""


class CurveTrainer:
    """Returns curves that are known, and trains the others.

    Args:
        curves: The known curves; curves that are trained are added.
        recipe: How networks are trained.
        kept_in: File that the curves are written to after each `KEEP_EVERY` epochs. Default: none.
    """

    def __init__(self, curves: Curves, recipe: Recipe = RECIPE, kept_in: Path | None = None) -> None:
        self.curves, self.recipe, self.kept_in = curves, recipe, kept_in
        self.epochs_trained = 0

    def accuracies(self, seed: int, text: str) -> Iterator[float]:
        """Yield the validation accuracy of an architecture after each epoch, trained or known."""
        known = self.curves.setdefault((seed, text), [])
        yield from list(known)
        if len(known) == self.recipe.epochs:
            return
        # A search with stopping may have left the curve incomplete. It is trained from the start; it is the same again.
        for epoch, value in enumerate(self._train(seed, text), start=1):
            self.epochs_trained += 1
            if epoch > len(known):
                known.append(round(value, 6))  # as it is written: a replay sees the same values
                if self.kept_in is not None and self.epochs_trained % KEEP_EVERY == 0:
                    save_curves(self.kept_in, self.curves)
                yield known[-1]

    def _train(self, seed: int, text: str) -> Iterator[float]:
        import torch  # imported here because a replay does not need it

        from curvestop.clients.nas.training.datasets import load_images
        from curvestop.clients.nas.training.networks import network
        from curvestop.clients.nas.training.trainer import Task, train

        torch.set_num_threads(1)
        task = Task.from_images(load_images("digits"), n_validation=N_VALIDATION, n_training=N_TRAINING, seed=seed, device="cpu")
        own_seed = zlib.crc32(f"{seed} {text}".encode())
        return train(lambda: network(parse(text), image_size=8, n_channels=1), task, self.recipe, seed=own_seed)


def load_curves(path: Path) -> Curves:
    """Read the curves that `save_curves` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        rows = zip(arrays["seed"], arrays["architecture"], arrays["curves"], strict=True)
        return {(int(s), str(text)): [float(f"{v:.6f}") for v in values if np.isfinite(v)] for s, text, values in rows}


def save_curves(path: Path, curves: Curves) -> None:
    """Write curves to an npz, incomplete ones filled up with NaN."""
    # (networks, epochs)
    table = np.full((len(curves), max(map(len, curves.values()))), np.nan, np.float32)
    for row, values in zip(table, curves.values(), strict=True):
        row[: len(values)] = values
    meta = {
        "source": "python -m benchmarks.nas.metaqnn_digits",
        "licence": "MIT, as this project; the images are scikit-learn's digits",
        "metric": "validation accuracy",
        "goal": "maximize",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        seed=np.array([s for s, _ in curves], np.int16),
        architecture=np.array([text for _, text in curves]),
        curves=table,
        meta=json.dumps(meta),
    )


def describe(chosen: Architecture) -> Description:
    """Return the notation and the features of a network that the agent chose."""
    architecture = with_dropout(SPACE.architecture(chosen))
    return Description(notation(architecture), features(architecture, SPACE, learning_rate=RECIPE.rate(0)))


@dataclass(frozen=True)
class Outcome:
    """The result of one search.

    Attributes:
        seed: Seed of the search.
        side: What stopped trainings: "without" if nothing did.
        records: The networks.
        seconds: Duration of the search, including the training of curves that were not known.
    """

    seed: int
    side: str
    records: list[Record]
    seconds: float

    @property
    def epochs(self) -> int:
        """Number of epochs that the search asked for."""
        return sum(len(record.values) for record in self.records)

    @property
    def n_stopped(self) -> int:
        """Number of trainings that the study stopped."""
        return sum(record.state == "stopped" for record in self.records)

    def best(self, n: int) -> list[Record]:
        """Return the n most accurate networks of those trained to the end."""
        finished = [record for record in self.records if record.state == "finished"]
        return sorted(finished, key=lambda record: record.values[-1], reverse=True)[:n]

    def best_values(self, n: int) -> list[float]:
        """Return the accuracies of the n most accurate networks."""
        return [record.values[-1] for record in self.best(n)]

    def mean_reward(self, epsilon: float) -> float:
        """Return the mean reward of the networks proposed at an epsilon."""
        return float(np.mean([r.reward for r in self.records if r.label == epsilon and r.reward is not None]))


def threshold_study(seed: int) -> StudySettings:
    """Return the study of the small comparison: stop what will be no better than the best."""
    rule = StoppingRule(threshold=THRESHOLD, min_curves=MIN_CURVES)
    return StudySettings(f"digits-{seed}", RECIPE.epochs, rule=rule, policy="threshold", log_scaled=("ap:weights",))


def run_digits_search(trainer: CurveTrainer, seed: int, *, side: str, settings: StudySettings | None, n_models: int) -> Outcome:
    """Run one search.

    Args:
        trainer: Trains networks, or knows their curves.
        seed: Seed of the search and of the trainings.
        side: Name of the outcome's side.
        settings: The study that stops trainings; None for none.
        n_models: Number of networks to propose.

    Returns:
        The records and the duration.
    """
    began = time.perf_counter()
    # All sides have the same searcher; they differ in the rewards of stopped networks only.
    searcher = QLearning(SPACE, seed=seed, schedule=METAQNN_SCHEDULE.scaled(n_models))
    study = None if settings is None else Study(settings)
    search = ArchitectureSearch(searcher, describe, epochs=trainer.recipe.epochs, study=study)
    while (training := search.ask()) is not None:
        for accuracy in trainer.accuracies(seed, str(training.configuration["architecture"])):
            if search.report(training.trial, accuracy).stop:
                break
        search.training_over(training.trial)
    return Outcome(seed, side, search.records, time.perf_counter() - began)


def main(argv: Sequence[str] | None = None) -> None:
    """Run all searches and print the comparison."""
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--replay", action="store_true", help="read the curves from a data set, so that nothing is trained")
    parser.add_argument("--curves", type=Path, help="file of known curves (default: OUT/metaqnn_digits.npz if it exists)")
    parser.add_argument("--seeds", type=int, default=3, help="searches of each kind (default: %(default)s)")
    parser.add_argument("--models", type=int, default=N_MODELS, help="networks trained by each search (default: %(default)s)")
    options = parser.parse_args(argv)
    written = options.out / DATA_SET.name
    known = options.curves or (DATA_SET if options.replay else written)
    if options.replay and not known.exists():
        print(f"skipped: {known} does not exist; run without --replay to train the networks")
        return
    trainer = CurveTrainer(load_curves(known) if known.exists() else {})
    outcomes = []
    for side in ("without", "with"):
        for seed in range(options.seed, options.seed + options.seeds):
            settings = threshold_study(seed) if side == "with" else None
            outcomes.append(run_digits_search(trainer, seed, side=side, settings=settings, n_models=options.models))
            if trainer.epochs_trained:
                save_curves(written, trainer.curves)
            done = outcomes[-1]
            print(f"seed {seed}, {done.side}: {done.epochs} epochs, {done.seconds:.0f} s", flush=True)
    if options.replay and trainer.epochs_trained:
        print(f"{trainer.epochs_trained} epochs were not in {known} and were trained now")
    report(outcomes, options.out)


def report(outcomes: list[Outcome], out: Path) -> None:
    """Print the comparison of searches with and without the service, and write it to a folder."""
    sides = {name: [o for o in outcomes if o.side == name] for name in ("without", "with")}
    rows: list[list[object]] = [
        [o.seed, o.side, o.epochs, o.n_stopped, float(np.mean(o.best_values(5))), o.best_values(1)[0], o.seconds]
        for o in outcomes
    ]
    benchmark_cli.show("Each search", ["seed", "service", "epochs", "stopped", "mean of best 5", "best", "s"], rows)
    epsilons = sorted({record.label for o in outcomes for record in o.records}, reverse=True)
    by_epsilon = {
        name: {str(e): benchmark_cli.mean_and_error([o.mean_reward(e) for o in side]) for e in epsilons}
        for name, side in sides.items()
    }
    benchmark_cli.show(
        "Mean reward by epsilon (mean and error over seeds)",
        ["epsilon", *(f"{name}{what}" for name in sides for what in ("", " error"))],
        [[e, *(v for name in sides for v in by_epsilon[name][str(e)])] for e in epsilons],
    )
    best = [[o.seed, o.side, r.values[-1], r.text] for o in outcomes for r in o.best(5)]
    for row in best:
        print(*row)
    # Pairs of the same seed: both searches propose the same first networks.
    speedups = [a.epochs / b.epochs for a, b in zip(sides["without"], sides["with"], strict=True)]
    headline = {
        "speedup": benchmark_cli.mean_and_error(speedups)[0],
        "speedup_error": benchmark_cli.mean_and_error(speedups)[1],
        **{f"mean_best5_{name}": float(np.mean([o.best_values(5) for o in side])) for name, side in sides.items()},
        "accuracy_by_epsilon": {name: {e: mean for e, (mean, _) in means.items()} for name, means in by_epsilon.items()},
    }
    benchmark_cli.conclude(out, "metaqnn_digits", headline, {"searches": rows, "by_epsilon": by_epsilon, "best": best})


if __name__ == "__main__":
    main()
