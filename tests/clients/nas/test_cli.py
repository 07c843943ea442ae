"""The `metaqnn` command: a search that is killed twice ends as one that is not, and mistakes are reported in one line."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from curvestop import __version__
from curvestop.clients.nas.search.architecture_search import Record
from curvestop.clients.nas.search.search_factory import SPACES, new_search
from curvestop.clients.nas.search.search_folder import MODELS, load_settings
from curvestop.clients.nas.search.search_run import load_search
from curvestop.clients.nas.search.search_settings import SearchSettings, search_defaults
from curvestop.clients.nas.training.datasets import load_images, split_images
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.settings import THESIS, StudySettings

TRAINER = """
import os, signal, zlib
from pathlib import Path

def train(configuration, checkpoint_dir):
    text, state = configuration["architecture"], checkpoint_dir / "epoch"
    final = 0.3 + 0.6 * (zlib.crc32(text.encode()) % 1000) / 1000
    epoch = int(state.read_text()) if state.exists() else 0
    while True:
        epoch += 1
        part = checkpoint_dir / "part"
        part.write_text(str(epoch))
        os.replace(part, state)
        for moment in Path(__file__).with_name("kill").glob(f"{checkpoint_dir.name}-{epoch}"):
            moment.unlink()
            os.kill(os.getppid(), signal.SIGKILL)  # the search itself
        yield final * (1 - 0.6**epoch)
"""


def metaqnn(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "curvestop.clients.nas.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"}, timeout=200)


def outcome(record: Record) -> tuple[object, ...]:
    return record.text, record.label, record.values, record.state, record.reward, record.predicted


def new_script(folder: Path, *kill_at: str) -> Path:
    (folder / "kill").mkdir(parents=True)
    for moment in kill_at:
        (folder / "kill" / moment).touch()
    (folder / "trainer.py").write_text(TRAINER)
    return folder / "trainer.py"


def arguments(script: Path, out: Path) -> list[str]:
    options = {"--models": 30, "--epochs": 6, "--divide": 8, "--max-depth": 3, "--min-curves": 6, "--n-validation": 300}
    return [
        "run",
        "digits",
        "--script",
        str(script),
        "--out",
        str(out),
        *(str(part) for pair in options.items() for part in pair),
    ]


def test_a_search_killed_twice_ends_as_one_that_is_not(tmp_path: Path) -> None:
    straight = metaqnn(*arguments(new_script(tmp_path / "a"), tmp_path / "straight"))
    assert straight.returncode == 0, straight.stderr
    lines = straight.stdout.splitlines()
    assert lines[1].startswith("best  m00000: accuracy 0.")  # the first is the best so far
    assert sum(line.startswith("stop  m000") for line in lines) == sum(
        record.state == "stopped" for record in load_search(tmp_path / "straight")[1].records
    )
    again = tmp_path / "again"
    script = new_script(tmp_path / "b", "m00004-3", "m00013-1")
    assert metaqnn(*arguments(script, again)).returncode == -signal.SIGKILL
    shown = metaqnn("show", str(again))
    assert shown.returncode == 0, shown.stderr
    assert "1 running" in shown.stdout
    assert metaqnn("resume", str(again)).returncode == -signal.SIGKILL
    done = metaqnn("resume", str(again))
    assert done.returncode == 0, done.stderr
    records = {name: load_search(tmp_path / name)[1].records for name in ("straight", "again")}
    assert [*map(outcome, records["again"])] == [*map(outcome, records["straight"])]
    assert any(record.state == "stopped" and record.predicted for record in records["again"])
    assert (again / MODELS).read_text() == (tmp_path / "straight" / MODELS).read_text()
    assert not any((again / "checkpoints").iterdir())
    with (again / MODELS).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["architecture"] for row in rows] == [record.text for record in records["straight"]]


def test_blocks_are_searched_in_batches_with_their_redefined_reward(tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = [
        "--space",
        "blockqnn",
        "--models",
        "70",
        "--epochs",
        "4",
        "--max-depth",
        "4",
        "--n-validation",
        "300",
        "--workers",
        "2",
    ]
    done = metaqnn("run", "digits", "--script", str(new_script(tmp_path / "a")), "--out", str(out), "--no-stop", *options)
    assert done.returncode == 0, done.stderr
    _, search = load_search(out)
    assert len(search.records) == 70
    assert all(record.reward is not None for record in search.records)
    sized = [record for record in search.records if "(2,1,5,1,0)" in record.text]
    assert sized
    assert all(record.reward != record.values[-1] for record in sized)
    drawn = metaqnn("draw", search.records[0].text)
    assert drawn.stdout.startswith("digraph block {")
    assert metaqnn("draw", "[(1,4)]").returncode == 2


def test_architectures_of_a_file_are_checked(tmp_path: Path) -> None:
    (tmp_path / "nets.csv").write_text(
        'net,num_params\n"[C(128,5,1), C(512,1,1), D(1,1), SM(10)]",337280\n"[P(2,2), SM(10)]",1\n'
    )
    done = metaqnn("check", str(tmp_path / "nets.csv"))
    assert done.stdout.splitlines() == [
        "row 2: [P(2,2), SM(10)]: layer 1, P(2,2): a network does not begin with pooling",
        "2 architectures parsed, 1 legal; 1 of 2 sizes within 1 %, 1 exact",
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["run", "nowhere"], "images must be 'digits'"),
        (["run", "digits", "--divide", "3"], "divide must divide 64"),
        (["run", "digits", "--models", "5"], "needs at least as many models, but got 5"),
        (["run", "digits", "--n-validation", "5000"], "n_validation must be in [10, 1490] for 1500 images, but got 5000"),
        (["run", "digits", "--n-training", "5"], "n_training must be 0 (all 1200) or in [10, 1190], but got 5"),
        (["run", "digits", "--batch-size", "0"], "batch-size must be >= 1, but got 0"),
        (["run", "digits", "--server", "127.0.0.1:1", "--token", "x"], "127.0.0.1:1"),
        (["resume", "nowhere"], "must be the folder of a search"),
        (["run", "--frobnicate"], "see --help"),
    ],
)
def test_mistakes_are_reported_in_one_line(given: list[str], message: str, tmp_path: Path) -> None:
    done = metaqnn(*given, *(["--out", str(tmp_path / "out")] if given[:2] == ["run", "digits"] else []))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert message in line
    assert not (tmp_path / "out").exists()


def settings_of(folder: Path) -> StudySettings:
    return load_settings(folder).study_settings


def test_the_ten_best_are_worth_finishing_and_the_thesis_is_one_flag(tmp_path: Path) -> None:
    """What `select` trains by default must not be stopped."""
    few = ["run", "digits", "--script", str(new_script(tmp_path / "a")), "--models", "10", "--epochs", "2"]
    chosen = [
        "--policy",
        "learned",
        "--policy-settings",
        '{"risk": 0.1}',
        "--predictor",
        "ols",
        "--rank",
        "3",
        "--tolerance",
        "0.01",
    ]
    for name, more in {"default": [], "thesis": ["--thesis", "--rank", "1"], "chosen": chosen}.items():
        done = metaqnn(*few, *more, "--out", str(tmp_path / name))
        assert done.returncode == 0, done.stderr
    assert settings_of(tmp_path / "default").rule == StoppingRule(threshold=0.99, rank=10, min_curves=20)
    thesis = settings_of(tmp_path / "thesis")
    assert thesis == replace(StudySettings(thesis.name, 2, **THESIS), metric=thesis.metric, log_scaled=thesis.log_scaled)
    chosen_one = settings_of(tmp_path / "chosen")
    assert (chosen_one.policy, chosen_one.policy_settings, chosen_one.predictor) == ("learned", {"risk": 0.1}, "ols")
    assert (chosen_one.rule.rank, chosen_one.rule.tolerance, chosen_one.rule.min_curves) == (3, 0.01, 8)


@pytest.mark.parametrize("space", SPACES)
def test_the_defaults_of_digits_are_a_search_in_every_space(space: str) -> None:
    """What `metaqnn run digits` asks for, as in the README."""
    images = load_images("digits")
    defaults = search_defaults("digits", len(images.y_train))
    settings = SearchSettings(
        data="digits", space=space, script="", study="s", image_size=8, n_channels=1, n_classes=10, seed=0, workers=1,
        n_training=0, learning_rate=0.001, bag_of_words=False, device="", server=None, no_stop=False, threshold=0.99, **defaults,
    )  # fmt: skip
    settings.check()
    training, validation = split_images(images.y_train, settings.n_validation, settings.n_training, seed=0)
    assert (len(training), len(validation)) == (1200, 300)
    assert new_search(settings, None).ask() is not None


@pytest.mark.parametrize("more", [[], ["--space", "cells", "--script", "trainer.py"]])
def test_without_torch_the_extra_is_named_and_no_folder_left(tmp_path: Path, more: list[str]) -> None:
    new_script(tmp_path)
    code = "import sys; from curvestop.clients.nas.cli import main; sys.modules['torch'] = None; main()"
    command = [sys.executable, "-c", code, "run", "digits", "--out", "out", *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == ("metaqnn: this needs the package torch, which is not installed: pip install 'curvestop[torch]'\n")
    assert not (tmp_path / "out").exists()


def test_trainings_that_all_fail_alike_end_the_search(tmp_path: Path) -> None:
    (tmp_path / "trainer.py").write_text("def train(configuration, checkpoint_dir):\n    yield configuration['lr']\n")
    out = tmp_path / "out"
    done = metaqnn("run", "digits", "--script", str(tmp_path / "trainer.py"), "--out", str(out))
    assert done.returncode == 1
    assert done.stdout.splitlines() == [f"Searching in {out}", *(f"fail  m0000{i}: KeyError: 'lr'" for i in range(5))]
    assert done.stderr == (
        f"metaqnn: the first 5 trials all failed alike: KeyError: 'lr'; tracebacks are in {out / 'failures'}; "
        f"to try others all the same: metaqnn resume {out}\n"
    )
    assert "Traceback" in (out / "failures" / "m00000.txt").read_text()


def test_settings_are_kept(tmp_path: Path) -> None:
    script = new_script(tmp_path / "a", "m00000-1")
    metaqnn(*arguments(script, tmp_path / "out"), "--no-stop")
    kept = json.loads((tmp_path / "out" / "search.json").read_text())
    assert (kept["models"], kept["no_stop"], kept["image_size"]) == (30, True, 8)


def test_the_version_is_printed() -> None:
    assert metaqnn("--version").stdout == f"metaqnn {__version__}\n"


def test_analyse_without_plotly_fails_at_once_and_names_the_extra(tmp_path: Path) -> None:
    """An import of plotly fails where `sys.modules` has None for it."""
    code = "import sys; sys.modules['plotly'] = None; from curvestop.clients.nas.cli import main; main()"
    command = [sys.executable, "-c", code, "analyse", str(tmp_path / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 2
    assert done.stderr == "metaqnn: figures need plotly, which is not installed; run: pip install 'curvestop[plots]'\n"
