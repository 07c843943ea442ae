"""A policy learned from a real replay memory leads to better networks than the memory's average."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.nas.metaqnn_replay import agent_of_memory, load_memory, sampled_among_known
from curvestop.clients.nas.search.q_values import METAQNN_VALUES

DATA = Path(os.environ.get("CURVESTOP_DATA", Path(__file__).parents[3] / "shared" / "data"))


def test_a_policy_learned_from_a_memory_beats_its_average() -> None:
    memory = load_memory(DATA)
    if memory is None:
        pytest.skip("the replay memory is not here")
    agent = agent_of_memory(memory, 0, METAQNN_VALUES)
    found = sampled_among_known(agent, epsilon=0.1, n_samples=1_000, rng=np.random.default_rng(0))
    assert np.mean([memory[chosen] for chosen in found]) > np.mean(list(memory.values())) + 0.01


def test_without_the_memory_it_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert load_memory(tmp_path) is None
    assert "github.com/bowenbaker/metaqnn" in capsys.readouterr().out
