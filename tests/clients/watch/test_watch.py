"""Logs reported to a real server: what is asked, what is stopped, how runs end; and the command itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest
from typer.testing import CliRunner

from curvestop.cli import app
from curvestop.clients.backtest.readers.read_options import ReadOptions
from curvestop.clients.watch.log_files import LogFile, LogFiles
from curvestop.clients.watch.stop_command import StopCommand
from curvestop.clients.watch.table_log import TableLog
from curvestop.clients.watch.text_log import TextLog
from curvestop.clients.watch.watcher import Watcher
from curvestop.hyperband.executors.metric_pattern import MetricPattern
from tests.clients.watch.test_logs import append
from tests.contracts_training import BAD, GOOD, REASON, CurveServer, of_six_curves

PATTERN = "acc=([0-9.]+)"
WHY = f"{REASON}: predicted 0.25 +- 0.11 from 2 epochs and 6 complete curves"
STOP = f"trial-1: stop after epoch 2: {WHY}"


class Watch:
    """A watcher of `folder`, and the lines that it told."""

    def __init__(self, study: Any, folder: Path, **options: Any) -> None:
        self.told: list[str] = []
        self.folder, self.now = folder, 1e9

        def open_log(file: LogFile) -> TextLog:
            return TextLog(file.path, MetricPattern(PATTERN))

        files = LogFiles([str(folder)], of_text=True)
        self.watcher = Watcher(study, files, open_log, self.told.append, clock=lambda: self.now, **options)

    def look_after(self, name: str, *values: float) -> list[str]:
        """Write values into a log; return what is told then."""
        append(self.folder / name, "".join(f"acc={value}\n" for value in values))
        self.told.clear()
        self.watcher.look()
        return list(self.told)


def test_a_bad_run_is_stopped_by_the_command_once(curve_server: CurveServer, tmp_path: Path) -> None:
    settings = curve_server.prepared("watched", "acc")
    mark = tmp_path / "stops"
    script = tmp_path / "stop.sh"
    script.write_text(f'echo "$1" >> {mark}\n')
    logs = tmp_path / "logs"
    logs.mkdir()
    with curve_server.open(settings) as study:
        watch = Watch(study, logs, on_stop=StopCommand(f"sh {script} {{job}}"))
        watch.watcher.look()
        assert watch.look_after("trial-1.out", BAD[0]) == []
        assert watch.look_after("trial-1.out", BAD[1]) == [STOP]
        assert watch.look_after("trial-1.out", BAD[2]) == []
        assert watch.look_after("good.out", *GOOD) == ["good: finished after epoch 3"]
        assert mark.read_text() == "1\n"
    trials = {name: curve_server.trial(settings, name) for name in ("trial-1", "good")}
    assert {name: (trial.state, trial.values) for name, trial in trials.items()} == {
        "trial-1": ("stopped", BAD[:2]),
        "good": ("finished", GOOD),
    }
    with curve_server.open(settings) as study:  # the watch is started again
        watch = Watch(study, logs, on_stop=StopCommand(f"sh {script} {{job}}"))
        assert watch.watcher.look()
        assert watch.told == ["good: had ended as finished in the study", "trial-1: had ended as stopped in the study"]
        assert mark.read_text() == "1\n"


def test_what_is_there_at_the_start_asks_only_when_it_goes_on(tmp_path: Path) -> None:
    watch = Watch(of_six_curves(), tmp_path, on_stop=StopCommand("true"))
    assert watch.look_after("trial-1.log", *BAD[:1]) == []
    watch = Watch(of_six_curves(), tmp_path, on_stop=StopCommand("true"))
    assert watch.look_after("trial-1.log") == []
    assert watch.look_after("trial-1.log", BAD[1]) == [STOP]


def test_a_command_that_fails_is_told(tmp_path: Path) -> None:
    watch = Watch(of_six_curves(), tmp_path, on_stop=StopCommand("ls /no/such/{job}"))
    watch.watcher.look()
    told = watch.look_after("trial-1.log", *BAD[:2])
    assert told[0] == STOP
    assert told[1].startswith(
        "trial-1: the command of --on-stop failed, and the run may go on: ls /no/such/1 exited with status 2: "
    )


def test_without_a_command_nothing_is_stopped(tmp_path: Path) -> None:
    study = of_six_curves(shadow=True)
    watch = Watch(study, tmp_path)
    watch.watcher.look()
    assert watch.look_after("trial-1.log", *BAD[:2]) == [
        f"trial-1: would stop after epoch 2: shadow mode, would have stopped: {WHY}"
    ]
    assert watch.look_after("trial-1.log", BAD[2]) == ["trial-1: finished after epoch 3"]


def test_a_log_that_is_not_written_any_more_has_failed(tmp_path: Path) -> None:
    study = of_six_curves()
    watch = Watch(study, tmp_path, idle_s=600.0)
    watch.watcher.look()
    watch.look_after("a.log", GOOD[0])
    watch.now += 599
    assert watch.look_after("a.log", GOOD[1]) == []
    watch.now += 599
    assert watch.look_after("a.log") == []
    watch.now += 1
    assert watch.look_after("a.log") == ["a: ended at epoch 2: nothing was written for 600 s"]
    assert study.trials()[-1].state == "failed"


def test_a_log_that_began_again_and_one_too_many_are_told(tmp_path: Path) -> None:
    study = of_six_curves()
    watch = Watch(study, tmp_path)
    watch.watcher.look()
    watch.look_after("a.log", *GOOD[:2])
    (tmp_path / "a.log").unlink()
    (tmp_path / "a.out").touch()
    assert watch.look_after("a.log", 0.5) == [
        f"{tmp_path / 'a.out'} is not followed, as {tmp_path / 'a.log'} is trial 'a' already: name the folder or the pattern, "
        "in quotes, that has both",
        "a: the log began again; what the study has of it up to epoch 2 stays. A new run needs a log with another name",
    ]
    assert study.trials()[-1].values == GOOD[:2]


def test_a_configuration_that_cannot_be_read_is_told_and_the_run_is_followed(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "hparams.yaml").write_text("lr: [")
    (tmp_path / "run" / "metrics.csv").write_text("epoch,acc\n0,0.5\n1,0.25\n")
    study, told = of_six_curves(), list[str]()
    files = LogFiles([str(tmp_path / "run" / "metrics.csv")], of_text=False)
    Watcher(study, files, lambda file: TableLog(file.path, ReadOptions()), told.append).look()
    assert told[0].startswith(f"run: its configuration is not known: {tmp_path / 'run' / 'hparams.yaml'} cannot be read: ")
    assert study.trials()[-1].values == (0.5, 0.25)


# The command.


@contextmanager
def watching(server: CurveServer, *arguments: str) -> Iterator[IO[str]]:
    """Run `curvestop watch`; yields what it prints, and ends it by Ctrl-C."""
    environment = {**os.environ, "CURVESTOP_TOKEN": server.token, "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "curvestop.cli", "watch", *arguments, "--server", server.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 0


def next_line(lines: IO[str]) -> str:
    return next(lines).split("  ", 1)[1].rstrip()


def test_the_command_follows_stops_and_is_started_again(curve_server: CurveServer, tmp_path: Path) -> None:
    stop = f"touch {tmp_path}/stopped-{{trial}}"
    arguments = [f"{tmp_path}/*.log", "--study", "by-command", "--max-epochs", "3", "--pattern", PATTERN, "--on-stop", stop]
    with watching(curve_server, *arguments) as lines:
        append(tmp_path / "good.log", "acc=0.5\nacc=0.6\nacc=0.7\n")
        assert next_line(lines) == "good: finished after epoch 3"
        append(tmp_path / "bad.log", "acc=0.5\nacc=nan\n")
        assert next_line(lines) == "bad: stop after epoch 2: the metric of epoch 2 is not a finite number: the trial diverged"
        assert (tmp_path / "stopped-bad").exists()
        append(tmp_path / "other.log", "acc=0.5\nacc=0.6\n")
    (tmp_path / "stopped-bad").unlink()
    with watching(curve_server, *arguments) as lines:
        ended = {next_line(lines), next_line(lines)}
        assert ended == {"good: had ended as finished in the study", "bad: had ended as failed in the study"}
        append(tmp_path / "other.log", "acc=0.75\n")
        assert next_line(lines) == "other: finished after epoch 3"
        assert not (tmp_path / "stopped-bad").exists()


def test_in_this_process_it_ends_with_its_logs(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("epoch,val_loss\n0,0.5\n1,0.25\n")
    files = [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    ended = CliRunner().invoke(app, ["watch", *files, "--study", "s", "--max-epochs", "2", "--metric", "val_loss"])
    assert [line.split("  ", 1)[1] for line in ended.output.splitlines()] == [
        "a: finished after epoch 2",
        "b: finished after epoch 2",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metric", "objective"], "the name 'objective' does not tell whether higher is better: add --direction"),
        (["--pattern", "acc="], "must have a group named value, or exactly one group, but 'acc=' has 0 groups"),
        (["--pattern", PATTERN, "--on-stop", "kill {pid}"], "--on-stop may have {job}, {trial} and {file}"),
        (["--metric", "acc", "--end", "done"], "--end is for logs of text, which need --pattern"),
        (["--metric", "acc", "--idle", "0"], "--idle must be > 0 seconds, but got 0.0"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], message: str) -> None:
    ended = CliRunner().invoke(app, ["watch", "x.log", "--study", "s", "--max-epochs", "3", *arguments])
    assert ended.exit_code == 2
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1
