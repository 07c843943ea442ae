"""The commands for programs that are not Python, and for agents: `curvestop create`, `ask`, `tell`, `finish`, `mcp` ..."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from curvestop.clients.remote.connection import Connection
from curvestop.clients.remote.server_options import DEFAULT_SERVER, Data, Server, Token, connection_to, server_errors_in_one_line
from curvestop.command_line import EXIT_STOP, print_error, printable
from curvestop.srm.curve import Decision, EndState

app = typer.Typer(add_completion=False, rich_markup_mode=None)

StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="Study name.", show_default=False)]
TrialName = Annotated[str, typer.Argument(metavar="TRIAL", help="Trial name.", show_default=False)]
Value = Annotated[
    list[float],
    typer.Option(help="The metric after this epoch; given several times, after this and the next ones. nan: it diverged."),
]
Epoch = Annotated[
    int | None,
    typer.Option(min=1, help="Epoch of the first value, from 1.  [default: the one after the last that was told]"),
]
At = Annotated[
    float | None,
    typer.Option(help="Where the value stands, in the unit of the study, in place of --epoch: --at 5000 of steps."),
]
Configuration = Annotated[
    str | None,
    typer.Option(metavar="JSON", help='Hyper-parameters, with a trial\'s first values: \'{"lr": 0.1, "layers": 3}\'.'),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command(epilog="Example: curvestop create cifar --max-epochs 30 --metric val_loss --direction minimize")
def create(
    study: StudyName,
    max_epochs: Annotated[int | None, typer.Option(min=1, help="Number of epochs of a complete training.")] = None,
    max_resource: Annotated[
        float | None, typer.Option(help="Length of a complete training in another unit, in place of --max-epochs.")
    ] = None,
    resource: Annotated[str, typer.Option(help="That unit: step, token, second, or any other.")] = "epoch",
    metric: Annotated[str, typer.Option(help="Name of the metric.")] = "value",
    direction: Annotated[str | None, typer.Option(help="maximize or minimize the metric.  [default: maximize]")] = None,
    risk: Annotated[
        float | None,
        typer.Option(help="Share of searches in which the best trial may be lost.  [default: 0.03]"),
    ] = None,
    shadow: Annotated[bool, typer.Option("--shadow", help="Stop nothing; only say what would have been stopped.")] = False,
    as_json: AsJson = False,
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    data: Data = None,
) -> None:
    """Create a study; one of the same name and settings is left as it is."""
    from curvestop.clients.remote.study_calls import StudyCalls  # imported here, as `curvestop serve` needs none of it
    from curvestop.srm.settings import StudySettings

    with _connected(server, token, data) as connection:
        settings = StudySettings(
            study,
            max_epochs,  # type: ignore[arg-type]  # one of the two lengths; checked there
            metric,
            direction,  # type: ignore[arg-type]  # checked there
            policy_settings={} if risk is None else {"risk": risk},
            shadow=shadow,
            max_resource=int(max_resource) if max_resource is not None and max_resource.is_integer() else max_resource,
            resource=resource,
        )
        StudyCalls.create(connection, settings)
    facts = {"study": study, "max_epochs": settings.max_epochs, "metric": metric, "direction": settings.direction}
    _print(facts, f"{study}: {settings.axis.span(settings.axis.ticks)}, {settings.direction} {metric}", as_json)


@app.command(epilog="Example: curvestop ask cifar trial-7 --value 0.93 --epoch 4 || [ $? -ne 3 ] || break")
def ask(
    study: StudyName,
    trial: TrialName,
    value: Value,
    epoch: Epoch = None,
    at: At = None,
    configuration: Configuration = None,
    as_json: AsJson = False,
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    data: Data = None,
) -> None:
    """Tell a trial's values and ask whether it should continue.

    Exit status: 0: continue; 3: stop. 1: the server gives no answer; 2: a mistake in the command line; continue then, too.
    """
    with _connected(server, token, data) as connection:
        last, _, decision = _report(connection, study, trial, value, (epoch, at), configuration, ask=True)
    from curvestop.clients.reports.explanation import decision_row

    facts = {"study": study, "trial": trial, "epoch": last, **decision_row(decision)}
    _print(facts, f"{'stop' if decision.stop else 'continue'}: {decision.reason}", as_json)
    if decision.stop:
        raise typer.Exit(EXIT_STOP)


@app.command(epilog="Example: curvestop tell cifar trial-7 --value 0.71 --value 0.80 --epoch 1")
def tell(
    study: StudyName,
    trial: TrialName,
    value: Value,
    epoch: Epoch = None,
    at: At = None,
    configuration: Configuration = None,
    as_json: AsJson = False,
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    data: Data = None,
) -> None:
    """Tell a trial's values and ask nothing, for example those of a baseline that runs anyway."""
    with _connected(server, token, data) as connection:
        last, where, _ = _report(connection, study, trial, value, (epoch, at), configuration, ask=False)
    _print({"study": study, "trial": trial, "epoch": last}, f"{trial}: told up to {where}", as_json)


@app.command(epilog="Example: curvestop finish cifar trial-7 --state failed")
def finish(
    study: StudyName,
    trial: TrialName,
    state: Annotated[EndState, typer.Option(help="finished: it ran to its end, so its last value is final.")] = "finished",
    as_json: AsJson = False,
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    data: Data = None,
) -> None:
    """End a trial. The state it was first ended with stays."""
    from curvestop.clients.remote.study_calls import StudyCalls

    with _connected(server, token, data) as connection:
        now = StudyCalls(connection, study).finish(trial, state)
    _print({"study": study, "trial": trial, "state": now}, f"{trial}: {now}", as_json)


@app.command(epilog="Example: curvestop explain cifar trial-7")
def explain(
    study: StudyName,
    trial: TrialName,
    as_json: AsJson = False,
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    data: Data = None,
) -> None:
    """Say why a trial was stopped or continues: chance, forecast and rank of the decision, and its rank now."""
    from curvestop.clients.reports.explanation import explain
    from curvestop.clients.reports.study_log import StudyFollower

    with _connected(server, token, data) as connection:
        facts = explain(StudyFollower(connection, study).read(), trial)
    _print(facts, facts["words"], as_json)


@app.command("second-chances", epilog="Example: curvestop second-chances cifar --json")
def second_chances(
    study: StudyName,
    number: Annotated[int, typer.Option("-n", min=1, help="Most trials to list.")] = 5,
    as_json: AsJson = False,
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    data: Data = None,
) -> None:
    """List the stopped trials that may end as the best after all, the most promising first."""
    from curvestop.clients.remote.study_calls import StudyCalls
    from curvestop.srm.policies.learned import percent

    with _connected(server, token, data) as connection:
        chances = StudyCalls(connection, study).second_chances(number)
    words = [f"{one.trial}: {percent(one.chance)} chance to end as the best, from epoch {one.next_epoch} on" for one in chances]
    _print({"study": study, "chances": [asdict(one) for one in chances]}, "\n".join(words) or "none", as_json)


@app.command(epilog="Example: curvestop mcp --server localhost:7070")
def mcp(
    allow_writes: Annotated[
        bool, typer.Option("--allow-writes", help="Let the agent create studies, report values and end trials, too.")
    ] = False,
    server: Server = DEFAULT_SERVER,
    token: Token = None,
    data: Data = None,
) -> None:
    """Serve a server's studies to a coding agent by the Model Context Protocol, on standard input and output.

    The agent's program starts this command. Its tools list studies and trials, say why a trial should stop, and backtest files.
    """
    with _connected(server, token, data) as connection:
        from curvestop.clients.mcp import make_server  # within, where a missing extra is told

        make_server(connection, allow_writes=allow_writes).run()


@contextmanager
def _connected(server: str, token: str | None, data: Path | None) -> Iterator[Connection]:
    with server_errors_in_one_line(server), closing(connection_to(server, token, data)) as connection:
        yield connection


def _report(
    connection: Connection,
    study: str,
    trial: str,
    values: Sequence[float],
    where: tuple[int | None, float | None],
    configuration: str | None,
    *,
    ask: bool,
) -> tuple[int, str, Decision]:
    """Report at an epoch, or in the study's unit; returns the last value's epoch, that in words, and the decision."""
    from curvestop.clients.remote.study_calls import StudyCalls
    from curvestop.srm.report import Report
    from curvestop.srm.resource import place

    calls = StudyCalls(connection, study)
    epoch, at = where
    if epoch is not None and at is not None:
        raise ValueError(f"give --epoch or --at, not both, but got {epoch} and {at:g}")
    axis = calls.settings.axis
    first, new = place(axis, values, 1 if at is not None else epoch or calls.n_epochs(trial) + 1, at)
    decision = calls.answer(Report(trial, new, _parsed(configuration), first, ask=ask))
    for tick, stored in decision.conflicts:
        print_error(f"warning: {trial} has the value {stored:g} at {axis.at(tick)} already, which stays")
    last = first + max(len(new), 1) - 1
    return last, axis.at(last), decision


def _parsed(configuration: str | None) -> dict[str, Any] | None:
    if configuration is None:
        return None
    try:
        parsed = json.loads(configuration)
    except json.JSONDecodeError as error:
        raise ValueError(f"--configuration must be a JSON object such as '{{\"lr\": 0.1}}', but got {configuration!r}") from error
    if not isinstance(parsed, dict):
        raise ValueError(f"--configuration must be a JSON object such as '{{\"lr\": 0.1}}', but got {configuration!r}")
    return parsed


def _print(facts: dict[str, Any], words: str, as_json: bool) -> None:
    # One line, as people's names have no line breaks; names may turn the direction of text.
    typer.echo(json.dumps(facts) if as_json else printable(words))
