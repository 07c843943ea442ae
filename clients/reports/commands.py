"""`curvestop report` and `curvestop dashboard`: what the service knows, as a file and as a page."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from curvestop.clients.remote.channels import ClientTls
from curvestop.clients.remote.connection import Connection, ServerTrouble
from curvestop.command_line import errors_in_one_line, fail
from curvestop.proto.endpoint import DEFAULT_HOST, DEFAULT_PORT, TOKEN_FILE, UnknownStudy

DASHBOARD_PORT = 7071

app = typer.Typer(add_completion=False, rich_markup_mode=None)

Server = Annotated[str, typer.Option(metavar="HOST:PORT", envvar="CURVESTOP_TARGET", help="Its token is found as a client's.")]
Token = Annotated[str | None, typer.Option(help="The server's; better in the variable CURVESTOP_TOKEN.", show_default=False)]
Data = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Of a server on this machine: its token is read there.")]
DEFAULT_SERVER = f"{DEFAULT_HOST}:{DEFAULT_PORT}"


@app.command(epilog="Example: curvestop report my-search --out my-search.html")
def report(
    study: Annotated[str, typer.Argument(help="Its name.", show_default=False)],
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="HTML.  [default: STUDY.html]", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of a file.")] = False,
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    data: Data = None,
) -> None:
    """What a study's stops saved, and whether its predictions were right; warns when calibration drifts.

    Writes one HTML file that needs nothing else: curves, predicted against final values, calibration by observed length, every
    stop with its reason.
    """
    from curvestop.clients.reports.report_page import html_of
    from curvestop.clients.reports.study_log import StudyFollower
    from curvestop.clients.reports.study_report import drift_sentences, report_of

    with _server_problems(server), closing(_connection(server, token, data)) as connection:
        so_far = StudyFollower(connection, study).read()
        found = report_of(so_far)
        if as_json:
            typer.echo(json.dumps(found))
            return
        path = out or Path(f"{''.join(c if c.isalnum() or c in '-_.' else '_' for c in study)}.html")
        path.write_text(html_of(found, so_far, written=datetime.now()), encoding="utf-8")
    summary = found["summary"]
    ends = ", ".join(f"{n} {state}" for state, n in sorted(summary["n_trials"].items()))
    typer.echo(f"{study}: {ends or 'no trials'}; {summary['epochs_saved']:,} epochs saved ({summary['saved_share']:.0%})")
    for sentence in drift_sentences(found):
        typer.echo(f"warning: calibration drifts. {sentence}")
    typer.echo(path)


@app.command(epilog="Example: curvestop dashboard --server localhost:7070")
def dashboard(
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    data: Data = None,
    host: Annotated[str, typer.Option(help="Where to listen; beyond this machine only with --allow-remote.")] = DEFAULT_HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = DASHBOARD_PORT,
    allow_remote: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Serve others, who know this machine by that name.", show_default=False),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Of `hyperband run`: show its brackets, too.", show_default=False)
    ] = None,
) -> None:
    """Show a server's studies in a browser, as they go on. It only shows; the link it prints opens it in one browser."""
    try:
        from curvestop.clients.dashboard.app import Dashboard
        from curvestop.clients.dashboard.serving import DashboardServer
    except ImportError:
        fail("the dashboard needs the packages starlette and uvicorn: pip install 'curvestop[dashboard]'")
    with _server_problems(server), closing(_connection(server, token, data)) as connection:
        shown = Dashboard(connection, address=connection.address, read_run=None if run is None else _run_reader(run))
        serving = DashboardServer(
            shown, host=host, port=port, public_name=allow_remote, on_link=lambda link: typer.echo(f"for another browser  {link}")
        )
        typer.echo(f"open in a browser  {serving.link}")
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with closing(serving), suppress(KeyboardInterrupt):
            serving.run()


def _run_reader(folder: Path) -> Any:
    """Raises ValueError when the folder is not one of a run."""
    from curvestop.hyperband.run.bracket_table import RunReader

    reader = RunReader(folder)

    def read() -> Mapping[str, Any]:
        try:
            return reader.read()
        except (OSError, ValueError) as error:
            return {"name": folder.name, "problem": str(error)}

    reader.read()
    return read


def _connection(server: str, token: str | None, data: Path | None) -> Connection:
    if data is not None:
        token = (data / TOKEN_FILE).read_text().strip()
    return Connection(server, token=token, tls=ClientTls.from_environment())


@contextmanager
def _server_problems(server: str) -> Iterator[None]:
    with errors_in_one_line():
        try:
            yield
        except UnknownStudy as error:
            fail(f"{error}: `curvestop status` names all of server {server}")
        except ServerTrouble as trouble:
            typer.echo(f"curvestop: server {server} does not answer: {trouble}", err=True)
            raise typer.Exit(1) from None
