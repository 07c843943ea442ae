"""Fixtures that all tests share, each started once, and the settings of hypothesis."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.postgres import Postgres
from tests.system_programs import skip_without

if TYPE_CHECKING:
    from tests.contracts_training import CurveServer
    from tests.ray_cluster import RayCluster

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # the switch by which Ray stays on the loopback interface; read at import


# Examples may take as long as they need: how long one takes depends on what else the machine does.
hypothesis.settings.register_profile("curvestop", deadline=None)
hypothesis.settings.load_profile("curvestop")


@pytest.fixture(autouse=True)
def _optuna_databases_are_closed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Close what Optuna's storages leave open until they are collected: since Python 3.13, sqlite3 warns of that."""
    if "optuna.storages" not in sys.modules:
        yield
        return
    from optuna.storages import RDBStorage

    opened: list[RDBStorage] = []
    start = RDBStorage.__init__

    def remember(self: RDBStorage, *arguments: Any, **options: Any) -> None:
        start(self, *arguments, **options)
        opened.append(self)

    monkeypatch.setattr(RDBStorage, "__init__", remember)
    yield
    for storage in opened:
        storage.remove_session()
        storage.engine.dispose()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A private PostgreSQL server; the tests that want one are skipped where it is not installed."""
    skip_without("postgresql", "psycopg")
    with closing(Postgres()) as server:
        yield server


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RayCluster]:
    """A Ray cluster of two nodes with two CPUs each; this process is connected to it."""
    from tests.ray_cluster import RayCluster  # only where it is used: Ray takes a while to load

    with RayCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def curve_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CurveServer]:
    """A server in this process."""
    from tests.contracts_training import CurveServer

    server = CurveServer(tmp_path_factory.mktemp("curves"))
    with closing(server.serving):
        yield server
