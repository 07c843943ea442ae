"""Notation of architectures, MetaQNN's rules and the count of weights, on examples by hand and on 1,000 published networks."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curvestop.clients.nas.spaces.layers import (
    Convolution,
    Dropout,
    GlobalAveragePooling,
    Layer,
    Pooling,
    Softmax,
    notation,
    parse,
    with_dropout,
    without_dropout,
)
from curvestop.clients.nas.spaces.metaqnn import MetaQNNSpace, State
from curvestop.clients.nas.training.counting import features, n_weights, published_n_weights

DATA = Path(os.environ.get("CURVESTOP_DATA", Path(__file__).parents[5] / "shared" / "data"))
PUBLISHED = DATA / "accelerating_nas" / "metaqnn_cifar10.csv"
CIFAR = MetaQNNSpace(max_depth=18)


def test_notation_both_ways() -> None:
    text = "[C(64,3,1), D(1,1), P(2,2), GAP(10), SM(10)]"
    layers = (Convolution(64, 3), Dropout(1, 1), Pooling(2, 2), GlobalAveragePooling(10), Softmax(10))
    assert parse(text) == layers
    assert notation(layers) == text
    assert parse("[]") == ()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("C(64,3,1)", "brackets"),
        ("[C(64,3,1), X(3)]", r"'X\(3\)'"),
        ("[C(64)]", r"'C\(64\)'"),
        ("[C(64,3,1,1)]", "number of parameters"),
        ("[C(0,3,1)]", "n_filters of a layer C must be >= 1, but got 0"),
        ("[C(64,3,1) P(2,2)]", "P"),
    ],
)
def test_what_cannot_be_read_is_shown(text: str, shown: str) -> None:
    with pytest.raises(ValueError, match=shown):
        parse(text)


def test_dropout_after_every_two_layers() -> None:
    assert notation(with_dropout(parse("[C(64,1,1), C(64,3,1), P(2,2), SM(10)]"))) == (
        "[C(64,1,1), C(64,3,1), D(1,1), P(2,2), SM(10)]"
    )
    assert Dropout(1, 2).probability == 0.25


@pytest.mark.parametrize(
    ("text", "rule", "depth"),
    [
        ("[C(64,3,1), SM(10)]", None, 0),
        ("[C(64,3,1), P(2,2), P(2,2), SM(10)]", "no pooling follows pooling", 3),
        ("[P(2,2), SM(10)]", "a network does not begin with pooling", 1),
        ("[SM(10)]", "a network has at least one layer before its termination", 1),
        ("[C(64,7,1), SM(10)]", "a layer has parameters of Table 1", 1),
        ("[C(64,3,1), FC(512), SM(10)]", "fully connected layers follow small representations", 2),
        ("[C(64,3,1), P(5,3), C(64,3,1), P(2,2), C(64,5,1), SM(10)]", "a receptive field is not larger", 5),
        ("[C(64,1,1), P(5,3), C(64,3,1), P(2,2), FC(256), FC(512), SM(10)]", "is not wider than the one before", 6),
        ("[C(64,1,1), P(5,3), C(64,3,1), P(2,2), FC(256), FC(256), FC(256), SM(10)]", "at most max_connected", 7),
        ("[C(64,1,1), P(5,3), C(64,3,1), P(2,2), FC(256), C(64,1,1), SM(10)]", "follow a fully connected layer", 6),
        ("[C(64,1,1)]", "ends with a termination", 2),
        ("[C(64,1,1), SM(10), C(64,1,1)]", "nothing follows a termination", 3),
        (f"[{', '.join(['C(64,1,1)'] * 19)}, SM(10)]", "at most max_depth layers", 19),
    ],
)
def test_rules_by_name(text: str, rule: str | None, depth: int) -> None:
    illegal = CIFAR.check(parse(text))
    if rule is None:
        assert illegal is None
    else:
        assert illegal is not None
        assert rule in illegal.rule
        assert illegal.depth == depth


def test_pooling_leads_to_two_states_from_one() -> None:
    """Appendix B: 18 -> 9 keeps the bin [8, inf), 14 -> 7 does not; the agent cannot tell 18 from 14."""
    large, small = (State(Convolution(64, 3), 1, 8, 0, size) for size in (18, 14))
    assert large == small
    assert CIFAR.actions(large) == CIFAR.actions(small)
    after_large, after_small = CIFAR.step(large, Pooling(2, 2)), CIFAR.step(small, Pooling(2, 2))
    assert after_large is not None
    assert after_small is not None
    assert (after_large.size_bin, after_large.size, after_small.size_bin, after_small.size) == (8, 9, 4, 7)


@given(st.integers(0, 2**32), st.sampled_from([8, 28, 32]))
def test_what_is_sampled_is_legal_and_prints_both_ways(seed: int, image_size: int) -> None:
    space, rng = MetaQNNSpace(image_size=image_size), np.random.default_rng(seed)
    state: State | None = space.start()
    decisions: list[Layer] = []
    while state is not None:
        actions = space.actions(state)
        decisions.append(actions[rng.integers(len(actions))])
        state = space.step(state, decisions[-1])
    architecture = space.architecture(decisions)
    assert space.check(with_dropout(architecture)) is None
    assert space.chosen_layers(architecture) == tuple(decisions)
    assert parse(notation(architecture)) == architecture
    assert without_dropout(with_dropout(architecture)) == architecture


def test_weights_by_hand() -> None:
    """3 x 3 x 3 x 64 = 1728, pooled to 16 x 16: 512 x 64 x 256 is in no small bin, so straight to 10 x 64 x 16 x 16 = 163840."""
    assert n_weights(parse("[C(64,3,1), P(2,2), SM(10)]"), image_size=32, n_channels=3) == 1_728 + 163_840
    assert n_weights(parse("[C(64,3,1), GAP(10), SM(10)]"), image_size=32, n_channels=3) == 1_728 + 640
    assert published_n_weights(parse("[C(128,5,1), C(512,1,1), D(1,1), SM(10)]")) == 9_600 + 65_536 + 512 * 512


def test_features_of_the_thesis() -> None:
    described = features(parse("[C(8,3,1), D(1,1), GAP(10), SM(10)]"), MetaQNNSpace(8, 1), learning_rate=0.001, bag_of_words=True)
    assert described == {
        "ap:weights": 72 + 80, "ap:layers": 3, "learning_rate": 0.001, "bow:C": 1, "bow:P": 0, "bow:FC": 0, "bow:GAP": 1,
    }  # fmt: skip


@pytest.mark.skipif(not PUBLISHED.exists(), reason="the published curve set is not here")
def test_all_published_networks_parse_are_legal_and_have_their_published_size() -> None:
    with PUBLISHED.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1_000
    n_same_dropouts = 0
    for row in rows:
        architecture = parse(row["net"])
        assert notation(architecture) == row["net"]
        assert CIFAR.check(architecture) is None
        assert published_n_weights(architecture) == int(row["num_params"])
        assert len(without_dropout(architecture)) == int(row["depth"])
        n_same_dropouts += with_dropout(architecture) == architecture
    assert n_same_dropouts == 621
