"""`curvestop backup`, `restore`, `export` and `import`: what is stored, in other files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from curvestop.command_line import fail
from curvestop.proto.endpoint import UnknownStudy, home_folder
from curvestop.server.data_options import Data, Store, problems_in_one_line
from curvestop.server.storage.backup import back_up
from curvestop.server.storage.backup import restore as restore_backup
from curvestop.server.storage.data_folder import DATABASE_FILE, DataFolder
from curvestop.server.storage.export_import import export as export_study
from curvestop.server.storage.export_import import import_
from curvestop.server.storage.store import DEFAULT_TENANT, CurveStore, StoreUnavailable

app = typer.Typer(add_completion=False, rich_markup_mode=None)

Tenant = Annotated[str, typer.Option(help="Whose study.")]


@app.command(epilog="Example: curvestop backup curves-2026-01-31.db")
def backup(
    file: Annotated[Path, typer.Argument(help="Must not be there.")],
    data: Data = None,
    store: Store = None,
) -> None:
    """Copy the database as it is now into one file, also while a server works on it."""
    if store is not None:
        fail("PostgreSQL has a tool of its own: pg_dump --format=custom --file=FILE URL, and pg_restore")
    with problems_in_one_line(data):
        size = back_up(data or home_folder(), file)
    typer.echo(f"{file}: {size:,} bytes, checked; `curvestop restore` puts it into an empty data folder")


@app.command(epilog="Example: curvestop restore curves-2026-01-31.db --data ./curvestop-data")
def restore(file: Annotated[Path, typer.Argument(help="What `curvestop backup` made.")], data: Data = None) -> None:
    """Put a backup into a data folder without a database. Its tokens stay as they are."""
    with problems_in_one_line(data):
        restore_backup(file, data or home_folder())
    typer.echo(f"{data or home_folder()}: restored; `curvestop serve` goes on from there")


@app.command(epilog="Example: curvestop export my-search --to my-search.parquet")
def export(
    study: Annotated[str, typer.Argument(help="Its name.")],
    to: Annotated[Path, typer.Option(metavar="FILE", help=".csv or .parquet; must not be there.")],
    data: Data = None,
    store: Store = None,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Write all that is known of a study into a table, a row for each value, decision and end. A server may be at work."""
    with problems_in_one_line(data, store), _mistakes_too(), closing(_to_read(data, store)) as opened:
        n_entries = export_study(opened, study, to, tenant=tenant)
    typer.echo(f"{to}: {n_entries:,} rows and the study's settings")


@app.command("import", epilog="Example: curvestop import my-search.parquet --study my-search-again")
def import_file(
    file: Annotated[Path, typer.Argument(help="What `curvestop export` made.")],
    study: Annotated[str, typer.Option(metavar="NAME", help="The name of the new study.")],
    data: Data = None,
    store: Store = None,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Make a study of an export: all of it, or nothing. On SQLite no server may be at work."""
    with problems_in_one_line(data, store), _mistakes_too(), _to_write(data, store) as opened:
        n_entries = import_(opened, file, study, tenant=tenant)
    typer.echo(f"{study}: {n_entries:,} entries")


def _to_read(data: Path | None, store: str | None) -> CurveStore:
    database = (data or home_folder()) / DATABASE_FILE
    if store is None and not database.is_file():
        raise FileNotFoundError(2, "no database of curvestop is there", str(database))
    return CurveStore(store or f"sqlite:///{database}", read_only=True)


@contextmanager
def _to_write(data: Path | None, store: str | None) -> Iterator[CurveStore]:
    with ExitStack() as stack:
        url = store or stack.enter_context(closing(DataFolder(data or home_folder()))).database_url
        yield stack.enter_context(closing(CurveStore(url, on_failure=lambda _: None)))


@contextmanager
def _mistakes_too() -> Iterator[None]:
    try:
        yield
    except (UnknownStudy, StoreUnavailable) as error:
        fail(str(error))
