"""Trees by hand."""

from __future__ import annotations

import math

import pytest

from curvestop.srm.policies.boosted_trees import BoostedTrees, Tree
from curvestop.srm.policies.trial_features import FEATURES

QUESTIONS = Tree(
    features=("share", "gap", "z_best", "change", "change", "neighbors", "neighbors"),
    thresholds=(0.5, 0.0, 1.0, -1.0, 1.0, 0.0, 2.0),
    leaves=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0),
)


def numbers(**known: float) -> list[float]:
    return [known.get(name, 0.0) for name in FEATURES]


@pytest.mark.parametrize(
    ("known", "leaf"),
    [
        ({"share": 0.5, "gap": 0.0, "change": -1.0}, 1.0),  # at a threshold is not above it
        ({"share": 0.4, "gap": -1.0, "change": -0.5}, 2.0),
        ({"share": 0.4, "gap": 0.1, "change": 0.5}, 3.0),
        ({"share": 0.4, "gap": 0.1, "change": 1.5}, 4.0),
        ({"share": 0.6, "z_best": 1.0, "neighbors": -1.0}, 5.0),
        ({"share": 0.6, "z_best": 0.0, "neighbors": 0.1}, 6.0),
        ({"share": 0.6, "z_best": 1.1, "neighbors": 2.0}, 7.0),
        ({"share": 0.6, "z_best": 1.1, "neighbors": 2.1}, 8.0),
    ],
)
def test_every_path_of_a_tree(known: dict[str, float], leaf: float) -> None:
    chance = BoostedTrees(-3.0, (QUESTIONS,)).chance(numbers(**known))
    assert math.log(chance / (1 - chance)) == pytest.approx(leaf - 3)


def test_trees_add_up() -> None:
    twice = BoostedTrees(0.5, (QUESTIONS, QUESTIONS)).chance(numbers(share=0.6, z_best=2.0))
    assert math.log(twice / (1 - twice)) == pytest.approx(0.5 + 7 + 7)
    assert BoostedTrees(0.0, ()).chance(numbers()) == 0.5


def test_a_question_that_is_not_asked_is_answered_by_no() -> None:
    stored = {
        "features": ["share", None, "gap", None, None, None, None],
        "thresholds": [0.5, None, 0.0, None, None, None, None],
        "leaves": [1, 0, 0, 0, 2, 0, 3, 0],
    }
    tree = Tree.from_json(stored)
    assert tree.as_json() == stored
    for known, leaf in (({"share": 0.1}, 1), ({"share": 0.9}, 2), ({"share": 0.9, "gap": 1.0}, 3)):
        chance = BoostedTrees(0.0, (tree,)).chance(numbers(**known))
        assert math.log(chance / (1 - chance)) == pytest.approx(leaf)


def test_a_file_that_holds_no_such_tree_is_refused() -> None:
    with pytest.raises(ValueError, match="a tree must have 7 questions"):
        Tree.from_json({"features": ["share"] * 3, "thresholds": [0.5] * 3, "leaves": [0.0] * 4})
    with pytest.raises(ValueError, match="a tree must have 7 questions"):
        Tree.from_json({"features": ["age"] * 7, "thresholds": [0.5] * 7, "leaves": [0.0] * 8})
