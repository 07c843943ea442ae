"""Compares how soon Q-learning, LSTM controllers and random search find a good architecture.

`tables/nas_bench_macro_cifar10.npz` has 6,561 real architectures (8 layers x 3 operations), each trained three times on
CIFAR-10 (github.com/xiusu/NAS-Bench-Macro, Apache-2.0). A search that trains an architecture gets the accuracy of one of its
three trainings, at random; its result is the highest mean of three among the architectures it trained. 20 seeds.

"q_learning" is Equation 2 of BlockQNN (the reward at every layer) with alpha 0.01 and Table 2's schedule for this number of
models, "metaqnn" the same with MetaQNN's own update, "reinforce" and "ppo" the LSTM controllers with their defaults.

    python -m benchmarks.nas.nas_table --data ../shared/data --out out
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks import benchmark_cli
from curvestop.clients.nas.search.architecture_search import Searcher
from curvestop.clients.nas.search.policy_search import PPO, REINFORCE, PolicySearch
from curvestop.clients.nas.search.q_learning import METAQNN_SCHEDULE, EpsilonSchedule, QLearning
from curvestop.clients.nas.search.q_values import BLOCKQNN_VALUES
from curvestop.clients.nas.spaces.chain import Choice, ChoiceChain

Array = npt.NDArray[np.float64]
ORIGINAL = "the public original: github.com/xiusu/NAS-Bench-Macro, data/nas-bench-macro_cifar10.json (Apache-2.0)"


@dataclass(frozen=True)
class Table:
    """A space in which every architecture was trained.

    Attributes:
        chain: The space.
        accuracies: The accuracies of each architecture's trainings, `(n trainings,)`, in [0, 1].
    """

    chain: ChoiceChain
    accuracies: Mapping[tuple[Any, ...], Array]

    @property
    def best(self) -> float:
        """Highest mean accuracy of an architecture."""
        return max(float(values.mean()) for values in self.accuracies.values())


def load_table(folder: Path) -> Table | None:
    """Read the table; without its file, print a line that says so and return None."""
    arrays = benchmark_cli.load_table(folder, "nas_bench_macro_cifar10", ORIGINAL)
    if arrays is None:
        return None
    choices, accuracies = arrays["hparams"].tolist(), arrays["test_acc"].astype(float)
    chain = ChoiceChain((Choice("operation", tuple(sorted({c for row in choices for c in row}))),) * len(choices[0]))
    return Table(chain, {tuple(row): values for row, values in zip(choices, accuracies, strict=True)})


def random_search(chain: ChoiceChain, seed: int, n_models: int) -> Searcher:
    """Make a random search: Q-learning whose epsilon is always 1."""
    return QLearning(chain, seed=seed, schedule=EpsilonSchedule(((1.0, n_models),)))


def metaqnn(chain: ChoiceChain, seed: int, n_models: int) -> Searcher:
    """Make a search by Q-learning with MetaQNN's update."""
    return QLearning(chain, seed=seed, schedule=METAQNN_SCHEDULE.scaled(n_models))


def q_learning(chain: ChoiceChain, seed: int, n_models: int) -> Searcher:
    """Make a search by Q-learning with BlockQNN's update."""
    return QLearning(chain, seed=seed, schedule=METAQNN_SCHEDULE.scaled(n_models), settings=BLOCKQNN_VALUES)


def reinforce(chain: ChoiceChain, seed: int, n_models: int) -> Searcher:
    """Make a search by a controller that is trained by REINFORCE."""
    return PolicySearch(chain, seed=seed, n_models=n_models, settings=REINFORCE)


def ppo(chain: ChoiceChain, seed: int, n_models: int) -> Searcher:
    """Make a search by a controller that is trained by PPO."""
    return PolicySearch(chain, seed=seed, n_models=n_models, settings=PPO)


SEARCHES: Mapping[str, Callable[[ChoiceChain, int, int], Searcher]] = {
    "random": random_search,
    "metaqnn": metaqnn,
    "q_learning": q_learning,
    "reinforce": reinforce,
    "ppo": ppo,
}
"""What makes each search from the space, the seed and the number of models."""


def best_so_far(table: Table, searcher: Searcher, *, seed: int, n_models: int) -> Array:
    """Run a search on a table.

    Args:
        table: The trained architectures.
        searcher: The search.
        seed: Seed of the choice among an architecture's trainings.
        n_models: Number of architectures that the search trains.

    Returns:
        The highest mean accuracy among the first 1, 2, ... architectures trained, `(n_models,)`.
    """
    rng = np.random.default_rng((seed, 3))
    # The search learns from one noisy training, but is judged by the mean of three.
    means: list[float] = []
    while (proposal := searcher.propose()) is not None:
        trainings = table.accuracies[proposal.chosen]
        means.append(float(trainings.mean()))
        searcher.learn(proposal.chosen, float(trainings[rng.integers(len(trainings))]))
    means += means[-1:] * (n_models - len(means))  # a search that ended early keeps its result
    return np.maximum.accumulate(means)


def difference_in_standard_errors(values: Array, others: Array) -> float:
    """Return the difference of two means divided by its standard error. Both arrays have one value for each seed."""
    # Independent samples with variances of their own (Welch).
    error = np.sqrt(np.var(values, ddof=1) / len(values) + np.var(others, ddof=1) / len(others))
    return float((values.mean() - others.mean()) / error)


def draw(curves: Mapping[str, Array], best: float, path: Path) -> None:
    """Draw the mean and the standard error of each search's `(seeds, n_models)` results, and the table's best."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5))
    for name, values in curves.items():
        mean, error = values.mean(axis=0), values.std(axis=0, ddof=1) / np.sqrt(len(values))
        x = np.arange(1, len(mean) + 1)
        axes.plot(x, mean, label=name)
        axes.fill_between(x, mean - error, mean + error, alpha=0.2)
    axes.axhline(best, color="grey", linestyle=":", label="best of the table")
    axes.set(xlabel="architectures trained", ylabel="best mean test accuracy so far", ylim=(0.915, best + 0.0005))
    axes.legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, bbox_inches="tight")
    plt.close(figure)


def main(argv: Sequence[str] | None = None) -> None:
    """Run every search with every seed, print and draw what they found."""
    import torch

    torch.set_num_threads(1)  # the controllers are so small that threads would wait for each other
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="independent searches of each kind (default: %(default)s)")
    parser.add_argument("--models", type=int, default=300, help="architectures trained by each search (default: %(default)s)")
    options = parser.parse_args(argv)
    table = load_table(options.data)
    if table is None:
        return
    curves: dict[str, Array] = {}  # of each search (seeds, models)
    seconds: dict[str, float] = {}
    for name, new_search in SEARCHES.items():
        began = time.process_time()
        curves[name] = np.array(
            [
                best_so_far(table, new_search(table.chain, seed, options.models), seed=seed, n_models=options.models)
                for seed in range(options.seed, options.seed + options.seeds)
            ]
        )
        seconds[name] = (time.process_time() - began) / options.seeds
    # Numbers of architectures at which the table of results is read.
    marks = [n for n in (20, 50, 100, 200, 300) if n <= options.models]
    rows = [
        [name, *(float(values[:, n - 1].mean() * 100) for n in marks), *_last(values, curves["random"]), seconds[name]]
        for name, values in curves.items()
    ]
    columns = ["search", *(f"at {n}" for n in marks), "error", "in errors", "CPU s each"]
    benchmark_cli.show(
        f"Best mean accuracy found, % (of the table: {table.best * 100:.3f}), {options.seeds} seeds", columns, rows
    )
    draw(curves, table.best, options.out / "nas_table.png")
    headline = {
        **{
            f"{name}_minus_random_in_se": difference_in_standard_errors(values[:, -1], curves["random"][:, -1])
            for name, values in curves.items()
            if name != "random"
        },
        f"best_at_{options.models}": {
            name: benchmark_cli.mean_and_error(values[:, -1].tolist()) for name, values in curves.items()
        },
    }
    benchmark_cli.conclude(options.out, "nas_table", headline, {"mean": {k: v.mean(axis=0) for k, v in curves.items()}})


def _last(values: Array, random: Array) -> tuple[float, float]:
    """Return the standard error of the last result in %, and its difference from random search in standard errors."""
    error = float(values[:, -1].std(ddof=1) / np.sqrt(len(values)) * 100)
    return error, 0.0 if values is random else difference_in_standard_errors(values[:, -1], random[:, -1])


if __name__ == "__main__":
    main()
