"""`curvestop delete`: take a trial, a study or a tenant out of the store for good, and list what was taken out."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from curvestop.command_line import fail
from curvestop.proto.endpoint import home_folder
from curvestop.server.data_commands import (
    TenantOption,
    check_database_exists,
    open_to_read,
    open_to_write,
    store_errors_in_one_line,
)
from curvestop.server.data_options import DataOption, StoreOption, data_errors_in_one_line
from curvestop.server.rpc.tokens import list_tokens, revoke_token
from curvestop.server.storage.deletion import Content, Target, content_of, deletions_of
from curvestop.server.storage.deletion import delete as delete_target
from curvestop.server.storage.store import DEFAULT_TENANT, CurveStore
from curvestop.srm.plural import plural

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Delete a trial, a study or a tenant for good. With SQLite, stop the server first.",
)

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


@app.command(epilog="Example: curvestop delete study my-search")
def study(
    name: Annotated[str, typer.Argument(metavar="STUDY", help="Study name.")],
    yes: YesOption = False,
    data: DataOption = None,
    store: StoreOption = None,
    tenant: TenantOption = DEFAULT_TENANT,
) -> None:
    """Delete a study with all its trials."""
    _delete(Target(tenant, name), yes=yes, data=data, store=store)


@app.command(epilog="Example: curvestop delete trial my-search trial-17")
def trial(
    study: Annotated[str, typer.Argument(help="Study name.")],
    name: Annotated[str, typer.Argument(metavar="TRIAL", help="Trial name.")],
    yes: YesOption = False,
    data: DataOption = None,
    store: StoreOption = None,
    tenant: TenantOption = DEFAULT_TENANT,
) -> None:
    """Delete a trial: its configuration, values, decisions and end. Models learn from the others only."""
    _delete(Target(tenant, study, name), yes=yes, data=data, store=store)


@app.command(epilog="Example: curvestop delete tenant vision")
def tenant(
    name: Annotated[str, typer.Argument(metavar="TENANT", help="Tenant name.")],
    yes: YesOption = False,
    data: DataOption = None,
    store: StoreOption = None,
) -> None:
    """Delete all studies of a tenant, and revoke its tokens in the data folder."""
    # Before its studies go: a training that has a token would make them again.
    _delete(Target(name), yes=yes, data=data, store=store, first=lambda: _revoke_tokens(data or home_folder(), name))


@app.command("list", epilog="Example: curvestop delete list")
def list_deletions(data: DataOption = None, store: StoreOption = None) -> None:
    """List what was deleted, when and by whom."""
    with data_errors_in_one_line(data, store), store_errors_in_one_line(), closing(open_to_read(data, store)) as opened:
        for done in deletions_of(opened):
            typer.echo(f"{done.at}  {done.deleted_by:<16}  {done.target}: {_words(done.content)}")


def _delete(target: Target, *, yes: bool, data: Path | None, store: str | None, first: Callable[[], None] = lambda: None) -> None:
    """first: called when the target was found and the user agreed."""
    with data_errors_in_one_line(data, store), store_errors_in_one_line():
        check_database_exists(data, store)  # a mistyped folder is not made
        with open_to_write(data, store) as opened:
            _delete_from(opened, target, yes=yes, first=first)


def _delete_from(opened: CurveStore, target: Target, *, yes: bool, first: Callable[[], None]) -> None:
    content = content_of(opened, target)
    if not yes:
        _ask(target, content)
    first()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    done = delete_target(opened, target, deleted_by=_user(), at=now)
    typer.echo(f"{target} deleted: {_words(done.content)}; backups and exports made before still have it")


def _revoke_tokens(folder: Path, tenant: str) -> None:
    names = [caller.name for caller in list_tokens(folder) if caller.tenant == tenant]
    for name in names:
        revoke_token(folder, name)
        typer.echo(f"token {name} revoked")


def _ask(target: Target, content: Content) -> None:
    try:
        agreed = typer.confirm(f"delete {target} for good ({_words(content)})?")
    except typer.Abort:  # nobody is there to answer
        agreed = False
    if not agreed:
        fail("nothing was deleted: answer y, or add --yes")


def _words(content: Content) -> str:
    studies = [f"{content.n_studies} studies"] if content.n_studies > 1 else []
    return ", ".join([*studies, plural(content.n_trials, "trial"), f"{content.n_entries:,} log entries"])


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "unknown"
