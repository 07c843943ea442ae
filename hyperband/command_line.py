"""What `hyperband` and the commands built on it share: mistakes told on one line, exit statuses, the way in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

EXIT_NOTHING_SUCCEEDED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130


class BadInput(Exception):
    """Something the person who typed the command has to put right; told on one line."""


@contextmanager
def input_errors(kinds: tuple[type[Exception], ...] = (ValueError, OSError)) -> Iterator[None]:
    """Turn errors that name a value and a rule into `BadInput`."""
    try:
        yield
    except kinds as error:
        raise BadInput(" ".join(str(error).split())) from None


def complain(line: str, *, command: str = "hyperband") -> None:
    typer.echo(f"{command}: {line}", err=True)


def run_app(app: typer.Typer, command: str) -> NoReturn:
    """Entry point; mistakes of the command line are one line on stderr and exit status 2."""
    try:
        status = typer.main.get_command(app).main(prog_name=command, standalone_mode=False)
    except BadInput as error:
        complain(str(error), command=command)
        status = EXIT_BAD_INPUT
    except typer.Abort:
        status = EXIT_INTERRUPTED
    except Exception as error:
        if not hasattr(error, "format_message"):  # what all of Click's usage errors have, from whichever package they come
            raise
        complain(f"{error.format_message()} (see --help)", command=command)
        status = EXIT_BAD_INPUT
    sys.exit(status)
