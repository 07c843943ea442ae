"""Compares LSTM controllers with random search on all 64 cells of the small cell space, trained on digits.

The rewards are in `benchmarks/nas/data/cell_rewards.csv`, computed once by `--train`: a convolution, a cell, a pooling, a cell,
8 filters; 100 images, 6 epochs at a learning rate of 0.003, validation accuracy on 300 images, three trainings a cell.
A search gets the accuracy of one of the three trainings; its result is the highest mean of three among the cells it trained.

    python -m benchmarks.nas.cell_table --out out
    python -m benchmarks.nas.cell_table --train --out out   # computes the 64 rewards, which takes minutes
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks import benchmark_cli
from benchmarks.nas.nas_table import Table, best_so_far, difference_in_standard_errors, random_search
from curvestop.clients.nas.search.architecture_search import Searcher
from curvestop.clients.nas.search.policy_search import PPO, REINFORCE, PolicySearch
from curvestop.clients.nas.spaces.cells import SMALL_SPACE, small_cell_from_choices
from curvestop.clients.nas.spaces.chain import ChoiceChain
from curvestop.clients.nas.training.recipes import Recipe

# Small enough that the 64 cells differ, and three trainings of each take seconds.
REWARDS = Path(__file__).parent / "data" / "cell_rewards.csv"
RECIPE = Recipe(((0.003, 6),), batch_size=10, max_restarts=0)
N_TRAINING, N_VALIDATION, N_FILTERS, N_TRAININGS = 100, 300, 8, 3

SEARCHES: Mapping[str, Callable[[ChoiceChain, int, int], Searcher]] = {
    "random": random_search,
    "reinforce": lambda chain, seed, n: PolicySearch(chain, seed=seed, n_models=n, settings=replace(REINFORCE, batch=5)),
    "ppo": lambda chain, seed, n: PolicySearch(chain, seed=seed, n_models=n, settings=replace(PPO, batch=5, learning_rate=0.01)),
}
"""What makes each search from the space, the seed and the number of models."""


def train_all(path: Path) -> None:
    """Train each of the 64 cells three times, and write the accuracies to a CSV file."""
    import torch

    from curvestop.clients.nas.training.datasets import load_images
    from curvestop.clients.nas.training.graph_networks import cell_network
    from curvestop.clients.nas.training.trainer import Task, train

    torch.set_num_threads(1)
    task = Task.from_images(load_images("digits"), n_validation=N_VALIDATION, n_training=N_TRAINING, device="cpu")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["first", "second", *(f"accuracy_{k + 1}" for k in range(N_TRAININGS))])
        for chosen in SMALL_SPACE.all():
            cell = small_cell_from_choices(chosen)
            values = []
            for seed in range(N_TRAININGS):
                new_network = partial(cell_network, cell, n_channels=1, n_classes=10, n_filters=N_FILTERS)
                *_, last = train(new_network, task, RECIPE, seed=seed)
                values.append(f"{last:.6f}")
            writer.writerow([*chosen, *values])
            file.flush()  # training takes minutes: keep what there is if it is interrupted


def load_rewards(path: Path = REWARDS) -> Table:
    """Read the accuracies that `train_all` wrote."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return Table(SMALL_SPACE, {(first, second): np.array(values, dtype=float) for first, second, *values in rows})


def main(argv: Sequence[str] | None = None) -> None:
    """Run every search with every seed and print what they found."""
    import torch

    torch.set_num_threads(1)
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--train", action="store_true", help="train the 64 cells instead of reading their committed rewards")
    parser.add_argument("--seeds", type=int, default=20, help="independent searches of each kind (default: %(default)s)")
    parser.add_argument("--models", type=int, default=40, help="architectures trained by each search (default: %(default)s)")
    options = parser.parse_args(argv)
    if options.train:
        train_all(options.out / REWARDS.name)
    table = load_rewards(options.out / REWARDS.name if options.train else REWARDS)
    seeds = range(options.seed, options.seed + options.seeds)
    # Of each search `(seeds, models)`: the best mean accuracy found after each architecture.
    curves = {
        name: np.array([best_so_far(table, new(table.chain, s, options.models), seed=s, n_models=options.models) for s in seeds])
        for name, new in SEARCHES.items()
    }
    # Numbers of architectures at which the table of results is read.
    marks = [n for n in (5, 10, 20, 30, 40) if n <= options.models]
    rows: list[list[object]] = [
        [name, *(float(values[:, n - 1].mean()) * 100 for n in marks), float((values == table.best).any(axis=1).mean())]
        for name, values in curves.items()
    ]
    title = f"Best mean accuracy found, % (of the table: {table.best * 100:.3f}), {options.seeds} seeds"
    benchmark_cli.show(title, ["search", *(f"at {n}" for n in marks), "found the best"], rows)
    best = sorted(table.accuracies.items(), key=lambda item: float(item[1].mean()), reverse=True)
    benchmark_cli.show(
        "The best cells", ["first", "second", "accuracy"], [[*cell, float(values.mean())] for cell, values in best[:5]]
    )
    # The headline compares the searches after 20 architectures.
    at = min(20, options.models) - 1
    headline = {
        **{
            f"{name}_minus_random_in_se": difference_in_standard_errors(values[:, at], curves["random"][:, at])
            for name, values in curves.items()
            if name != "random"
        },
        f"best_at_{at + 1}": {name: benchmark_cli.mean_and_error(values[:, at].tolist()) for name, values in curves.items()},
    }
    benchmark_cli.conclude(options.out, "cell_table", headline, {"mean": {k: v.mean(axis=0) for k, v in curves.items()}})


if __name__ == "__main__":
    main()
