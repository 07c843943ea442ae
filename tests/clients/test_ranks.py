"""Two processes train one model together: only the first one asks the server, and both stop after the same epoch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.contracts import last_seen
from tests.contracts_training import BAD, REASON, CurveServer, nobody

ROOT = Path(__file__).resolve().parents[2]
LONGEST_S = 540.0
HERE = ["plain", *filter(find_spec, ["lightning", "transformers", "keras"])]

pytestmark = [
    pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed"),
    pytest.mark.timeout(600),  # two processes that import all frameworks are slow on a busy machine
]


@pytest.fixture(scope="module")
def printed(curve_server: CurveServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """Return what the two processes printed of each training. One pair runs them all, as starting it takes most of the time."""
    trainings = [*HERE, "mistake"]
    for training in trainings:
        curve_server.prepared(training, "accuracy")
    environment = {**os.environ, "CURVESTOP_TOKEN": curve_server.token, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    folder = str(tmp_path_factory.mktemp("ranks"))
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.rank_runs", str(rank), folder, target, *trainings],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, target in enumerate([curve_server.address, nobody()])
    ]
    try:
        ended = [process.communicate(timeout=LONGEST_S) for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], ended
    said = [[json.loads(line) for line in output.splitlines() if line.startswith("{")] for output, _ in ended]
    return {how: list(both) for how, *both in zip(trainings, *said, strict=True)}


@pytest.mark.parametrize("how", HERE)
def test_the_first_asks_and_all_stop_together(how: str, printed: dict[str, list[Any]], curve_server: CurveServer) -> None:
    first, second = printed[how]
    assert first == second
    assert (first["began"], first["stop"]) == ([1, 2], True)
    assert first["reason"].startswith(REASON)
    trial = curve_server.trial(last_seen(name=how, metric="accuracy"), "bad")
    assert (trial.values, trial.state) == (BAD[:2], "stopped")


def test_a_mistake_is_an_error_in_all(printed: dict[str, list[Any]]) -> None:
    for process in printed["mistake"]:
        assert process["began"] == []
        assert (
            process["reason"]
            == "trial 'complete-0' was reported with {}, which stays, but got {'width': 8}: a new trial needs a new name"
        )
