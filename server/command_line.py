"""What the commands share: options, and problems told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from sqlalchemy.exc import SQLAlchemyError

from curvestop.proto.endpoint import home_folder
from curvestop.server.folder import FolderInUse

Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="FOLDER", help="The server's data.  [default: $CURVESTOP_HOME or ~/.local/share/curvestop]"),
]
Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        envvar="CURVESTOP_STORE",
        help="postgresql://USER@HOST/DATABASE: keep studies there, with other servers, not in a file of the data folder.",
    ),
]


@contextmanager
def problems_in_one_line(folder: Path | None, store: str | None = None) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        fail(f"the database {'in PostgreSQL' if store else f'in {folder or home_folder()}'} cannot be opened: {error}")
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else (error.strerror or str(error)))
    except (ValueError, FolderInUse) as error:
        fail(str(error))


def fail(problem: str) -> NoReturn:
    typer.echo(f"curvestop: {' '.join(problem.split())}", err=True)
    raise typer.Exit(2)
