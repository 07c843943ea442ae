"""Options and errors of the commands that ask a server: `curvestop report`, `dashboard`, `ask` and the like."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from curvestop.clients.remote.channels import ClientTls
from curvestop.clients.remote.connection import Connection, NoToken, ServerTrouble
from curvestop.command_line import errors_in_one_line, fail, print_error
from curvestop.proto.endpoint import DEFAULT_HOST, DEFAULT_PORT, TOKEN_FILE, UnknownStudy
from curvestop.srm.trial import UnknownTrial

Server = Annotated[
    str,
    typer.Option(metavar="HOST:PORT", envvar="CURVESTOP_TARGET", help="Server address; the token is looked up as for clients."),
]
Token = Annotated[
    str | None,
    typer.Option(
        help="Token of the server; CURVESTOP_TOKEN is safer, as other users of the machine can see command lines.",
        show_default=False,
    ),
]
Data = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Data folder of a server on this machine; the token is read there.")
]
DEFAULT_SERVER = f"{DEFAULT_HOST}:{DEFAULT_PORT}"


def connection_to(server: str, token: str | None, data: Path | None) -> Connection:
    """Return a connection as the options ask for.

    Args:
        server: `HOST:PORT`.
        token: The token. Default: the one that a client finds.
        data: Data folder of the server, whose token then counts.

    Raises:
        ValueError: If the address is none.
        OSError: If the token or a certificate cannot be read.
    """
    if data is not None:
        token = (data / TOKEN_FILE).read_text().strip()
    return Connection(server, token=token, tls=ClientTls.from_environment())


@contextmanager
def server_errors_in_one_line(server: str) -> Iterator[None]:
    """Print an error on one line and exit: status 2 for a mistake in the command line, 1 for a server that gives no answer.

    Args:
        server: `HOST:PORT`.
    """
    with errors_in_one_line():
        try:
            yield
        except UnknownStudy as error:
            fail(f"server {server}: {error} (`curvestop status` lists its studies, `curvestop create` makes one)")
        except UnknownTrial as error:
            fail(f"server {server}: {error}")
        except NoToken as problem:
            # No server was called, so none is named.
            _fail_at_server(f"{problem}, or pass --data FOLDER")
        except ServerTrouble as trouble:
            _fail_at_server(trouble.at(server))


def _fail_at_server(problem: str) -> NoReturn:
    """Print the problem and exit with status 1: unlike a wrong command line (2), it may be gone at the next try."""
    print_error(problem)
    raise typer.Exit(1)
