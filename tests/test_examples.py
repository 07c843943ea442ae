"""The examples train for real, resume exactly, and run under the hyperband command at a tiny size."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from curvestop.hyperband.scheduler.sampler import SpaceSampler
from curvestop.hyperband.scheduler.search_space import load_space

if TYPE_CHECKING:
    from tests.contracts_training import CurveServer
    from tests.ray_cluster import RayCluster

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the frameworks, not ours

CONFIGURATIONS: dict[str, dict[str, Any]] = {
    "digits_mlp": {
        "learning_rate": 0.1, "momentum": 0.9, "batch_size": 32, "first_width": 64, "last_width": 16, "depth": 2, "l2": 1e-4,
    },
    "digits_cnn": {"learning_rate": 0.1, "momentum": 0.9, "batch_size": 64, "width": 8, "n_layers": 2, "l2": 1e-4},
}  # fmt: skip


@pytest.fixture(params=["digits_mlp", "digits_cnn"])
def name(request: pytest.FixtureRequest) -> str:
    if request.param == "digits_cnn":
        pytest.importorskip("torch").set_num_threads(1)  # as a worker's; more only wait for one another here
    return str(request.param)


@pytest.mark.parametrize("script", sorted(EXAMPLES.glob("*.py")), ids=lambda script: script.stem)
def test_an_example_is_short_and_is_run_by_a_test(script: Path) -> None:
    assert len(script.read_text().splitlines()) < 60
    readers = [*Path(__file__).parent.rglob("*.py"), *EXAMPLES.glob("*.toml")]
    assert any(script.stem in reader.read_text() for reader in readers)


def train_of(name: str) -> Callable[[dict[str, Any], Path], Iterator[float]]:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    train: Callable[[dict[str, Any], Path], Iterator[float]] = module.train
    return train


def test_a_good_configuration_learns(name: str, tmp_path: Path) -> None:
    curve = list(islice(train_of(name)(CONFIGURATIONS[name], tmp_path), 6))
    assert all(0.0 <= value <= 1.0 for value in curve)
    assert curve[-1] > 0.9
    assert curve[-1] > curve[0]


def test_a_resumed_curve_is_the_uninterrupted_one(name: str, tmp_path: Path) -> None:
    train, configuration = train_of(name), CONFIGURATIONS[name]
    for folder in ("whole", "parts"):
        (tmp_path / folder).mkdir()
    whole = list(islice(train(configuration, tmp_path / "whole"), 5))
    parts = [value for n in (1, 3, 1) for value in islice(train(configuration, tmp_path / "parts"), n)]
    assert parts == whole


def test_every_draw_of_the_search_space_trains(name: str, tmp_path: Path) -> None:
    draw = SpaceSampler(load_space(EXAMPLES / f"{name}.toml"), seed=0).draw
    train = train_of(name)
    for index in range(5):
        (tmp_path / str(index)).mkdir()
        assert 0.0 <= next(iter(train(dict(draw()), tmp_path / str(index)))) <= 1.0


def test_the_command_trains_it(name: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [
        sys.executable, "-m", "curvestop.hyperband.cli", "run", str(EXAMPLES / f"{name}.py"),
        "--space", str(EXAMPLES / f"{name}.toml"), "--max-epochs", "3", "--mode", "sync", "--metric", "accuracy",
        "--out", str(out),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results = json.loads((out / "results.json").read_text())
    assert (results["n_trials"], results["n_failed"], results["epochs_trained"]) == (5, 0, 3 * 1 + 1 * 2 + 2 * 3)
    assert results["best_value"] > 0.3


def test_a_program_with_flags_trains_from_a_configuration_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    command = [
        sys.executable, "-m", "curvestop.hyperband.cli", "run", "--config", "examples/digits_cli.toml",
        "--max-epochs", "3", "--mode", "sync", "--workers", "2", "--out", str(tmp_path / "run"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=EXAMPLES.parent)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (results["n_trials"], results["n_failed"], results["epochs_trained"]) == (5, 0, 3 * 1 + 1 * 2 + 2 * 3)
    assert results["best_value"] > 0.3


def test_the_optuna_example_prunes_and_says_why(tmp_path: Path) -> None:
    script = EXAMPLES / "optuna_digits.py"
    command = [sys.executable, str(script), "--trials", "14", "--epochs", "8"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    *stops, best, saved = done.stdout.splitlines()
    assert all(line.startswith("trial ") and "epochs: " in line for line in stops)
    assert float(best.split()[2]) > 0.8
    assert "of 112 epochs trained" in saved


@pytest.mark.parametrize(
    ("name", "needs", "study"),
    [
        ("plain_loop", "sklearn", "digits-plain"),
        ("lightning_digits", "lightning", "digits-lightning"),
        ("keras_digits", "keras", "digits-keras"),
        ("transformers_digits", "transformers", "digits-vit"),
    ],
)
def test_every_framework_searches_on_a_server(
    name: str, needs: str, study: str, curve_server: CurveServer, tmp_path: Path
) -> None:
    if importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    script = EXAMPLES / f"{name}.py"
    assert len(script.read_text().splitlines()) < 60
    command = [sys.executable, str(script), "--trials", "2", "--epochs", "2", "--server", curve_server.address]
    environment = {**os.environ, "CURVESTOP_TOKEN": curve_server.token, "KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert re.fullmatch(r"best accuracy 0\.\d{4}; 4 of 4 epochs trained", last), done.stdout
    trials = curve_server.serving.registry[study].trials()
    assert [(len(trial.values), trial.state) for trial in trials] == [(2, "finished")] * 2


def test_ray_tune_searches_and_what_is_over_stays_so(ray_cluster: RayCluster, tmp_path: Path) -> None:
    script = [sys.executable, str(EXAMPLES / "ray_tune_digits.py"), "--trials", "2", "--epochs", "2", "--out", "run"]
    environment = {**os.environ, "RAY_ADDRESS": ray_cluster.address}
    lines = []
    for _ in range(2):
        done = subprocess.run(script, capture_output=True, text=True, timeout=240, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
        lines.append(done.stdout.splitlines()[-1])
    assert lines[0].startswith("best 0.")
    assert lines[0].endswith("of 4 epochs trained")
    assert lines[1] == lines[0]
