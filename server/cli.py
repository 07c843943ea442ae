"""`curvestop`: starts a server, and says where its token is."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from sqlalchemy.exc import SQLAlchemyError

from curvestop.proto.endpoint import DEFAULT_HOST, DEFAULT_PORT, TOKEN_FILE, home_folder
from curvestop.server.folder import FolderInUse
from curvestop.server.serving import Serving, prepare_process

app = typer.Typer(
    name="curvestop",
    help="Tells training jobs whether they are worth going on.",
    epilog="Example: curvestop serve",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

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


@app.command(short_help="Serve studies.", epilog="Example: curvestop serve --port 7070 --data ./curvestop-data")
def serve(
    host: Annotated[str, typer.Option(help="Where to listen; only this machine for now.")] = DEFAULT_HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = DEFAULT_PORT,
    data: Data = None,
    store: Store = None,
) -> None:
    """Serve studies until SIGTERM or Ctrl-C, which finish the running calls first."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    prepare_process()
    asked_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked_to_stop.set())
    with _serving(data or home_folder(), host, port, store) as serving:
        typer.echo(f"listening on  {serving.address}")
        typer.echo(f"data folder   {serving.folder}")
        typer.echo(f"token file    {serving.token_path}")
        asked_to_stop.wait()
        typer.echo("draining")
    typer.echo("stopped; all that was acknowledged is on disk")


@app.command(epilog="Example: export CURVESTOP_TOKEN_FILE=$(curvestop token --data ./curvestop-data)")
def token(
    data: Data = None,
    show: Annotated[bool, typer.Option("--show", help="Print the token itself.")] = False,
) -> None:
    """Print the path of the token's file."""
    path = (data or home_folder()).absolute() / TOKEN_FILE
    try:
        secret = path.read_text().strip()
    except OSError as error:
        _fail(f"there is no token at {path} ({error.strerror}): `curvestop serve` makes it when it first starts")
    typer.echo(secret if show else path)


def _serving(folder: Path, host: str, port: int, store: str | None) -> Serving:
    try:
        return Serving(folder, host=host, port=port, store=store)
    except SQLAlchemyError as error:
        _fail(f"the database {'in PostgreSQL' if store else f'in {folder}'} cannot be opened: {error}")
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else (error.strerror or str(error)))
    except (ValueError, FolderInUse) as error:
        _fail(str(error))


def _fail(problem: str) -> NoReturn:
    typer.echo(f"curvestop: {' '.join(problem.split())}", err=True)
    raise typer.Exit(2)


def main() -> None:
    """The `curvestop` command."""
    app()


if __name__ == "__main__":
    main()
