"""What a search found, as tables: the data of the thesis's figures 3-4 to 3-8 and 4-6, the top models, and those of each depth.

Baker 2017 (thesis), sections 3.3 to 3.6 and 4.2.3. Each table is a list of rows, and each row a dictionary of numbers and text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np

from curvestop.clients.nas.search.architecture_search import Record
from curvestop.clients.nas.search.q_values import QValues
from curvestop.clients.nas.spaces.layers import Convolution, GlobalAveragePooling, Layer, Softmax
from curvestop.clients.nas.spaces.metaqnn import State

Rows = list[dict[str, Any]]

MIN_EMBEDDED = 5
"""The smallest number of architectures that are embedded in the plane."""


def rewarded(records: Iterable[Record]) -> list[Record]:
    """Return the records that have a reward."""
    return [record for record in records if record.reward is not None]


def accuracy_by_iteration(records: Sequence[Record], *, window: int = 100) -> Rows:
    """Return each model's reward in the order of training, with a rolling mean (Figure 3-4).

    Args:
        records: The records of one search.
        window: Number of models in the rolling mean; the first means are over fewer. Default: 100.

    Returns:
        Rows of "iteration" (1-based), "epsilon", "reward" and "rolling_mean".
    """
    rewards = [record.reward for record in records if record.reward is not None]
    return [
        {
            "iteration": i + 1,
            "epsilon": record.label,
            "reward": record.reward,
            "rolling_mean": float(np.mean(rewards[max(0, i + 1 - window) : i + 1])),
        }
        for i, record in enumerate(rewarded(records))
    ]


def accuracy_by_epsilon(records: Sequence[Record]) -> Rows:
    """Return mean and standard deviation of the rewards at each epsilon (the bars of Figure 3-4).

    Args:
        records: The records of one search; those without a reward do not count.

    Returns:
        Rows of "epsilon", "models" (their number), "mean" and "std" (of all models, not of a sample), the largest epsilon first.
    """
    return [
        {"epsilon": epsilon, "models": len(values), "mean": float(np.mean(values)), "std": float(np.std(values))}
        for epsilon, values in _by_epsilon(records).items()
    ]


def accuracy_distribution(records: Sequence[Record], *, n_bins: int = 20) -> Rows:
    """Return a histogram of the rewards at each epsilon (Figure 3-5).

    Args:
        records: The records of one search.
        n_bins: Number of equal bins of [0, 1]. Default: 20.

    Returns:
        Rows of "epsilon", "from", "to" and "share"; the shares of one epsilon sum to 1.
    """
    edges = np.linspace(0, 1, n_bins + 1)  # BlockQNN's rewards may be outside [0, 1]: they count in the outer bins
    return [
        {"epsilon": epsilon, "from": float(low), "to": float(high), "share": float(count / len(values))}
        for epsilon, values in _by_epsilon(records).items()
        for low, high, count in zip(edges, edges[1:], np.histogram(np.clip(values, 0, 1), edges)[0], strict=False)
    ]


def stability(runs: Sequence[Sequence[Record]]) -> Rows:
    """Return how much independent searches differ at each epsilon (Figure 3-6).

    Args:
        runs: The records of each search.

    Returns:
        Rows of "epsilon", "runs", "means" (the mean reward of each search), and their "mean" and "std".
    """
    means: defaultdict[float, list[float]] = defaultdict(list)
    for records in runs:
        for row in accuracy_by_epsilon(records):
            means[row["epsilon"]].append(row["mean"])
    return [
        {
            "epsilon": e,
            "runs": len(m),
            "mean": float(np.mean(m)),
            # The deviation of a sample of searches; accuracy_by_epsilon has that of all models.
            "std": float(np.std(m, ddof=1)) if len(m) > 1 else 0.0,
            "means": m,
        }
        for e, m in sorted(means.items(), reverse=True)
    ]


def q_values_by_depth(values: QValues[State, Layer]) -> Rows:
    """Return the mean Q-value of each type of layer at each depth (Figure 3-7).

    Args:
        values: The Q-values of a finished search of MetaQNN's space.

    Returns:
        Rows of "layer" (a symbol; "C1", "C3" and "C5" are convolutions by receptive field), "depth", "q", and the number
        "n" of Q-values.
    """
    groups: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    for state, layer, value in values.items():
        depth = state.depth + 1  # of the layer that would follow the state
        groups[layer.symbol, depth].append(value)
        if isinstance(layer, Convolution):
            groups[f"C{layer.field}", depth].append(value)
    return [
        {"layer": kind, "depth": depth, "q": float(np.mean(group)), "n": len(group)}
        for (kind, depth), group in sorted(groups.items())
    ]


def edit_distance(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """Return the smallest number of insertions, deletions and substitutions that turn one sequence into the other.

    Section 3.6 counts edits of layers.

    Args:
        one: A sequence of n elements, such as the layers of a network.
        other: A sequence of m elements. The time is proportional to n m.
    """
    # Wagner and Fischer's algorithm with one row: before step i, row[j] is the distance of one[:i - 1] and other[:j].
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, start=1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(other, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
    return row[-1]


def embedding(records: Sequence[Record], *, seed: int, most: int = 500) -> Rows:
    """Embed architectures in the plane by t-SNE of their edit distances (Figure 3-8).

    Args:
        records: The records of one search.
        seed: Random seed of t-SNE.
        most: Maximum number of architectures, chosen at equal distances in the order of training. Default: 500.

    Returns:
        Rows of "x", "y", "reward", "epsilon" and "architecture"; none with fewer than `MIN_EMBEDDED` architectures.
    """
    from sklearn.manifold import TSNE  # imported here because it is slow to load

    known = rewarded(records)
    shown = [known[i] for i in np.unique(np.linspace(0, len(known) - 1, min(most, len(known))).astype(int))]
    if len(shown) < MIN_EMBEDDED:
        return []
    # (n, n), symmetric; n is at most `most`, as the loop is quadratic.
    distances = np.zeros((len(shown), len(shown)))
    for i, one in enumerate(shown):
        for j in range(i):
            distances[i, j] = distances[j, i] = edit_distance(one.chosen, shown[j].chosen)
    # t-SNE needs a perplexity below the number of points; 30 is scikit-learn's default. The points are (n, 2).
    perplexity = min(30.0, (len(shown) - 1) / 3)
    points = TSNE(metric="precomputed", init="random", perplexity=perplexity, random_state=seed).fit_transform(distances)
    return [
        {"x": float(x), "y": float(y), "reward": r.reward, "epsilon": r.label, "architecture": r.text}
        for (x, y), r in zip(points, shown, strict=True)
    ]


def cumulative_best(records: Sequence[Record]) -> Rows:
    """Return how good the best, the best 5 and the best 15 models were after each training (Figure 4-6).

    Only models that were trained to the end count, as in `top_models`; the others take an iteration and epochs all the same.

    Args:
        records: The records of one search, in the order of training.

    Returns:
        Rows of "iteration" (1-based), "epochs" (trained so far), and the mean accuracies "best_1", "best_5" and "best_15"; before
        there are as many models, the mean of those there are. The first row is that of the first model trained to the end.
    """
    rows: Rows = []
    best: list[float] = []  # ascending, at most 15
    epochs = 0
    for iteration, record in enumerate(records, start=1):
        epochs += len(record.values)
        if record.state == "finished":
            best = sorted([*best, record.values[-1]])[-15:]
        if best:
            means = {f"best_{n}": float(np.mean(best[-n:])) for n in (1, 5, 15)}
            rows.append({"iteration": iteration, "epochs": epochs, **means})
    return rows


def top_models(records: Iterable[Record], n: int = 10) -> Rows:
    """Return the n most accurate models that were trained to the end (appendix, tables A.1 to A.3).

    Args:
        records: The records of one search.
        n: Largest number of models. Default: 10.

    Returns:
        Rows of "trial", "accuracy", "epsilon", "weights" and "architecture", the most accurate first.
    """
    # Stopped models have no final accuracy; a predicted one must not win.
    finished = sorted((r for r in records if r.state == "finished"), key=lambda r: r.values[-1], reverse=True)
    return [_model(record) for record in finished[:n]]


def top_model_by_depth(records: Iterable[Record]) -> Rows:
    """Return the most accurate model of each depth, and the number of models of that depth (section 3.5).

    The depth is the number of layers of a chain before the termination, of a block with its start, of nodes of a cell. Only
    models that were trained to the end count.

    Args:
        records: The records of one search.

    Returns:
        Rows of "depth", "models" (their number), and what `top_models` has, the smallest depth first.
    """
    groups: defaultdict[int, list[Record]] = defaultdict(list)
    for record in records:
        if record.state == "finished":
            groups[_depth(record)].append(record)
    return [
        {"depth": depth, "models": len(group), **_model(max(group, key=lambda r: r.values[-1]))}
        for depth, group in sorted(groups.items())
    ]


def _depth(record: Record) -> int:
    if isinstance(record.chosen[-1], GlobalAveragePooling | Softmax):  # MetaQNN's: a choice is a layer, its dropouts are none
        return sum(not isinstance(layer, GlobalAveragePooling | Softmax) for layer in record.chosen)
    return int(record.features["ap:layers"])  # elsewhere several choices make a layer


def _model(record: Record) -> dict[str, Any]:
    return {
        "trial": record.trial,
        "accuracy": record.values[-1],
        "epsilon": record.label,
        "weights": record.features.get("ap:weights"),
        "architecture": record.text,
    }


def _by_epsilon(records: Sequence[Record]) -> dict[float, list[float]]:
    """Return the rewards by epsilon, the largest epsilon first."""
    groups: defaultdict[float, list[float]] = defaultdict(list)
    for record in rewarded(records):
        if record.reward is not None:
            groups[record.label].append(record.reward)
    return dict(sorted(groups.items(), reverse=True))
