"""What the subcommands of `curvestop` that are clients share: mistakes told on one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer


def fail(problem: str) -> NoReturn:
    """One line on standard error, and exit status 2."""
    typer.echo(f"curvestop: {' '.join(problem.split())}", err=True)
    raise typer.Exit(2)


@contextmanager
def problems_in_one_line() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except ValueError as error:
        fail(str(error))
