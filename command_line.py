"""What the commands `curvestop`, `hyperband` and `metaqnn` share: console, errors in one line, exit statuses, entry point."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from curvestop import __version__

if TYPE_CHECKING:
    from rich.console import Console

HELP_WIDTH = 120
"""Help takes so many columns, on a terminal that has them."""

EXTRAS = {"torch": "torch", "plotly": "plots", "ray": "ray"}
"""Packages that commands import when they need them, and the extra that installs each."""

EXIT_NOTHING_SUCCEEDED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130

_program = "curvestop"  # the name in error lines and in the version; `run_app` sets it


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

    # Without markup and emoji, a configuration's `cell[identity(0)]`, `[sgd]` or `:smile:` stays what it is.
    return Console(width=width, stderr=stderr, markup=False, emoji=False, highlight=False)


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
    typer.echo(f"{_program}: {hide_passwords(' '.join(line.split()))}", err=True)


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
        print_error(f"{error.format_message()} (see --help)")
        status = EXIT_BAD_INPUT
    finally:
        _program = before  # a process that runs several commands, as the tests do, keeps them apart
    sys.exit(status)
