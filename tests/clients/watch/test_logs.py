"""Logs as they grow: half a line, rotation, an emptied file, progress bars, files that a logger writes anew."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from curvestop.clients.backtest.readers.read_options import ReadOptions
from curvestop.clients.watch.growing_log import Growth
from curvestop.clients.watch.log_files import LogFiles
from curvestop.clients.watch.stop_command import StopCommand
from curvestop.clients.watch.table_log import TableLog
from curvestop.clients.watch.text_log import TextLog
from curvestop.hyperband.executors.metric_pattern import MetricPattern


def append(path: Path, text: str) -> None:
    with path.open("a", newline="") as file:
        file.write(text)


def text_log(path: Path, pattern: str = "acc=([0-9.]+)") -> TextLog:
    return TextLog(path, MetricPattern(pattern), re.compile("^done"))


# Text.


def test_a_line_counts_when_its_end_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    append(path, "loading\nacc=0.5\nacc=0.")
    log = text_log(path)
    assert log.read() == Growth([(0, 0.5)], has_grown=True)
    assert log.read() == Growth()
    append(path, "75\r\n")
    assert log.read().points == [(1, 0.75)]
    append(path, "done\n")
    assert log.read() == Growth(has_grown=True, has_ended=True)


def test_of_a_progress_bar_the_last_state_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    append(path, " 1/2 acc=0.1\r 2/2 acc=0.2\r\n\x1b[32m 1/2 acc=0.3\r 2/2 acc=0.4\x1b[0m\n")
    assert text_log(path).read().points == [(0, 0.2), (1, 0.4)]


def test_the_same_metric_in_another_form_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    append(path, 'acc=0.5\n{"acc": 0.5}\nacc=0.75\n{"acc": 0.75}\n')
    assert text_log(path).read().points == [(0, 0.5), (1, 0.75)]


def test_a_number_that_may_be_two_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    append(path, "acc=1,234\nacc=0.5\n")
    growth = text_log(path, r"acc=(\S+)").read()
    assert growth.points == [(0, 0.5)]
    assert growth.problem == "the metric '1,234' may be 1.234 or 1234: print it with a decimal point; the line is 'acc=1,234'"


def test_a_rotated_log_goes_on_in_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    append(path, "acc=0.5\n")
    log = text_log(path)
    log.read()
    append(path, "acc=0.6\n")  # after the last look, before the rotation
    path.rename(tmp_path / "a.log.1")
    append(path, "acc=0.7\n")
    assert log.read() == Growth([(1, 0.6), (2, 0.7)], has_grown=True)


@pytest.mark.parametrize("keeps_file", [True, False])
def test_an_emptied_or_replaced_log_begins_again(tmp_path: Path, keeps_file: bool) -> None:
    path = tmp_path / "a.log"
    append(path, "acc=0.5\nacc=0.6\n")
    log = text_log(path)
    log.read()
    if keeps_file:
        os.truncate(path, 0)
    else:
        path.unlink()
    append(path, "acc=0.9\n")
    assert log.read() == Growth([(0, 0.9)], has_grown=True, has_restarted=True)


def test_an_epoch_in_the_pattern_is_the_step(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    append(path, "epoch 10: acc=0.5\nepoch 20: acc=0.6\n")
    log = text_log(path, r"epoch (?P<epoch>\d+): acc=(?P<value>\S+)")
    assert log.read().points == [(10, 0.5), (20, 0.6)]


# Tables.


def test_a_half_written_row_of_a_table_waits_for_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    append(path, "epoch,acc\n1,0.5\n2,0.")
    log = TableLog(path, ReadOptions())
    assert log.read() == Growth([(1, 0.5)], has_grown=True)
    append(path, "75\n")
    assert log.read() == Growth([(2, 0.75)], has_grown=True)
    path.write_text("epoch,acc,loss\n1,0.5,\n2,0.75,\n3,0.8,1.5\n")  # as Lightning does for a new column
    assert TableLog(path, ReadOptions("acc")).read().points == [(1, 0.5), (2, 0.75), (3, 0.8)]


def test_json_lines_with_the_configuration_beside_them(tmp_path: Path) -> None:
    path = tmp_path / "run-1" / "metrics.jsonl"
    path.parent.mkdir()
    (path.parent / "config.json").write_text('{"lr": 0.1, "net": {"width": 64}}')
    append(path, json.dumps({"step": 100, "acc": 0.5}) + "\n" + '{"step": 20')
    log = TableLog(path, ReadOptions("acc"))
    assert log.read().points == [(100, 0.5)]
    append(path, '0, "acc": 0.75}\n')
    assert log.read().points == [(200, 0.75)]
    assert log.configuration() == {"lr": 0.1, "net.width": 64}


def test_what_cannot_be_read_is_told_unless_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    log = TableLog(path, ReadOptions("acc"))
    path.write_text('{"log_history": [{"ac')  # is being written
    assert log.read() == Growth(has_grown=True)
    path.write_text('{"log_history": [{"acc": 0.5, "step": 1}]}')
    assert log.read().points == [(1, 0.5)]
    path.write_text("[")
    assert log.read().problem is None
    assert "is not JSON" in str(log.read().problem)
    assert log.read() == Growth()


def test_events_of_tensorboard_are_read_as_they_come(tmp_path: Path) -> None:
    from torch.utils.tensorboard.writer import SummaryWriter

    from curvestop.clients.watch.event_log import EventLog

    with SummaryWriter(str(tmp_path / "source")) as writer:
        for step, value in enumerate([0.5, 0.75]):
            writer.add_scalar("acc", value, step)
            writer.add_scalar("loss", 1 - value, step)
    (written,) = (tmp_path / "source").iterdir()
    content, target = written.read_bytes(), tmp_path / "run" / written.name
    target.parent.mkdir()
    log, points = EventLog(target.parent, "acc"), []
    for part in (content[:100], content[100:131], content[131:]):  # cut within records
        with target.open("ab") as file:
            file.write(part)
        points.append(log.read().points)
    assert [point for its in points for point in its] == [(0, 0.5), (1, 0.75)]
    assert len(points[-1]) < 2


# Which files, and which trials.


@pytest.mark.parametrize(
    ("name", "of_text", "expected"),
    [
        ("logs", True, {"slurm-7", "deep/train"}),
        ("logs/*.out", True, {"slurm-7"}),
        ("logs/**/*.log", True, {"deep/train"}),
        ("logs/slurm-7.out", True, {"slurm-7"}),
        ("logs/lr*", True, {"lr0.1", "lr0.2"}),
        ("runs", False, {"a", "b"}),
        ("runs/*/metrics.csv", False, {"a", "b"}),
        ("runs/a/metrics.csv", False, {"a"}),
        ("later", True, set()),
    ],
)
def test_trials_are_named_by_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, of_text: bool, expected: set[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in (
        "logs/slurm-7.out",
        "logs/deep/train.log",
        "logs/lr0.1",
        "logs/lr0.2",
        "runs/a/metrics.csv",
        "runs/b/metrics.csv",
    ):
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).write_text("epoch,acc\n1,0.5\n")
    files = LogFiles([name], of_text=of_text)
    assert {file.trial for file in files.find()} == expected
    assert files.may_grow == (name in ("logs", "runs") or "*" in name)


# The command at a stop.


@pytest.mark.parametrize(
    ("line", "name", "expected"),
    [
        ("scancel {job}", "slurm-123.out", ["scancel", "123"]),
        ("scancel --quiet '{job}'", "train-123_4.out", ["scancel", "--quiet", "123_4"]),
        ("stop {trial}", "a; rm -rf ~.log", ["stop", "a; rm -rf ~"]),
        ("stop --name={trial}", "$(date) 'x'.log", ["stop", "--name=$(date) 'x'"]),
    ],
)
def test_a_name_is_one_argument(tmp_path: Path, line: str, name: str, expected: list[str]) -> None:
    (tmp_path / name).touch()
    (file,) = LogFiles([str(tmp_path)], of_text=True).find()
    assert StopCommand(line).arguments(file) == expected


@pytest.mark.parametrize(
    ("line", "name", "message"),
    [
        (
            "scancel {job}",
            "train.log",
            "{job} is the number at the end of a log's name, as in slurm-123.out, but got 'train.log'",
        ),
        (
            "scancel {job}",
            "lr-0.1.log",
            "{job} is the number at the end of a log's name, as in slurm-123.out, but got 'lr-0.1.log'",
        ),
        ("stop {trial}", "--all.log", "a name that begins with '-' would be an option of the command: '--all'"),
    ],
)
def test_a_name_that_the_command_would_misread_is_told(tmp_path: Path, line: str, name: str, message: str) -> None:
    (tmp_path / name).touch()
    (file,) = LogFiles([str(tmp_path)], of_text=True).find()
    assert StopCommand(line).run(file) == message


@pytest.mark.parametrize("line", ["sh -c 'kill {job}'", "kill {pid}", "kill 'x", ""])
def test_a_command_that_cannot_be_run_safely_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="--on-stop"):
        StopCommand(line)
