"""Options of the commands that work on a server's data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy.exc import SQLAlchemyError

from curvestop.command_line import errors_in_one_line, fail
from curvestop.proto.endpoint import home_folder
from curvestop.server.storage.data_folder import FolderInUse

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
    """Tell problems with the data folder or the database on one line and exit with status 2."""
    try:
        with errors_in_one_line(FolderInUse):
            yield
    except SQLAlchemyError as error:
        fail(f"the database {'in PostgreSQL' if store else f'in {folder or home_folder()}'} cannot be opened: {error}")
