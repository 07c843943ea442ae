"""The store on PostgreSQL: the contract, what several servers add to it, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import sqlalchemy as sa

from curvestop.proto.entries import Observed, TrialAdded
from curvestop.server.storage.store import CurveStore, StoreUnavailable
from curvestop.server.studies.registry import Registry
from tests.contracts import last_seen
from tests.contracts_store import FITTED_S, StoreContract, append, stored_log
from tests.postgres import Postgres
from tests.system_programs import skip_without


@pytest.fixture
def url(postgres: Postgres) -> str:
    return postgres.database()


class TestStore(StoreContract):
    @pytest.fixture
    def url(self, postgres: Postgres) -> str:
        return postgres.database()

    def test_a_failed_write_is_not_the_end(self, store: CurveStore, url: str, failures: list[BaseException]) -> None:
        study = store.add_study(last_seen())
        append(store, study, TrialAdded("a", {}))
        with pytest.raises(StoreUnavailable, match="did not commit"):
            append(store, study, TrialAdded("a", {}))
        append(store, study, Observed("a", 1, 0.2))
        assert stored_log(url) == (TrialAdded("a", {}), Observed("a", 1, 0.2))
        assert failures == []


def test_stores_that_open_an_empty_database_at_once_make_it_once(url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        stores = list(threads.map(CurveStore, [url] * 4))
    made = {store.add_study(last_seen()).id for store in stores}
    assert len(made) == 1
    for store in stores:
        store.close()


@pytest.mark.parametrize("setting", ["synchronous_commit", "fsync", "full_page_writes"])
def test_a_server_that_would_lose_what_it_acknowledged_is_refused(setting: str, request: pytest.FixtureRequest) -> None:
    if setting == "synchronous_commit":  # a role or database can have it off on a server that is safe by default
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.database()
        engine = sa.create_engine(url)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text(f"ALTER DATABASE {engine.url.database} SET synchronous_commit = off"))
        engine.dispose()
        assert_refused(url, setting)
        return
    skip_without("postgresql", "psycopg")
    with closing(Postgres(**{setting: "off"})) as unsafe:
        assert_refused(unsafe.database(), setting)


def assert_refused(url: str, setting: str) -> None:
    with pytest.raises(ValueError, match=f"PostgreSQL runs with {setting} = off"):
        CurveStore(url)


@pytest.fixture
def registries(url: str) -> Iterator[tuple[Registry, Registry]]:
    """Two servers' worth of one database."""
    with closing(Registry(CurveStore(url))) as one, closing(Registry(CurveStore(url))) as other:
        yield one, other


def test_any_server_answers_any_study(registries: tuple[Registry, Registry]) -> None:
    one, other = registries
    one.create(last_seen())
    other.create(last_seen())
    assert [settings.name for settings in other.settings()] == ["s"]
    for number in range(6):
        registries[number % 2]["s"].report(f"c{number}", [0.5, 0.55, 0.6 - 0.2 * (number % 2)])
    assert one["s"].trials() == other["s"].trials()
    for registry in registries:
        assert registry["s"].status().n_trials == {"running": 6}
        assert registry.wait_fitted(FITTED_S)
    assert one["s"].predict([0.45]) == other["s"].predict([0.45]) is not None
    stop = one["s"].report("a", [0.4])
    assert stop.stop
    assert other["s"].report("a", [0.4]) == stop
    assert other["s"].report("a", [0.4]) == stop
    one["s"].resume("a", "key")
    other["s"].resume("a", "key")  # the same call, sent to the other server as well
    assert other["s"].trials()[-1].state == "running"
    assert not other["s"].report("a", [0.9], first_epoch=2).stop
    conflict = other["s"].report("a", [0.3])
    assert conflict.conflicts == ((1, 0.4),)


def test_two_servers_that_report_at_once_lose_and_double_nothing(registries: tuple[Registry, Registry], url: str) -> None:
    for registry in registries:
        registry.create(last_seen(max_epochs=20))

    def train(worker: int) -> None:
        for epoch in range(1, 21):  # every value to both servers, the trials shared by two workers
            for registry in registries:
                answer = registry["s"].report(f"t{worker // 2}", [worker % 2 + epoch / 100], first_epoch=epoch)
                assert all(stored in (epoch / 100, 1 + epoch / 100) for _, stored in answer.conflicts)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(train, range(8)))
    assert registries[0]["s"].trials() == registries[1]["s"].trials()
    observed = [(entry.trial, entry.epoch) for entry in stored_log(url) if isinstance(entry, Observed)]
    assert sorted(observed) == sorted((f"t{trial}", epoch) for trial in range(4) for epoch in range(1, 21))


def test_a_restart_of_postgresql_is_an_answer_to_come_back_later(url: str, postgres: Postgres) -> None:
    with closing(Registry(CurveStore(url))) as registry:
        registry.create(last_seen())
        study = registry["s"]
        study.report("a", [0.1])
        postgres.stop("immediate")
        with pytest.raises(StoreUnavailable):
            study.report("a", [0.2], first_epoch=2)
        with pytest.raises(StoreUnavailable):
            study.trials()
        postgres.start()
        assert study.trials()[0].values == (0.1,)
        study.report("a", [0.2], first_epoch=2)
        assert study.trials()[0].values == (0.1, 0.2)


def test_a_server_that_hangs_with_a_study_does_not_hold_up_the_others(registries: tuple[Registry, Registry]) -> None:
    one, other = registries
    one.create(last_seen())
    one["s"].report("a", [0.1])
    other["s"].report("b", [0.1])
    with one._store.transaction() as hanging:
        hanging.lock_for_append(one["s"].id)
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            other["s"].report("b", [0.2], first_epoch=2)
    assert other["s"].report("b", [0.2], first_epoch=2).conflicts == ()
