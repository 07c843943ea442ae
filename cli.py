"""`curvestop`: starts a server, says where its token is, makes tokens and certificates, and tells how a server is."""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import closing
from pathlib import Path
from typing import Annotated, Literal

import typer

from curvestop.clients.backtest.backtest_command import command as backtest
from curvestop.clients.remote.channels import ClientTls
from curvestop.clients.remote.connection import Connection, ServerTrouble
from curvestop.clients.reports import commands
from curvestop.command_line import fail, run_app
from curvestop.proto.endpoint import DEFAULT_HOST, DEFAULT_PORT, TOKEN_FILE, home_folder
from curvestop.server import data_commands, logging_config, status_text
from curvestop.server.data_options import Data, Store, problems_in_one_line
from curvestop.server.rpc.quotas import Limits
from curvestop.server.rpc.server import Server, prepare_process
from curvestop.server.rpc.tls import Tls
from curvestop.server.rpc.tokens import add_token, listed_tokens, revoke_token
from curvestop.server.storage.store import DEFAULT_TENANT

LINGER_S = 1.0
EXIT_S = 5.5
STATUS_S = 5.0

_log = logging.getLogger(__name__)

app = typer.Typer(
    name="curvestop",
    help="Tells training jobs whether they are worth going on.",
    epilog="Example: curvestop serve",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
token_app = typer.Typer(add_completion=False, rich_markup_mode=None)
app.add_typer(token_app, name="token")
app.add_typer(data_commands.app)
app.add_typer(commands.app)
app.command("backtest", epilog="Example: curvestop backtest runs.csv --metric val_acc --html report.html")(backtest)


@app.command(short_help="Serve studies.", epilog="Example: curvestop serve --port 7070 --data ./curvestop-data")
def serve(
    host: Annotated[str, typer.Option(help="Where to listen; beyond this machine only with TLS.")] = DEFAULT_HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = DEFAULT_PORT,
    data: Data = None,
    store: Store = None,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM; see `curvestop certs`.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="PEM.")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM: also ask clients for a certificate of this authority.")
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Answer Prometheus there, on this machine only.")
    ] = None,
    max_calls: Annotated[
        int, typer.Option(min=1, help="Calls of a tenant that run or wait; more are told to come again.")
    ] = Limits.max_calls,
    max_studies: Annotated[int, typer.Option(min=1, help="Studies of a tenant.")] = Limits.max_studies,
    max_entries: Annotated[
        int, typer.Option(min=1, help="Values, decisions and trials of a tenant, all studies together.")
    ] = Limits.max_entries,
    log_format: Annotated[Literal["text", "json"], typer.Option(help="Of the log on standard error.")] = "text",
    log_level: Annotated[Literal["debug", "info", "warning", "error"], typer.Option(help="debug: every call.")] = "info",
) -> None:
    """Serve studies until SIGTERM or Ctrl-C, which finish the running calls first."""
    logging_config.set_up(log_format, log_level)
    prepare_process()
    asked_to_stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked_to_stop.set())
    limits = Limits(max_calls=max_calls, max_studies=max_studies, max_entries=max_entries)
    with problems_in_one_line(data, store):
        tls = _tls(tls_cert, tls_key, tls_client_ca)
        serving = Server(
            data or home_folder(), host=host, port=port, store=store, tls=tls, metrics_port=metrics_port, limits=limits
        )
    with serving:
        typer.echo(f"listening on  {serving.address}")
        typer.echo(f"data folder   {serving.folder}")
        if serving.metrics_port is not None:
            typer.echo(f"metrics       http://127.0.0.1:{serving.metrics_port}/metrics")
        typer.echo(f"token file    {serving.token_path}")
        asked_to_stop.wait()
        _leave_within(EXIT_S)
        typer.echo("draining")
        serving.drain(linger_s=LINGER_S)
    typer.echo("stopped; all that was acknowledged is on disk")


@token_app.callback(invoke_without_command=True, epilog="Example: export CURVESTOP_TOKEN_FILE=$(curvestop token --data ./data)")
def token(
    context: typer.Context,
    data: Data = None,
    show: Annotated[bool, typer.Option("--show", help="Print the token itself.")] = False,
) -> None:
    """Print the path of the owner's token; add, list and revoke the tokens of others."""
    if context.invoked_subcommand is not None:
        return
    path = (data or home_folder()).absolute() / TOKEN_FILE
    try:
        secret = path.read_text().strip()
    except OSError as error:
        fail(f"there is no token at {path} ({error.strerror}): `curvestop serve` makes it when it first starts")
    typer.echo(secret if show else path)


@token_app.command("add", epilog="Example: curvestop token add alice --tenant vision > alice.token")
def token_add(
    name: Annotated[str, typer.Argument(help="Of the token, to revoke it by.")],
    tenant: Annotated[str, typer.Option(help="Whose studies it sees.")] = DEFAULT_TENANT,
    role: Annotated[Literal["viewer", "trainer"], typer.Option(help="A viewer only asks.")] = "trainer",
    data: Data = None,
) -> None:
    """Make a token and print it; it is printed nowhere else. A running server knows it within a second."""
    with problems_in_one_line(data):
        typer.echo(add_token(data or home_folder(), name, tenant=tenant, role=role))


@token_app.command("list", epilog="Example: curvestop token list")
def token_list(data: Data = None) -> None:
    """Name, tenant, role and date of every token but the owner's."""
    with problems_in_one_line(data):
        for caller in listed_tokens(data or home_folder()):
            typer.echo(f"{caller.name:<20} {caller.tenant:<20} {caller.role:<8} {caller.created}")


@token_app.command("revoke", epilog="Example: curvestop token revoke alice")
def token_revoke(name: Annotated[str, typer.Argument(help="Of the token.")], data: Data = None) -> None:
    """Make a token worthless. A running server knows it within a second."""
    with problems_in_one_line(data):
        revoke_token(data or home_folder(), name)


@app.command(epilog="Example: curvestop status --server localhost:7070")
def status(
    server: Annotated[
        str, typer.Option(metavar="HOST:PORT", envvar="CURVESTOP_TARGET", help="Its token is found as a client's.")
    ] = f"{DEFAULT_HOST}:{DEFAULT_PORT}",
    data: Data = None,
) -> None:
    """Say whether a server answers, and what its studies do; exits with 1 when it does not answer."""
    with problems_in_one_line(data):
        token = None if data is None else (data / TOKEN_FILE).read_text().strip()
        connection = Connection(server, token=token, tls=ClientTls.from_environment())
    with closing(connection):
        try:
            for line in status_text.lines(lambda method, request: connection.call(method, request, deadline_s=STATUS_S)):
                typer.echo(line)
        except ServerTrouble as trouble:
            typer.echo(f"curvestop: server {server} does not answer: {trouble}", err=True)
            raise typer.Exit(1) from None


@app.command(epilog="Example: curvestop certs --host gpu1.example.com --out certs")
def certs(
    host: Annotated[list[str], typer.Option(help="A name or address by which clients know the server; may be repeated.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Where to write them.")] = Path("certs"),
    days: Annotated[int, typer.Option(min=1, help="Until they must be renewed, by the same command.")] = 397,
) -> None:
    """Make an authority of your own and certificates for a server and its clients."""
    try:
        from curvestop.server.rpc.certs import make_certificates  # needs an extra
    except ImportError:
        fail("certificates need the package cryptography: pip install 'curvestop[certs]'")
    with problems_in_one_line(out):
        for path in make_certificates(out, host, days=days):
            typer.echo(path)


def _leave_within(seconds: float) -> None:
    """End the process though a call hangs: what was acknowledged is on disk, as after a kill."""

    def leave() -> None:
        _log.warning("calls still run %s s after the signal: they are given up", seconds)
        os._exit(0)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()


def _tls(certificate: Path | None, key: Path | None, client_ca: Path | None) -> Tls | None:
    if certificate is None and key is None and client_ca is None:
        return None
    if certificate is None or key is None:
        raise ValueError("--tls-cert and --tls-key go together: a server needs both for TLS")
    return Tls(certificate, key, client_ca)


def main() -> None:
    """The `curvestop` command."""
    run_app(app, "curvestop")


if __name__ == "__main__":
    main()
