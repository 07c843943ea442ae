"""Command line options of all commands that work on a server's data, and their errors."""

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

# None until it is used, so that the help shows the rule and not the path of whoever ran it.
DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="FOLDER", help="The server's data folder.  [default: $CURVESTOP_HOME or ~/.local/share/curvestop]"
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        # A variable, because the URL may hold a password, which a command line shows to every user of the machine.
        metavar="URL",
        envvar="CURVESTOP_STORE",
        help="postgresql://USER@HOST/DATABASE: keep studies in PostgreSQL, which several servers may share.  "
        "[default: a SQLite file in the data folder]",
    ),
]


@contextmanager
def data_errors_in_one_line(folder: Path | None, store: str | None = None) -> Iterator[None]:
    """Print an error with the data folder or the database on one line and exit with status 2.

    Args:
        folder: The data folder, if one was given.
        store: The URL of a database, if one was given. It is not printed: it may hold a password.
    """
    try:
        # Within: a SQLAlchemyError is none of the kinds that it takes, and reaches the clause below.
        with errors_in_one_line(FolderInUse):
            yield
    except SQLAlchemyError as error:
        fail(f"cannot open the database {'in PostgreSQL' if store else f'in {folder or home_folder()}'}: {error}")
