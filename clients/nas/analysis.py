"""What a search teaches, as tables: the data of the thesis's figures 3-4 to 3-8, the top models, the top model of each depth.

Baker 2017 (thesis), sections 3.3, 3.4, 3.5 and 3.6. Everything is a list of rows, dictionaries of numbers and text.
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


def rewarded(records: Iterable[Record]) -> list[Record]:
    return [record for record in records if record.reward is not None]


def accuracy_by_iteration(records: Sequence[Record], *, window: int = 100) -> Rows:
    """Figure 3-4: every model's reward in the order of training, and the mean of the last `window` (fewer at the start)."""
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
    """The bars of Figure 3-4."""
    return [
        {"epsilon": epsilon, "models": len(values), "mean": float(np.mean(values)), "std": float(np.std(values))}
        for epsilon, values in _by_epsilon(records).items()
    ]


def accuracy_distribution(records: Sequence[Record], *, n_bins: int = 20) -> Rows:
    """Figure 3-5: the share of the models of each epsilon in equal bins of [0, 1]."""
    edges = np.linspace(0, 1, n_bins + 1)
    return [
        {"epsilon": epsilon, "from": float(low), "to": float(high), "share": float(count / len(values))}
        for epsilon, values in _by_epsilon(records).items()
        for low, high, count in zip(edges, edges[1:], np.histogram(np.clip(values, 0, 1), edges)[0], strict=False)
    ]


def stability(runs: Sequence[Sequence[Record]]) -> Rows:
    """Figure 3-6: over independent runs, mean and standard deviation of their mean rewards at each epsilon."""
    means: defaultdict[float, list[float]] = defaultdict(list)
    for records in runs:
        for row in accuracy_by_epsilon(records):
            means[row["epsilon"]].append(row["mean"])
    return [
        {
            "epsilon": e,
            "runs": len(m),
            "mean": float(np.mean(m)),
            "std": float(np.std(m, ddof=1)) if len(m) > 1 else 0.0,
            "means": m,
        }
        for e, m in sorted(means.items(), reverse=True)
    ]


def q_values_by_depth(values: QValues[State, Layer]) -> Rows:
    """Figure 3-7: the mean Q-value of each kind of layer, and of convolutions by field, as the depth-th layer."""
    groups: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    for state, layer, value in values.items():
        groups[layer.symbol, state.depth + 1].append(value)
        if isinstance(layer, Convolution):
            groups[f"C{layer.field}", state.depth + 1].append(value)
    return [
        {"layer": kind, "depth": depth, "q": float(np.mean(found)), "n": len(found)}
        for (kind, depth), found in sorted(groups.items())
    ]


def edit_distance(one: Sequence[Hashable], other: Sequence[Hashable]) -> int:
    """The fewest layers to insert, delete or exchange (section 3.6)."""
    row = list(range(len(other) + 1))
    for i, left in enumerate(one, start=1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(other, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
    return row[-1]


def embedding(records: Sequence[Record], *, seed: int, most: int = 500) -> Rows:
    """Figure 3-8: architectures in the plane, by t-SNE of their edit distances; `most` of them, evenly chosen."""
    from sklearn.manifold import TSNE

    known = rewarded(records)
    shown = [known[i] for i in np.unique(np.linspace(0, len(known) - 1, min(most, len(known))).astype(int))]
    if len(shown) < 5:
        return []
    distances = np.zeros((len(shown), len(shown)))
    for i, one in enumerate(shown):
        for j in range(i):
            distances[i, j] = distances[j, i] = edit_distance(one.chosen, shown[j].chosen)
    places = TSNE(
        metric="precomputed", init="random", perplexity=min(30.0, (len(shown) - 1) / 3), random_state=seed
    ).fit_transform(distances)
    return [
        {"x": float(x), "y": float(y), "reward": r.reward, "epsilon": r.label, "architecture": r.text}
        for (x, y), r in zip(places, shown, strict=True)
    ]


def top_models(records: Iterable[Record], n: int = 10) -> Rows:
    """The best of those trained to the end (appendix, tables A.1 to A.3)."""
    finished = sorted((r for r in records if r.state == "finished"), key=lambda r: r.values[-1], reverse=True)
    return [_model(record) for record in finished[:n]]


def top_model_by_depth(records: Iterable[Record]) -> Rows:
    """Section 3.5: of each number of layers before the termination, the best trained to the end and how many there were."""
    groups: defaultdict[int, list[Record]] = defaultdict(list)
    for record in records:
        if record.state == "finished":
            groups[sum(not isinstance(layer, GlobalAveragePooling | Softmax) for layer in record.chosen)].append(record)
    return [
        {"depth": depth, "models": len(group), **_model(max(group, key=lambda r: r.values[-1]))}
        for depth, group in sorted(groups.items())
    ]


def _model(record: Record) -> dict[str, Any]:
    return {
        "trial": record.trial,
        "accuracy": record.values[-1],
        "epsilon": record.label,
        "weights": record.features.get("ap:weights"),
        "architecture": record.text,
    }


def _by_epsilon(records: Sequence[Record]) -> dict[float, list[float]]:
    groups: defaultdict[float, list[float]] = defaultdict(list)
    for record in rewarded(records):
        if record.reward is not None:
            groups[record.label].append(record.reward)
    return dict(sorted(groups.items(), reverse=True))
