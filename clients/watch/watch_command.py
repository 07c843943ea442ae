"""`curvestop watch`: parse the command line, follow the logs, report them to a study, act at a stop."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from curvestop.clients.backtest.backtest_command import checked_direction
from curvestop.command_line import errors_in_one_line, printable, signals_interrupt
from curvestop.srm.metric_names import guess_direction
from curvestop.srm.policies.stopping_rule import Direction

if TYPE_CHECKING:
    from curvestop.clients.watch.growing_log import GrowingLog
    from curvestop.clients.watch.log_files import LogFile
    from curvestop.hyperband.executors.metric_pattern import MetricPattern

POLL_S = 1.0
"""Time between two looks at the logs."""


def command(
    logs: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, or patterns in quotes such as 'runs/*/train.log'; what appears later is followed, too."
        ),
    ],
    study: Annotated[str, typer.Option(metavar="NAME", help="Study that the runs are trials of.", show_default=False)],
    max_epochs: Annotated[
        int, typer.Option(min=1, help="Epoch or step of a complete run's last value, as the logs count.", show_default=False)
    ],
    pattern: Annotated[
        str | None,
        typer.Option(
            metavar="REGEX",
            help="Finds the metric in logs of text, such as 'epoch (?P<epoch>[0-9]+).*val_acc=(?P<value>[0-9.]+)'. Without it, "
            "logs are CSV, JSON lines or TensorBoard's.",
        ),
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Column, entry or tag of the metric. Required if there are several.")] = None,
    direction: Annotated[
        str | None, typer.Option(metavar="[maximize|minimize]", help="Default: guessed from the metric's name.")
    ] = None,
    epoch_column: Annotated[str | None, typer.Option(metavar="NAME", help="Column or entry with the epoch or step.")] = None,
    on_stop: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND",
            help="Run once for each trial that is to be stopped, without a shell: {job} is the number at the end of the log's "
            "name, {trial} that name, {file} the log. Without it nothing is stopped.",
        ),
    ] = None,
    end: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Finds the line of a text log that says that its run has ended.")
    ] = None,
    idle: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="A run whose log has not grown for so long has failed.")
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            envvar="CURVESTOP_TARGET",
            help="Server of the study; the token is looked up as for clients. Without it the study is in this process.",
        ),
    ] = None,
) -> None:
    """Follow the logs that runs write, report them to a study, and say which runs to stop. Ctrl-C ends it, not the runs."""
    # Imported here, so that `curvestop serve` starts without these.
    from curvestop.clients.remote.remote_study import RemoteStudy, connect
    from curvestop.clients.watch.log_files import LogFiles
    from curvestop.clients.watch.stop_command import StopCommand
    from curvestop.clients.watch.watcher import Watcher
    from curvestop.srm.settings import StudySettings

    with errors_in_one_line(), ExitStack() as stack:
        if idle is not None and not idle > 0:
            raise ValueError(f"--idle must be > 0 seconds, but got {idle!r}")
        finds = None if pattern is None else _pattern(pattern)
        ends = None if end is None else _regular_expression("--end", end)
        if ends is not None and finds is None:
            raise ValueError("--end is for logs of text, which need --pattern")
        stop = None if on_stop is None else StopCommand(on_stop)
        name = metric or (finds.name if finds else None) or "value"
        settings = StudySettings(
            study, max_epochs, name, _direction(name, direction), shadow=stop is None
        )  # without a command nothing is stopped, so the study's trials go on, too
        opened = connect(server, settings)
        if isinstance(opened, RemoteStudy):
            stack.enter_context(opened)
            opened.check()
        watcher = Watcher(
            opened,
            LogFiles(logs, of_text=finds is not None),
            _opener(finds, ends, metric, epoch_column),
            _print,
            on_stop=stop,
            idle_s=idle,
        )
        stack.enter_context(signals_interrupt())
        try:
            while watcher.look():
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            _print(f"{watcher.n_running} runs go on; the same command continues to follow them")


def _opener(
    pattern: MetricPattern | None, end: re.Pattern[str] | None, metric: str | None, epoch: str | None
) -> Callable[[LogFile], GrowingLog]:
    """Return what makes the reader of a log."""
    from curvestop.clients.backtest.readers.read_options import ReadOptions
    from curvestop.clients.watch.table_log import TableLog
    from curvestop.clients.watch.text_log import TextLog

    def open_log(file: LogFile) -> GrowingLog:
        if file.is_events:
            if find_spec("tensorboard") is None:
                raise ValueError(f"{file.path} needs the package tensorboard: pip install 'curvestop[tensorboard]'")
            from curvestop.clients.watch.event_log import EventLog

            return EventLog(file.path, metric)
        return TableLog(file.path, ReadOptions(metric, epoch=epoch)) if pattern is None else TextLog(file.path, pattern, end)

    return open_log


def _pattern(text: str) -> MetricPattern:
    from curvestop.hyperband.executors.metric_pattern import MetricPattern
    from curvestop.hyperband.executors.train_command import check_pattern

    check_pattern(text)
    return MetricPattern(text)


def _regular_expression(option: str, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"{option} must be a regular expression, but {text!r} is not: {error}") from None


def _direction(metric: str, given: str | None) -> Direction:
    direction = guess_direction(metric) if given is None else checked_direction(given)
    if direction is None:
        raise ValueError(f"the name {metric!r} does not tell whether higher is better: add --direction maximize or minimize")
    return direction


def _print(line: str) -> None:
    typer.echo(f"{time.strftime('%H:%M:%S')}  {printable(line)}")
