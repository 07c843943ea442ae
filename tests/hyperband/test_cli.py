"""The hyperband command as a person runs it: its exit status, what it prints and what it leaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from curvestop.hyperband.cli import main
from tests.contracts_executor import COUNTING

SPACE = '[x]\ntype = "float"\nlow = 0.5\nhigh = 1.0\n'


@dataclass(frozen=True)
class Done:
    status: int
    stdout: str
    stderr: str


Hyperband = Callable[..., Done]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a script that counts and its search space."""
    (tmp_path / "count.py").write_text(COUNTING)
    (tmp_path / "space.toml").write_text(SPACE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hyperband(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hyperband:
    """Runs the command in this process, as its entry point does."""

    def hyperband(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["hyperband", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, *capsys.readouterr())

    return hyperband


@pytest.fixture
def run(hyperband: Hyperband) -> Hyperband:
    return lambda *more: hyperband("run", "count.py", "--space", "space.toml", "--max-epochs", "9", *more)


def test_the_plan_of_27_by_3(hyperband: Hyperband) -> None:
    done = hyperband("plan", "--max-epochs", "27", "--iterations", "4")
    assert done.status == 0
    rows = [" ".join(line.replace("│", " ").split()) for line in done.stdout.splitlines() if "s =" in line and "│" in line]
    assert rows == [
        "s = 3 27 @ 1 9 @ 3 3 @ 9 1 @ 27 81",
        "s = 2 12 @ 3 4 @ 9 1 @ 27 78",
        "s = 1 6 @ 9 2 @ 27 90",
        "s = 0 4 @ 27 108",
    ]
    assert "4 iterations x 49 configurations, 357 epochs = 196 configurations, 1428 epochs." in done.stdout


def test_a_run_in_this_process(here: Path, run: Hyperband) -> None:
    arguments = ["--workers", "2", "--iterations", "4", "--predictor", "ols", "--min-curves", "6", "--metric", "height"]
    done = run(*arguments, "--out", "results")
    assert done.status == 0, done.stderr
    results = json.loads((here / "results" / "results.json").read_text())
    stops = [line for line in done.stdout.splitlines() if line.startswith("stop  ")]
    assert len(stops) == results["n_stops"] > 0
    assert " P(no better than " in stops[0]
    assert "rung  iteration 4/4, bracket s=0, rung 1/1: 3 configurations to 9 epochs" in done.stdout
    trained, planned = results["epochs_trained"], results["epochs_planned"]
    assert trained < planned == 4 * (9 + 6 + 6 + 15 + 6 + 27)
    assert f"Epochs trained: {trained}; plain Hyperband plans {planned}" in done.stdout
    assert f"saved {1 - trained / planned:.1%}" in done.stdout
    assert f"Plot of all curves: {here / 'results' / 'curves.html'}" in done.stdout
    assert "Best height" in done.stdout
    assert results["settings"]["metric"] == "height"


def test_plain_hyperband_trains_the_plan_on_the_same_configurations(here: Path, run: Hyperband) -> None:
    for folder, more in (("a", ["--no-stop"]), ("b", ["--no-stop"]), ("c", ["--predictor", "ols"])):
        assert run("--out", folder, "--seed", "3", *more).status == 0
    results = [json.loads((here / folder / "results.json").read_text()) for folder in "abc"]
    assert results[0]["trials"] == results[1]["trials"]
    assert results[0]["epochs_trained"] == 69
    assert results[0]["n_stops"] == 0
    drawn = [[trial["configuration"] for trial in result["trials"]] for result in results]
    assert drawn[0] == drawn[2]


def test_minimising(here: Path, run: Hyperband) -> None:
    assert run("--out", "o", "--direction", "minimise", "--no-stop").status == 0
    results = json.loads((here / "o" / "results.json").read_text())
    finals = [trial["values"][-1] for trial in results["trials"] if trial["state"] == "finished"]
    assert results["best_value"] == min(finals)


def test_failed_trials_are_recorded_and_the_run_goes_on(here: Path, run: Hyperband) -> None:
    (here / "space.toml").write_text(SPACE + '[how]\ntype = "categorical"\nchoices = ["well", "raise", "die", "nan"]\n')
    (here / "count.py").write_text(
        "import os, signal\n" + COUNTING.replace("def train", "def counting") + "def train(c, d):\n"
        "    if c['how'] == 'raise': raise ValueError('how to raise')\n"
        "    if c['how'] == 'die': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    if c['how'] == 'nan': yield float('nan')\n"
        "    yield from counting(c, d)\n"
    )
    done = run("--out", "o", "--workers", "2")
    assert done.status == 0, done.stderr
    reasons = {
        "raise": "ValueError: how to raise",
        "die": "the worker was killed by SIGKILL",
        "nan": "the metric of epoch 1 is nan, not a finite number",
    }
    trials = json.loads((here / "o" / "results.json").read_text())["trials"]
    failed = [trial for trial in trials if trial["configuration"]["how"] != "well"]
    assert {trial["configuration"]["how"] for trial in failed} == set(reasons)
    for trial in failed:
        assert (trial["state"], trial["reason"]) == ("failed", reasons[trial["configuration"]["how"]])
        assert f"fail  {trial['trial']}: {trial['reason']}" in done.stdout
    traced = {trial["trial"] for trial in failed if trial["configuration"]["how"] != "nan"}
    assert {path.stem for path in (here / "o" / "failures").iterdir()} == traced


def test_nothing_succeeded(here: Path, run: Hyperband) -> None:
    (here / "count.py").write_text("def train(c, d):\n    yield 1 / 0\n")
    done = run("--out", "o")
    assert done.status == 1
    assert done.stderr == f"hyperband: no trial succeeded; tracebacks are in {here / 'o' / 'failures'}\n"


@pytest.mark.parametrize(
    ("option", "value", "line"),
    [
        ("--max-epochs", "x", "Invalid value for '--max-epochs'"),
        ("--max-epochs", "0", "max_epochs must be >= 1, but got 0"),
        ("--eta", "1", "eta must be >= 2, but got eta=1"),
        ("--workers", "0", "n_workers must be >= 1, but got 0"),
        ("--seed", "-1", "seed must be >= 0, but got -1"),
        ("--iterations", "0", "n_iterations must be >= 1, but got 0"),
        ("--kappa", "0", "kappa must be finite and > 0, but got 0.0"),
        ("--threshold", "2", "threshold must be in (0, 1], but got 2.0"),
        ("--tolerance", "-1", "tolerance must be finite and >= 0, but got -1.0"),
        ("--min-curves", "2", "min_curves must be >= 6"),
        ("--direction", "up", "direction must be 'maximise' or 'minimise', but got 'up'"),
        ("--predictor", "oracle", "predictor must be one of"),
        ("--space", "none.toml", "none.toml: the search space cannot be read"),
        ("--space", "count.py", "count.py: not TOML"),
        ("--out", ".", ": the out folder must be new or empty"),
        ("--out", "count.py/x", "count.py/x: the out folder must be one that can be made: Not a directory"),
        ("--server", "127.0.0.1:1", "127.0.0.1:1"),
        ("--server", "nowhere", "nowhere"),
        ("--fly", "high", "No such option: --fly"),
    ],
)
def test_a_bad_option_is_one_line_and_exit_status_2(run: Hyperband, here: Path, option: str, value: str, line: str) -> None:
    done = run(option, value)
    assert (done.status, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("hyperband: ")
    assert line in done.stderr
    assert not list(here.glob("**/results.json"))


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("run", "Missing argument 'script'"),
        ("run none.py --space space.toml --max-epochs 9", "none.py: the training script must be a Python file"),
        ("run space.toml --space space.toml --max-epochs 9", "space.toml: cannot be used: ImportError"),
        ("run no_train.py --space space.toml --max-epochs 9", "must define train(configuration, checkpoint_dir)"),
        ("plan --max-epochs 0", "max_resource must be >= 1, but got max_resource=0"),
        ("plan --max-epochs 9 --iterations 0", "iterations must be >= 1, but got 0"),
        ("fly", "No such command 'fly'"),
    ],
)
def test_a_bad_command_is_one_line_and_exit_status_2(hyperband: Hyperband, here: Path, arguments: str, line: str) -> None:
    (here / "no_train.py").write_text("VALUE = 3\n")
    done = hyperband(*arguments.split())
    assert (done.status, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("hyperband: ")
    assert line in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(here: Path, run: Hyperband) -> None:
    (here / "closed").mkdir(mode=0o500)
    done = run("--out", "closed")
    assert done.status == 2
    assert "the out folder must be writable" in done.stderr


def test_ctrl_c_keeps_what_was_trained(here: Path) -> None:
    (here / "count.py").write_text("import threading\ndef train(c, d):\n    yield c['x']\n    threading.Event().wait()\n")
    command = [sys.executable, "-m", "curvestop.hyperband.cli", "run", "count.py", "--space", "space.toml"]
    command += ["--max-epochs", "9", "--workers", "2", "--out", "o"]
    with subprocess.Popen(command, cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        while "rung 2/3" not in process.stdout.readline():  # all nine trained one epoch; the second never ends
            pass
        process.send_signal(signal.SIGINT)
        rest, complaints = process.stdout.read(), process.stderr.read()
        assert process.wait(20) == 130
    resume = f"go on with: hyperband resume {here / 'o'}"
    assert complaints == f"hyperband: interrupted: what was trained so far is kept; {resume}\n"
    assert "9 trials, 0 stops, 0 failed. Epochs trained: 9; plain Hyperband plans 9 " in rest
    trials = json.loads((here / "o" / "results.json").read_text())["trials"]
    assert [len(trial["values"]) for trial in trials] == [1] * 9
    assert (here / "o" / "curves.html").exists()
