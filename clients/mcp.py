"""`curvestop mcp`: the studies of a server as tools for coding agents, by the Model Context Protocol. Needs the extra `mcp`.

The tools only read, unless the server is started with `--allow-writes`. A tool's docstring is what the agent reads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, Literal

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

from curvestop import __version__
from curvestop.clients.remote.connection import Connection, ServerTrouble
from curvestop.clients.remote.study_calls import DEADLINE_S, StudyCalls
from curvestop.clients.reports import explanation
from curvestop.clients.reports.study_log import StudyFollower, StudyView
from curvestop.clients.reports.study_report import summary
from curvestop.proto import codec
from curvestop.proto.listing import listed_studies
from curvestop.srm.report import Report
from curvestop.srm.settings import StudySettings

INSTRUCTIONS = """\
curvestop predicts where a training's metric ends and says whether the training is worth going on with. A study is one search; \
its trials are trainings with one metric, reported after each epoch. Ask should_stop after each epoch and end a training that it \
stops. A difference between two trials that is smaller than the study's seed noise (see list_trials) is no difference."""


class Tools:
    """What an agent may call.

    Args:
        connection: Connection to the server.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    # These read.

    def list_studies(self) -> list[dict[str, Any]]:
        """List the studies: name, metric, direction (maximize or minimize) and max_epochs."""
        call = partial(self._connection.call, "ListStudies", deadline_s=DEADLINE_S)
        studies = map(codec.settings_from_proto, listed_studies(call))
        return [
            {"study": one.name, "metric": one.metric, "direction": one.direction, "max_epochs": one.max_epochs} for one in studies
        ]

    def list_trials(self, study: str, n: int = 20) -> dict[str, Any]:
        """Summarize a study and list its n best trials, by their latest value; null values come last.

        The summary has the counts by state, epochs trained and saved, the best trial, and the seed noise: how much the same
        configuration varies from seed to seed, if trials of one configuration tell it.
        """
        view = self._view(study)
        # A trial without a value has no score.
        ranked = sorted(view.trials.values(), key=lambda t: view.sign * t.final if t.last_epoch else float("-inf"), reverse=True)
        rows = [
            {
                "trial": trial.name,
                "state": trial.state,
                "epoch": trial.last_epoch,
                "value": trial.final if trial.last_epoch else None,
                "configuration": dict(trial.configuration),
            }
            for trial in ranked[:n]
        ]
        return {"summary": summary(view), "trials": rows}

    def should_stop(self, study: str, trial: str) -> dict[str, Any]:
        """Say whether a trial should stop, by its values so far, and why: the study's last decision about it.

        chance is that of ending as the best of the study; mean and sigma are the forecast of the final value. All are null
        while nothing was asked or predicted; then it should go on.
        """
        facts = explanation.explain(self._view(study), trial)
        return facts["decision"] or {"stop": False, "reason": "no decision was asked for"}

    def explain(self, study: str, trial: str) -> dict[str, Any]:
        """Say why a trial was stopped or continues: its decision, its rank now, the best trial, and all in words."""
        return explanation.explain(self._view(study), trial)

    def second_chances(self, study: str, n: int = 5) -> list[dict[str, Any]]:
        """List up to n stopped trials that may end as the best after all, the most promising first."""
        chances = StudyCalls(self._connection, study).second_chances(n)
        return [
            {"trial": one.trial, "configuration": dict(one.configuration), "next_epoch": one.next_epoch, "chance": one.chance}
            for one in chances
        ]

    def backtest(self, path: str, metric: str | None = None, max_epochs: int | None = None) -> dict[str, Any]:
        """Replay finished runs from a CSV or Parquet file, a folder of TensorBoard logs or an Optuna storage.

        Says what the default policy would have saved (share of the epochs) and lost (regret of the best run). Takes a minute.
        """
        from curvestop.clients.backtest.backtesting import backtest
        from curvestop.clients.backtest.options import BacktestOptions
        from curvestop.clients.backtest.readers.detect import read
        from curvestop.clients.backtest.readers.read_options import ReadOptions
        from curvestop.clients.backtest.runs import curves_of
        from curvestop.clients.backtest.summary import as_json

        curves = curves_of(read(path, ReadOptions(metric)), direction=None, max_epochs=max_epochs, short_runs="unfinished")
        found = as_json(backtest(curves, BacktestOptions(processes=1)))
        return {name: value for name, value in found.items() if name not in ("settings", "recommended")}

    # These write.

    def create_study(
        self, study: str, max_epochs: int, metric: str = "value", direction: Literal["maximize", "minimize"] = "maximize"
    ) -> str:
        """Create a study. max_epochs is the number of epochs (or steps) of a complete training. Harmless if it is there."""
        StudyCalls.create(self._connection, StudySettings(study, max_epochs, metric, direction))
        return f"study {study} is there"

    def report(
        self,
        study: str,
        trial: str,
        values: list[float],
        first_epoch: int = 1,
        configuration: dict[str, bool | int | float | str] | None = None,
    ) -> dict[str, Any]:
        """Tell a trial's metric after first_epoch, first_epoch + 1, ... and get the decision: stop, and the reason.

        Report all values so far if you lost count: those that are known stay. configuration: hyper-parameters, once.
        """
        report = Report(trial, values, configuration, first_epoch)
        return explanation.decision_row(StudyCalls(self._connection, study).answer(report))

    def finish(self, study: str, trial: str, state: Literal["finished", "stopped", "failed"]) -> str:
        """End a trial: finished (ran to its end, so its last value is final), stopped or failed."""
        return f"{trial} is {StudyCalls(self._connection, study).finish(trial, state)}"

    def _view(self, study: str) -> StudyView:
        return StudyFollower(self._connection, study).read()


def make_server(connection: Connection, *, allow_writes: bool) -> MCPServer[Any]:
    """Return the server of the tools; `run()` serves standard input and output until it is closed.

    Args:
        connection: Connection to the server.
        allow_writes: Whether `create_study`, `report` and `finish` are among them.
    """
    server: MCPServer[Any] = MCPServer("curvestop", instructions=INSTRUCTIONS, version=__version__, log_level="WARNING")
    tools, address = Tools(connection), connection.address
    reads = (tools.list_studies, tools.list_trials, tools.should_stop, tools.explain, tools.second_chances, tools.backtest)
    for read in reads:
        server.add_tool(_errors_told(read, address), annotations=ToolAnnotations(read_only_hint=True))
    for write in (tools.create_study, tools.report, tools.finish) if allow_writes else ():
        # Nothing that was told is replaced, and a call may be repeated.
        annotations = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True)
        server.add_tool(_errors_told(write, address), annotations=annotations)
    return server


def _errors_told(tool: Callable[..., Any], address: str) -> Callable[..., Any]:
    """The tool, with the errors that an agent can mend told to it; others are logged as crashes."""

    @wraps(tool)
    def told(*arguments: Any, **keywords: Any) -> Any:
        try:
            return tool(*arguments, **keywords)
        except ServerTrouble as trouble:
            raise ToolError(trouble.at(address)) from None
        except (ValueError, LookupError, OSError) as mistake:
            raise ToolError(str(mistake)) from None

    return told
