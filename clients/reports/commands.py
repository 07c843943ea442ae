"""The commands `curvestop report` and `curvestop dashboard`; `curvestop.cli` mounts them."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from curvestop.clients.remote.server_options import DEFAULT_SERVER, Data, Server, Token, connection_to, server_errors_in_one_line
from curvestop.command_line import fail
from curvestop.proto.endpoint import DEFAULT_HOST

DASHBOARD_PORT = 7071

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command(epilog="Example: curvestop report my-search --out my-search.html")
def report(
    study: Annotated[str, typer.Argument(help="Study name.", show_default=False)],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="HTML file to write.  [default: STUDY.html]", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object, and write no file.")] = False,
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    data: Data = None,
) -> None:
    """Report what a study's stops saved and whether its predictions came true; warn if calibration drifts.

    Writes one self-contained HTML file: learning curves, predicted against final values, calibration by observed length, and
    every stop with its reason.
    """
    # Imported here, as the other commands of `curvestop` need none of it.
    from curvestop.clients.reports.report_page import html_of
    from curvestop.clients.reports.study_log import StudyFollower
    from curvestop.clients.reports.study_report import drift_sentences, report_of

    with server_errors_in_one_line(server), closing(connection_to(server, token, data)) as connection:
        view = StudyFollower(connection, study).read()
        # One view for both: the page's curves and the figures are of the same log entry.
        content = report_of(view)
        if as_json:
            typer.echo(json.dumps(content))
            return
        # Names of studies may contain slashes and spaces.
        path = out or Path(f"{''.join(c if c.isalnum() or c in '-_.' else '_' for c in study)}.html")
        path.write_text(html_of(content, view, written=datetime.now()), encoding="utf-8")
    summary = content["summary"]
    states = ", ".join(f"{n} {state}" for state, n in sorted(summary["n_trials"].items()))
    resumed = f"; {summary['n_resumed']} resumed" if summary["n_resumed"] else ""
    typer.echo(
        f"{study}: {states or 'no trials'}{resumed}; {view.settings.axis.span(summary['epochs_saved'])} saved "
        f"({summary['saved_share']:.0%})"
    )
    if summary["seed_noise"] is not None:
        typer.echo(summary["seed_noise"]["sentence"])
    for sentence in drift_sentences(content):
        typer.echo(f"warning: calibration drifts. {sentence}")
    typer.echo(path)


@app.command(epilog="Example: curvestop dashboard --server localhost:7070")
def dashboard(
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    data: Data = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; one that other machines can reach needs --allow-remote.")
    ] = DEFAULT_HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = DASHBOARD_PORT,
    allow_remote: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Serve other machines too, unencrypted, under this host name.", show_default=False),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Folder of a `hyperband run`; its brackets are shown, too.", show_default=False),
    ] = None,
) -> None:
    """Show a server's studies in a browser while they run. The page is read-only.

    The command prints a link, which logs in one browser; once it was used, the next link is printed.
    """
    try:
        from curvestop.clients.dashboard.app import Dashboard
        from curvestop.clients.dashboard.dashboard_server import DashboardServer
    except ImportError:  # without the extra `dashboard`
        fail("the dashboard needs the packages starlette and uvicorn: pip install 'curvestop[dashboard]'")
    with server_errors_in_one_line(server), closing(connection_to(server, token, data)) as connection:
        content = Dashboard(connection, address=connection.address, read_run=None if run is None else _run_reader(run))
        dashboard_server = DashboardServer(
            content,
            host=host,
            port=port,
            public_name=allow_remote,
            on_link=lambda link: typer.echo(f"for another browser  {link}"),
        )
        typer.echo(f"open in a browser  {dashboard_server.link}")
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM ends it as Ctrl-C does
        with closing(dashboard_server), suppress(KeyboardInterrupt):
            dashboard_server.run()


def _run_reader(folder: Path) -> Any:
    """Return a function that reads the state of a run's folder. Raises ValueError if the folder does not hold a run."""
    from curvestop.hyperband.run.run_reader import RunReader  # only here, as it loads the scheduler

    reader = RunReader(folder)

    def read() -> Mapping[str, Any]:
        try:
            return reader.read()
        except (OSError, ValueError) as error:
            # The page says so; the studies beside the run are still shown.
            return {"name": folder.name, "problem": str(error)}

    reader.read()  # a wrong folder is an error of the command line
    return read
