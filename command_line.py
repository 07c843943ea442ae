"""What the commands `curvestop`, `hyperband` and `metaqnn` share: console, errors in one line, exit statuses, entry point."""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from curvestop import __version__

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

HELP_WIDTH = 120
"""Help takes so many columns, on a terminal that has them."""

EXTRAS = {"torch": "torch", "plotly": "plots", "ray": "ray", "submitit": "slurm", "mcp": "mcp"}
"""Packages that commands import when they need them, and the extra that installs each."""

ENDING_SIGNALS = (signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
"""What a batch system, a service manager and a terminal that closes send; Windows has no SIGHUP."""

EXIT_NOTHING_SUCCEEDED, EXIT_BAD_INPUT, EXIT_STOP, EXIT_INTERRUPTED = 1, 2, 3, 130

_program = "curvestop"  # the name in error lines and in the version; `run_app` sets it


_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
# What is hidden already stays as it is: a message may come through here twice.
_PASSWORD = re.compile(
    r"(?<=://)(?P<user>[^:/@\s]*):(?!\*\*\*@)\S*@|(?<=[?&])(?P<name>password|passwd|pwd|sslpassword)=(?!\*\*\*)[^&\s'\"]*", re.I
)


def new_console(*, width: int | None = None, stderr: bool = False) -> Console:
    """Make the console that a command prints on; every command prints user's text, and prints it as it is.

    Args:
        width: Number of columns. Default: those of the terminal.
        stderr: Whether to print on standard error.
    """
    from rich.console import Console  # imported here, so that `curvestop serve` starts without it

    class PlainConsole(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(printable(text), **options)

    # Without markup and emoji, a configuration's `cell[identity(0)]`, `[sgd]` or `:smile:` stays what it is.
    return PlainConsole(width=width, stderr=stderr, markup=False, emoji=False, highlight=False)


def printable(text: str) -> str:
    r"""Write the characters that turn the direction of text as escapes: in a name they would reverse a terminal's line.

    Args:
        text: A line with names that others chose.

    Examples:
        >>> printable("right\u202eleft")
        'right\\u202eleft'
    """
    return _TURNING.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def hide_passwords(text: str) -> str:
    """Replace the passwords in URLs by `***`.

    Args:
        text: A URL, or a message that may contain some.

    Examples:
        >>> hide_passwords("cannot open postgresql://ann:secret@db/runs")
        'cannot open postgresql://ann:***@db/runs'
        >>> hide_passwords("postgresql://db/runs?user=ann&password=secret")
        'postgresql://db/runs?user=ann&password=***'
    """
    return _PASSWORD.sub(lambda match: f"{match['name']}=***" if match["name"] else f"{match['user']}:***@", text)


def print_error(line: str) -> None:
    """Print one line on standard error, after the command's name; passwords in it are hidden."""
    # A message of several lines, such as a database driver's, becomes one, which scripts can read.
    typer.echo(f"{_program}: {printable(hide_passwords(' '.join(line.split())))}", err=True)


def fail(problem: str) -> NoReturn:
    """Print the problem on one line of standard error and exit with status 2."""
    print_error(problem)
    raise typer.Exit(EXIT_BAD_INPUT)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{_program} {__version__}")
        raise typer.Exit


def common_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that every command has before its first word; typer shows the help of the app instead of this text."""


def grouped_help(groups: Mapping[str, Sequence[str]]) -> type[TyperCommand]:
    """Return the class of a command whose help lists its options in groups, as plain text.

    Args:
        groups: The parameters of each group, by heading. All others come last, as "Other options".
    """

    class Grouped(TyperCommand):
        def format_options(self, ctx: Any, formatter: Any) -> None:
            lines = {param.name: (param.param_type_name, param.get_help_record(ctx)) for param in self.get_params(ctx)}
            shown = {name: record for name, (_, record) in lines.items() if record is not None}
            arguments = [name for name, (kind, _) in lines.items() if kind == "argument"]
            grouped = {"Arguments": arguments, **groups}
            rest = set(shown).difference(*grouped.values())
            for heading, names in [*grouped.items(), ("Other options", [name for name in shown if name in rest])]:
                if records := [shown[name] for name in names if name in shown]:
                    with formatter.section(heading):
                        formatter.write_dl(records)

    return Grouped


@contextmanager
def errors_in_one_line(*kinds: type[Exception]) -> Iterator[None]:
    """Turn ValueError, OSError, a missing extra and the given kinds of error into one line and exit status 2."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            if kinds and isinstance(error, kinds):
                fail(str(error))
            raise
        fail(f"this needs the package {error.name}, which is not installed: pip install 'curvestop[{EXTRAS[error.name]}]'")
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error))
    except kinds as error:
        fail(str(error))
    except ValueError as error:
        fail(str(error))


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP interrupt the block as Ctrl-C does, so that a killed run keeps and says what it has.

    A signal that is ignored, such as SIGHUP under nohup, stays ignored. After the first one all are: what is kept is written.
    """

    def interrupt(number: int, frame: object) -> None:
        for each in (signal.SIGINT, *ENDING_SIGNALS):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_app(app: typer.Typer, program: str) -> NoReturn:
    """Run a command. A wrong command line is one line on standard error and exit status 2."""
    global _program
    before, _program = _program, program
    try:
        status = typer.main.get_command(app).main(prog_name=program, standalone_mode=False, max_content_width=HELP_WIDTH)
    except typer.Abort:
        status = EXIT_INTERRUPTED
    except Exception as error:
        if not hasattr(error, "format_message"):  # what Click's usage errors have, whichever package they come from
            raise
        if type(error).__name__ == "NoArgsIsHelpError":  # a command that needs another word: its help is the message
            typer.echo(error.format_message(), err=True)
        else:
            print_error(f"{error.format_message()} (see --help)")
        status = EXIT_BAD_INPUT
    finally:
        _program = before  # a process that runs several commands, as the tests do, keeps them apart
    sys.exit(status)
