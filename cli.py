"""The `curvestop` command: start a server, manage its tokens and certificates, show its status, and work on its data."""

from __future__ import annotations

import logging
import os
import signal
import threading
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from curvestop.clients import ask_commands
from curvestop.clients.backtest.backtest_command import command as backtest
from curvestop.clients.remote.channels import ClientTls
from curvestop.clients.remote.connection import Connection, Refused, ServerTrouble
from curvestop.clients.remote.token import find_token
from curvestop.clients.reports import commands
from curvestop.clients.watch.watch_command import command as watch
from curvestop.command_line import common_options, fail, print_error, run_app
from curvestop.proto.endpoint import DEFAULT_HOST, DEFAULT_PORT, TOKEN_FILE, home_folder
from curvestop.server import data_commands, delete_commands, logging_config, status_text
from curvestop.server.data_options import DataOption, StoreOption, data_errors_in_one_line
from curvestop.server.rpc.quotas import Limits
from curvestop.server.rpc.server import Server, prepare_process
from curvestop.server.rpc.tls import Tls
from curvestop.server.rpc.tokens import add_token, list_tokens, revoke_token
from curvestop.server.storage.store import DEFAULT_TENANT

# Health checks are answered for at least this long while draining, so that load balancers notice.
LINGER_S = 1.0
# The process exits this long after a signal, even if a call hangs.
EXIT_TIMEOUT_S = 5.5
STATUS_DEADLINE_S = 5.0

_log = logging.getLogger(__name__)

app = typer.Typer(
    name="curvestop",
    help="Learning-curve prediction and early stopping: tells a training job whether it is worth continuing.",
    epilog="Example: curvestop serve",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
token_app = typer.Typer(add_completion=False, rich_markup_mode=None)
app.add_typer(token_app, name="token")
app.add_typer(data_commands.app)
app.add_typer(delete_commands.app, name="delete")
app.add_typer(commands.app)
app.add_typer(ask_commands.app)
app.command(
    "watch", epilog="Example: curvestop watch 'logs/*.out' --study my-search --max-epochs 50 --pattern 'val_acc=([0-9.]+)'"
)(watch)
app.command("backtest", epilog="Example: curvestop backtest runs.csv --metric val_acc --html report.html")(backtest)


app.callback()(common_options)


@app.command(epilog="Example: curvestop demo")
def demo(seed: Annotated[int, typer.Option(min=0, help="Seed of the configurations.")] = 0) -> None:
    """Train small networks for half a minute, stop the hopeless ones, and compare the forecasts with what came of them.

    Needs nothing but the installed package, and leaves nothing behind.
    """
    from curvestop.clients.demo import demo  # imported here, as no other command trains

    demo(seed)


@app.command(epilog="Example: curvestop serve --port 7070 --data ./curvestop-data")
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; other machines can connect only with TLS.")] = DEFAULT_HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = DEFAULT_PORT,
    data: DataOption = None,
    store: StoreOption = None,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The server's certificate (PEM); `curvestop certs` makes one.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="The certificate's private key (PEM).")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Require client certificates signed by this authority (PEM).")
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve Prometheus metrics on this port (loopback only).")
    ] = None,
    max_calls: Annotated[
        int, typer.Option(min=1, help="Maximum concurrent calls per tenant; further calls are rejected with a retry delay.")
    ] = Limits.max_calls,
    max_studies: Annotated[int, typer.Option(min=1, help="Maximum number of studies per tenant.")] = Limits.max_studies,
    max_entries: Annotated[
        int, typer.Option(min=1, help="Maximum number of values, decisions and trials per tenant, all studies together.")
    ] = Limits.max_entries,
    log_format: Annotated[Literal["text", "json"], typer.Option(help="Log format.")] = "text",
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], typer.Option(help="Minimum level; debug logs every call.")
    ] = "info",
) -> None:
    """Start the server. SIGTERM or Ctrl-C drains running calls, then exits."""
    logging_config.set_up(log_format, log_level)
    prepare_process()
    # Before the server starts, so that a signal during the start is not lost.
    stop_requested = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop_requested.set())
    # Whatever fails until the server answers is one line and exit status 2.
    limits = Limits(max_calls=max_calls, max_studies=max_studies, max_entries=max_entries)
    with data_errors_in_one_line(data, store):
        tls = _tls(tls_cert, tls_key, tls_client_ca)
        server = Server(
            data or home_folder(), host=host, port=port, store=store, tls=tls, metrics_port=metrics_port, limits=limits
        )
    with server:
        typer.echo(f"listening on  {server.address}")
        typer.echo(f"data folder   {server.folder}")
        if server.metrics_port is not None:
            typer.echo(f"metrics       http://127.0.0.1:{server.metrics_port}/metrics")
        look = "" if server.address == f"{DEFAULT_HOST}:{DEFAULT_PORT}" else f" --server {server.address}"
        typer.echo(f"to look at    curvestop dashboard{look}")
        typer.echo(f"token file    {server.token_path}")
        # "token file" comes last: whoever started the server reads up to it and knows that it answers.
        stop_requested.wait()
        # Begun with the signal, so that it bounds draining and closing together.
        _exit_within(EXIT_TIMEOUT_S)
        typer.echo("draining")
        server.drain(linger_s=LINGER_S)
    typer.echo("stopped; everything acknowledged is on disk")


@token_app.callback(invoke_without_command=True, epilog="Example: export CURVESTOP_TOKEN_FILE=$(curvestop token --data ./data)")
def token(
    context: typer.Context,
    data: DataOption = None,
    show: Annotated[bool, typer.Option("--show", help="Print the token itself instead of its file.")] = False,
) -> None:
    """Print the path of the owner's token file; add, list and revoke the tokens of others."""
    if context.invoked_subcommand is not None:  # `token add` and the like
        return
    # Absolute, so that it may be put into an environment variable and read from another folder.
    path = (data or home_folder()).absolute() / TOKEN_FILE
    try:
        secret = path.read_text().strip()
    except OSError as error:
        fail(f"cannot read the token file {path} ({error.strerror}): `curvestop serve` makes it at its first start")
    typer.echo(secret if show else path)


@token_app.command("add", epilog="Example: curvestop token add alice --tenant vision > alice.token")
def token_add(
    name: Annotated[str, typer.Argument(help="Token name, used to revoke it.")],
    tenant: Annotated[str, typer.Option(help="Tenant whose studies the token gives access to.")] = DEFAULT_TENANT,
    role: Annotated[Literal["viewer", "trainer"], typer.Option(help="viewer: read-only; trainer: may also write.")] = "trainer",
    data: DataOption = None,
) -> None:
    """Create a token and print it; it cannot be printed again. A running server accepts it within a second."""
    with data_errors_in_one_line(data):
        typer.echo(add_token(data or home_folder(), name, tenant=tenant, role=role))


@token_app.command("list", epilog="Example: curvestop token list")
def token_list(data: DataOption = None) -> None:
    """List the name, tenant, role and creation date of every token except the owner's."""
    with data_errors_in_one_line(data):
        for caller in list_tokens(data or home_folder()):
            typer.echo(f"{caller.name:<20} {caller.tenant:<20} {caller.role:<8} {caller.created}")


@token_app.command("revoke", epilog="Example: curvestop token revoke alice")
def token_revoke(name: Annotated[str, typer.Argument(help="Token name.")], data: DataOption = None) -> None:
    """Revoke a token. A running server refuses it within a second."""
    with data_errors_in_one_line(data):
        revoke_token(data or home_folder(), name)


@app.command(epilog="Example: curvestop status --server localhost:7070")
def status(
    server: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT", envvar="CURVESTOP_TARGET", help="Server address; the token is looked up as for clients."
        ),
    ] = f"{DEFAULT_HOST}:{DEFAULT_PORT}",
    data: DataOption = None,
) -> None:
    """Check that a server is reachable and list its studies (exit status 1 if not)."""
    with data_errors_in_one_line(data):
        # With --data the owner's token, which whoever can read the folder may use.
        token = find_token() if data is None else (data / TOKEN_FILE).read_text().strip()
        # Said here: the connection would raise it as if the server had not answered.
        if not token:
            fail("no token found: set CURVESTOP_TOKEN or CURVESTOP_TOKEN_FILE, or pass --data FOLDER")
        connection = Connection(server, token=token, tls=ClientTls.from_environment())
    with closing(connection):
        try:
            # A deadline for each call, not for all: a server may have many studies.
            call = partial(connection.call, deadline_s=STATUS_DEADLINE_S)
            for line in status_text.lines(call, unavailable=Refused):
                typer.echo(line)
        # Refused and unreachable need different remedies, so they are told apart.
        except ServerTrouble as trouble:
            print_error(trouble.at(server))
            raise typer.Exit(1) from None


@app.command(epilog="Example: curvestop certs --host gpu1.example.com --out certs")
def certs(
    host: Annotated[
        list[str], typer.Option(help="Name or address by which clients know the server; may be given several times.")
    ],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder to write to.")] = Path("certs"),
    days: Annotated[int, typer.Option(min=1, help="Days until the certificates expire; the same command renews them.")] = 397,
) -> None:
    """Make a private certificate authority, and certificates for a server and its clients."""
    try:
        from curvestop.server.rpc.certs import make_certificates  # needs an extra
    except ImportError:
        fail("certificates need the package cryptography: pip install 'curvestop[certs]'")
    with data_errors_in_one_line(out):
        for path in make_certificates(out, host, days=days):
            typer.echo(path)


def _exit_within(seconds: float) -> None:
    """Exit soon even if a call hangs; like after a kill, everything acknowledged is on disk."""

    def leave() -> None:
        _log.warning("calls still run %s s after the signal, so the server exits without their answers", seconds)
        os._exit(0)  # sys.exit would end this thread only

    timer = threading.Timer(seconds, leave)
    timer.daemon = True  # does not keep a process alive that has drained in time
    timer.start()


def _tls(certificate: Path | None, key: Path | None, client_ca: Path | None) -> Tls | None:
    if certificate is None and key is None and client_ca is None:
        return None
    # Not without TLS: whoever gave one of the files expects it.
    if certificate is None or key is None:
        raise ValueError("TLS needs both --tls-cert and --tls-key: `curvestop certs` makes the two files")
    return Tls(certificate, key, client_ca)


def main() -> None:
    """Run the `curvestop` command."""
    run_app(app, "curvestop")


if __name__ == "__main__":
    main()
