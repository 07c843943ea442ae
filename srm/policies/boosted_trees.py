"""A sum of small decision trees, as gradient boosting makes them: what the learned policy sees that no straight line shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from curvestop.srm.policies.trial_features import FEATURES

DEPTH = 3
"""Questions from the root of a tree to a leaf."""
N_QUESTIONS, N_LEAVES = 2**DEPTH - 1, 2**DEPTH


@dataclass(frozen=True)
class Tree:
    """A decision tree in which every leaf lies `DEPTH` questions below the root.

    Question k asks whether a feature is above a threshold; question 2k + 1 follows a no, question 2k + 2 a yes. A tree that asks
    less on a path repeats a leaf behind a threshold of infinity.

    Attributes:
        features: `(7,)` names of the features that are asked for.
        thresholds: `(7,)`; infinity where nothing is asked.
        leaves: `(8,)` log odds to add, from the path of all no to that of all yes.
    """

    features: tuple[str, ...]
    thresholds: tuple[float, ...]
    leaves: tuple[float, ...]

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> Tree:
        """Return a tree as `as_json` writes it.

        Raises:
            ValueError: If it is not such a tree.
        """
        features = tuple(name or FEATURES[0] for name in stored["features"])
        thresholds = tuple(math.inf if threshold is None else float(threshold) for threshold in stored["thresholds"])
        leaves = tuple(map(float, stored["leaves"]))
        if (len(features), len(thresholds), len(leaves)) != (N_QUESTIONS, N_QUESTIONS, N_LEAVES) or not set(features) <= set(
            FEATURES
        ):
            raise ValueError(
                f"a tree must have {N_QUESTIONS} questions about {', '.join(FEATURES)} and {N_LEAVES} leaves, but got {stored}"
            )
        return Tree(features, thresholds, leaves)

    def as_json(self) -> dict[str, Any]:
        """Return the tree for a file; a question that is not asked is null."""
        asked = [threshold != math.inf for threshold in self.thresholds]
        return {
            "features": [name if is_asked else None for name, is_asked in zip(self.features, asked, strict=True)],
            "thresholds": [threshold if is_asked else None for threshold, is_asked in zip(self.thresholds, asked, strict=True)],
            "leaves": list(self.leaves),
        }


@dataclass(frozen=True)
class BoostedTrees:
    """The chance that belongs to a sum of trees.

    Attributes:
        intercept: Log odds before any tree.
        trees: The trees.

    Examples:
        >>> rank = Tree(("rank_least",) + ("share",) * 6, (0.0,) + (float("inf"),) * 6, (2.0,) * 4 + (-2.0,) * 4)
        >>> good, poor = [0.0] * 16, [0.0] * 16
        >>> good[FEATURES.index("rank_least")], poor[FEATURES.index("rank_least")] = -3.0, 3.0
        >>> trees = BoostedTrees(0.0, (rank,))
        >>> round(trees.chance(good), 3), round(trees.chance(poor), 3)
        (0.881, 0.119)
    """

    intercept: float
    trees: tuple[Tree, ...]

    @staticmethod
    def from_json(stored: Mapping[str, Any]) -> BoostedTrees:
        """Return trees as the training command writes them."""
        return BoostedTrees(stored["intercept"], tuple(map(Tree.from_json, stored["trees"])))

    def as_json(self) -> dict[str, Any]:
        """Return the trees for a file."""
        return {"intercept": self.intercept, "trees": [tree.as_json() for tree in self.trees]}

    @cached_property
    def _questions(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
        """Features and thresholds, each `(trees, 7)`."""
        features = [[FEATURES.index(name) for name in tree.features] for tree in self.trees]
        thresholds = [tree.thresholds for tree in self.trees]
        return np.array(features, np.intp).reshape(-1, N_QUESTIONS), np.array(thresholds).reshape(-1, N_QUESTIONS)

    @cached_property
    def _leaves(self) -> npt.NDArray[np.float64]:
        """`(trees * 8,)` of one tree after the other."""
        return np.array([tree.leaves for tree in self.trees]).reshape(-1)

    @cached_property
    def _rows(self) -> npt.NDArray[np.intp]:
        """`(trees,)` numbers of the trees."""
        return np.arange(len(self.trees))

    def chance(self, features: Sequence[float]) -> float:
        """Return the chance, in (0, 1), that belongs to the features.

        Args:
            features: `(16,)` by `FEATURES`.
        """
        asked, thresholds = self._questions
        # All questions of all trees at once: that is faster than to ask only those on the path, one after the other.
        is_above = (np.asarray(features)[asked] > thresholds).ravel()
        position = np.zeros(len(self.trees), np.intp)
        for _ in range(DEPTH):
            position = 2 * position + 1 + is_above[self._rows * N_QUESTIONS + position]
        score = self.intercept + float(self._leaves[self._rows * N_LEAVES + position - N_QUESTIONS].sum())
        return 1 / (1 + math.exp(-max(score, -700.0)))
