"""Checks that a policy learned from a real MetaQNN replay memory chooses better networks than the memory's average.

The memory is `tables/metaqnn_replay_svhn.npz` (github.com/bowenbaker/metaqnn, MIT): 1,026 networks trained on SVHN. The agent
learns from it as often as if it had trained the networks (100 replays a network), and samples at epsilon 0.1 in two ways.
"known": at each layer it chooses by Q-value or at random among the layers that lead to a network of the memory, so that the
true accuracy of every sample is known. "whole": it samples the whole space, and only the samples that happen to be in the
memory count. This favors short networks, because the memory has nearly all of them.

    python -m benchmarks.nas.metaqnn_replay --data ../shared/data --out out
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import benchmark_cli
from curvestop.clients.nas.search.q_learning import METAQNN_REPLAY, METAQNN_SCHEDULE, QLearning
from curvestop.clients.nas.search.q_values import BLOCKQNN_VALUES, METAQNN_VALUES, QSettings
from curvestop.clients.nas.spaces.layers import Layer, parse
from curvestop.clients.nas.spaces.metaqnn import MetaQNNSpace, State

ORIGINAL = "the public original: github.com/bowenbaker/metaqnn, test/needed_for_testing/replay_database.csv (MIT)"
SPACE = MetaQNNSpace(image_size=32, max_depth=12)
UPDATES: Mapping[str, QSettings] = {"metaqnn": METAQNN_VALUES, "blockqnn": BLOCKQNN_VALUES}
"""The updates of Q-values that are compared."""

Memory = Mapping[tuple[Layer, ...], float]
Agent = QLearning[State, Layer]


def load_memory(folder: Path) -> Memory | None:
    """Read the accuracy at the end of training of each network, the mean if it was trained twice; None without the file."""
    arrays = benchmark_cli.load_table(folder, "metaqnn_replay_svhn", ORIGINAL)
    if arrays is None:
        return None
    texts, accuracies = arrays["net"], arrays["accuracy_last_val"].astype(float)
    by_network: dict[tuple[Layer, ...], list[float]] = {}
    for text, accuracy in zip(texts, accuracies, strict=True):
        by_network.setdefault(SPACE.chosen_layers(parse(str(text))), []).append(float(accuracy))
    return {chosen: float(np.mean(values)) for chosen, values in by_network.items()}


def agent_of_memory(memory: Memory, seed: int, settings: QSettings) -> Agent:
    """Return an agent that has learned from a memory as often as if it had trained the networks."""
    agent = QLearning(SPACE, seed=seed, schedule=METAQNN_SCHEDULE, settings=settings)
    for chosen, accuracy in memory.items():
        agent.values.path(chosen)  # raises for a network that is not in the space
        agent.memory[chosen] = accuracy
    agent.replay_memory(METAQNN_REPLAY.n_updates * len(memory))
    return agent


def sampled_in_whole(agent: Agent, *, epsilon: float, n_samples: int, rng: np.random.Generator) -> list[tuple[Layer, ...]]:
    """Sample networks of the whole space, and return those that are in the memory."""
    drawn = (agent.values.sample(epsilon, rng) for _ in range(n_samples))
    return [chosen for chosen in drawn if chosen in agent.memory]


def sampled_among_known(agent: Agent, *, epsilon: float, n_samples: int, rng: np.random.Generator) -> list[tuple[Layer, ...]]:
    """Return epsilon-greedy samples among the networks of the memory."""
    # A tree of the memory's networks: at each layer, the layers that lead to one of them.
    root: dict[Layer, Any] = {}
    for network in agent.memory:
        branch = root
        for layer in network:
            branch = branch.setdefault(layer, {})
    return [_sample_in_tree(root, agent, epsilon, rng) for _ in range(n_samples)]


def _sample_in_tree(root: dict[Layer, Any], agent: Agent, epsilon: float, rng: np.random.Generator) -> tuple[Layer, ...]:
    state: State | None = agent.space.start()
    chosen: list[Layer] = []
    while state is not None:
        known, values = list(root), agent.values.of(state)
        # Epsilon-greedy as in Algorithm 2, with the first of equal values: a memory has few ties.
        layer = known[rng.integers(len(known))] if rng.random() < epsilon else max(known, key=values.__getitem__)
        chosen.append(layer)
        root, state = root[layer], agent.space.step(state, layer)
    return tuple(chosen)


WAYS = {"known": sampled_among_known, "whole": sampled_in_whole}
"""The two ways of sampling."""


def main(argv: Sequence[str] | None = None) -> None:
    """Print the mean accuracy of sampled networks for both updates, every seed and both ways of sampling."""
    parser = benchmark_cli.parser(__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="independent agents (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=5_000, help="networks that each agent samples (default: %(default)s)")
    options = parser.parse_args(argv)
    memory = load_memory(options.data)
    if memory is None:
        return
    average = float(np.mean(list(memory.values())))
    rows: list[list[object]] = []
    means: dict[str, list[float]] = {}
    for name, settings in UPDATES.items():
        for seed in range(options.seed, options.seed + options.seeds):
            agent = agent_of_memory(memory, seed, settings)
            for (way, sample), epsilon in itertools.product(WAYS.items(), (1.0, 0.1)):
                # The same random numbers for all ways and updates, so that their differences are not noise.
                found = sample(agent, epsilon=epsilon, n_samples=options.samples, rng=np.random.default_rng((seed, 2)))
                mean = float(np.mean([memory[chosen] for chosen in found]))
                rows.append([name, seed, way, epsilon, len(found), len(set(found)), float(np.mean([*map(len, found)])), mean])
                means.setdefault(f"{name}, {way}, {epsilon}", []).append(mean)
    benchmark_cli.show(
        f"Mean true accuracy of sampled networks that are in the memory (its mean: {average:.4f} over {len(memory)} networks)",
        ["update", "seed", "among", "epsilon", "found", "different", "layers", "accuracy"],
        rows,
    )
    headline = {
        "memory_mean": average,
        **{f"{update}_{way}": benchmark_cli.mean_and_error(means[f"{update}, {way}, 0.1"]) for update in UPDATES for way in WAYS},
    }
    benchmark_cli.conclude(options.out, "metaqnn_replay", headline, {"rows": rows})


if __name__ == "__main__":
    main()
