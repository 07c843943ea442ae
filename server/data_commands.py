"""`curvestop backup`, `restore`, `export` and `import`: stored studies into other files and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from curvestop.command_line import fail
from curvestop.proto.endpoint import UnknownStudy, home_folder
from curvestop.server.data_options import DataOption, StoreOption, data_errors_in_one_line
from curvestop.server.storage.backup import back_up
from curvestop.server.storage.backup import restore as restore_backup
from curvestop.server.storage.data_folder import DATABASE_FILE, DataFolder
from curvestop.server.storage.export_import import export_study, import_study
from curvestop.server.storage.store import DEFAULT_TENANT, CurveStore, StoreUnavailable
from curvestop.srm.trial import UnknownTrial

# cli.py adds it without a name, so its commands stand beside `serve`.
app = typer.Typer(add_completion=False, rich_markup_mode=None)

TenantOption = Annotated[str, typer.Option(help="Tenant whose study it is.")]


@app.command(epilog="Example: curvestop backup curves-2026-01-31.db")
def backup(
    file: Annotated[Path, typer.Argument(help="Destination; must not exist.")],
    data: DataOption = None,
    store: StoreOption = None,
) -> None:
    """Copy the database into one file, also while a server uses it."""
    if store is not None:  # the option exists to say this, instead of backing up another database than meant
        fail("backup copies a SQLite database; for PostgreSQL use pg_dump --format=custom --file=FILE URL, and pg_restore")
    with data_errors_in_one_line(data):
        size = back_up(data or home_folder(), file)
    typer.echo(f"{file}: {size:,} bytes, checked; `curvestop restore` copies it into a data folder without a database")


@app.command(epilog="Example: curvestop restore curves-2026-01-31.db --data ./curvestop-data")
def restore(file: Annotated[Path, typer.Argument(help="A file that `curvestop backup` wrote.")], data: DataOption = None) -> None:
    """Copy a backup into a data folder that has no database. Tokens are not part of a backup."""
    with data_errors_in_one_line(data):
        restore_backup(file, data or home_folder())
    typer.echo(f"{data or home_folder()}: restored; start the server with `curvestop serve`")


@app.command(epilog="Example: curvestop export my-search --to my-search.parquet")
def export(
    study: Annotated[str, typer.Argument(help="Study name.")],
    to: Annotated[Path, typer.Option(metavar="FILE", help="Destination, .csv or .parquet; must not exist.")],
    data: DataOption = None,
    store: StoreOption = None,
    tenant: TenantOption = DEFAULT_TENANT,
) -> None:
    """Write a study as a table, one row per trial, value, decision and end of a trial, also while a server uses it."""
    with data_errors_in_one_line(data, store), store_errors_in_one_line(), closing(open_to_read(data, store)) as opened:
        n_entries = export_study(opened, study, to, tenant=tenant)
    typer.echo(f"{to}: {n_entries:,} rows and the study's settings")


@app.command("import", epilog="Example: curvestop import my-search.parquet --study my-search-again")
def import_file(
    file: Annotated[Path, typer.Argument(help="A file that `curvestop export` wrote.")],
    study: Annotated[str, typer.Option(metavar="NAME", help="Name of the new study.")],
    data: DataOption = None,
    store: StoreOption = None,
    tenant: TenantOption = DEFAULT_TENANT,
) -> None:
    """Create a study from an exported table, completely or not at all. With SQLite, stop the server first."""
    with data_errors_in_one_line(data, store), store_errors_in_one_line(), open_to_write(data, store) as opened:
        n_entries = import_study(opened, file, study, tenant=tenant)
    typer.echo(f"{study}: {n_entries:,} entries")


def open_to_read(data: Path | None, store: str | None) -> CurveStore:
    """Open a database that a server may be using.

    Args:
        data: The data folder; None for the default one.
        store: URL of a database; None for the one in the data folder.

    Raises:
        FileNotFoundError: If the folder has no database.
    """
    check_database_exists(data, store)  # SQLite would make an empty one
    # Read-only: a server may be writing, and tables of an earlier version are not migrated under it.
    return CurveStore(store or f"sqlite:///{(data or home_folder()) / DATABASE_FILE}", read_only=True)


def check_database_exists(data: Path | None, store: str | None) -> None:
    """Check that a data folder has a database.

    Args:
        data: The data folder; None for the default one.
        store: URL of a database that is used instead of the folder's.

    Raises:
        FileNotFoundError: If it has none.
    """
    database = (data or home_folder()) / DATABASE_FILE
    if store is None and not database.is_file():
        raise FileNotFoundError(2, "the data folder has no database of curvestop", str(database))


@contextmanager
def open_to_write(data: Path | None, store: str | None) -> Iterator[CurveStore]:
    """Open a database to write; a data folder is locked until the block ends.

    Args:
        data: The data folder; None for the default one.
        store: URL of a database; None for the one in the data folder.

    Raises:
        FolderInUse: If a server uses the folder.
    """
    with ExitStack() as stack:
        # Locking the folder refuses to write beside a server, whose memory would fall behind.
        url = store or stack.enter_context(closing(DataFolder(data or home_folder()))).database_url
        # A failed write must not end this process: its error is printed.
        yield stack.enter_context(closing(CurveStore(url, on_failure=lambda _: None)))


@contextmanager
def store_errors_in_one_line() -> Iterator[None]:
    """Print what the store does not have, or cannot do, on one line and exit with status 2."""
    try:
        yield
    except (UnknownStudy, UnknownTrial, StoreUnavailable) as error:
        fail(str(error))
