"""A real server with a small study, and a dashboard of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curvestop.clients.dashboard.app import Dashboard
from curvestop.clients.dashboard.dashboard_server import DashboardServer
from curvestop.clients.remote.connection import Connection
from curvestop.server.rpc.server import Server
from curvestop.server.rpc.tokens import add_token
from curvestop.server.studies.durable_study import DurableStudy
from curvestop.srm.settings import StudySettings
from tests.contracts import last_seen

STUDY, OTHER = "first <b>study</b> & more", "second"
EPOCHS = 10
FIT_S = 60.0


@dataclass
class Site:
    """A server, the study on it, and a dashboard that asks with a viewer's token. links: that were printed after the first."""

    serving: Server
    dashboard: DashboardServer
    links: list[str] = field(default_factory=list)

    @property
    def study(self) -> DurableStudy:
        return self.serving.registry[STUDY]


@contextmanager
def site(folder: Path, **more: Any) -> Iterator[Site]:
    token = add_token(folder, "dashboard", role="viewer")
    with Server(folder, host="127.0.0.1", port=0) as serving:
        fill(serving)
        links: list[str] = []
        with closing(Connection(serving.address, token=token)) as connection:
            dashboard = Dashboard(connection, address=serving.address, **more)
            with DashboardServer(dashboard, host="127.0.0.1", port=0, on_link=links.append) as server:
                yield Site(serving, server, links)


def settings(name: str, **changes: Any) -> StudySettings:
    return last_seen(name=name, max_epochs=EPOCHS, metric="accuracy", **changes)


def fill(serving: Server) -> None:
    """Eight complete trials at 0.1, 0.2, ..., 0.8 with models, then one that runs, one that is stopped and one that failed."""
    serving.registry.create(settings(STUDY))
    serving.registry.create(settings(OTHER))
    serving.registry[OTHER].report("alone", [0.5])
    study = serving.registry[STUDY]
    for number in range(1, 9):
        study.report(f"complete-{number}", rising(number / 10), configuration={"lr": number / 100, "kind": "cnn"}, ask=False)
    assert serving.registry.wait_fitted(FIT_S)
    for epoch, value in enumerate(RUNNING, start=1):
        decision = study.report("running", [value], first_epoch=epoch, configuration={"lr": 0.5, "kind": "mlp"})
        assert not decision.stop, decision.reason
    decision = study.report("hopeless", [0.001], configuration={"lr": 0.9, "kind": "mlp"})
    assert decision.stop, decision.reason
    study.finish("hopeless", "stopped")
    study.report("broken", [0.3, float("nan")])


def rising(level: float) -> list[float]:
    return [round(level * epoch / EPOCHS, 6) for epoch in range(1, EPOCHS + 1)]


RUNNING = rising(0.95)[:4]
