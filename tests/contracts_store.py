"""The store's contract: one class of tests, inherited for SQLite and for PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from curvestop.proto.entries import Decided, Ended, Entry, Observed, Resumed, TrialAdded
from curvestop.server.storage import schema
from curvestop.server.storage.store import CurveStore, StoredStudy, StoreUnavailable, TooManyStudies
from curvestop.server.studies.commands import StudyCommand
from curvestop.server.studies.log_replay import rebuild, replay
from curvestop.server.studies.registry import Registry
from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.report import BracketPosition, Question
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study
from tests.contracts import last_seen

ENTRIES: tuple[Entry, ...] = (
    TrialAdded("é", {"flag": False, "n": 3, "lr": 1e-5, "name": "x"}),
    Observed("é", 1, 0.1),
    Observed("é", 2, -1e100),
    Decided("é", Question(2, 9, None), Decision(stop=False, reason="shadow mode, would have stopped: ...", would_stop=True)),
    Decided("é", Question(2, 5, 0.3), Decision(True, "P(...)", 0.97, Prediction(0.1, 0.0), 20, 2)),
    Ended("é", "stopped"),
    TrialAdded("b", {}, BracketPosition(2, 1, ((3, 1), (1, 3)))),
    Ended("b", "failed", 1),
    Resumed("é", "the first time"),
    Ended("é", "stopped"),
)
FITTED_S = 30.0


def append(store: CurveStore, study: StoredStudy, *entries: Entry) -> int:
    """Append where the log ends; returns the new last number."""
    with store.transaction() as transaction:
        return transaction.append(study.id, entries, after=transaction.lock_for_append(study.id))


def stored_log(url: str, name: str = "s") -> tuple[Entry, ...]:
    """The log of a study of the default tenant."""
    with closing(CurveStore(url)) as store:
        found = store.find(name)
        assert found is not None
        return tuple(store.log(found.id))


class StoreContract:
    """What a `CurveStore` does on any database. A subclass gives the URL of an empty one."""

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def failures(self) -> list[BaseException]:
        return []

    @pytest.fixture
    def store(self, url: str, failures: list[BaseException]) -> Iterator[CurveStore]:
        with closing(CurveStore(url, on_failure=failures.append)) as store:
            yield store

    def test_gives_back_what_it_was_given(self, store: CurveStore, url: str) -> None:
        settings = StudySettings(
            "s", 9, "loss", "minimize", StoppingRule(0.9, 0.01, 2, 7), "nu-svr", {"n_candidates": 5}, ("lr",), 1.5,
            "any", {"rules": [{"name": "rank", "keep": (0.5, 1.0)}, {"name": "risk"}]}, True, 0.1,
        )  # fmt: skip
        study = store.add_study(settings)
        assert append(store, study, *ENTRIES[:3]) == 3
        assert append(store, study, *ENTRIES[3:]) == 10
        for reader in (store, CurveStore(url)):
            assert reader.studies() == (study,)
            assert reader.find("s") == study == StoredStudy(study.id, "default", settings)
            assert list(reader.numbered_log(study.id)) == list(enumerate(ENTRIES, start=1))
            reader.close()

    def test_the_tables_are_those_that_the_program_writes_to(self, store: CurveStore) -> None:
        with store._engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []

    def test_the_log_is_read_in_pages(self, store: CurveStore) -> None:
        study, other = store.add_study(last_seen()), store.add_study(last_seen(name="other"))
        append(store, study, *ENTRIES)
        append(store, other, Observed("not of the study", 1, 0.5))

        def page(after: int, n: int) -> tuple[int, list[Entry]]:
            with store.log_page(study.id, after=after, n=n) as (last, entries):
                return last, list(entries)

        assert page(0, 3) == (10, list(ENTRIES[:3]))
        assert page(3, 100) == (10, list(ENTRIES[3:]))
        assert page(10, 3) == (10, [])

    def test_settings_that_were_stored_before_there_were_policies_have_the_default_one(self, store: CurveStore) -> None:
        store.add_study(last_seen())
        with store._engine.begin() as connection:
            stored = connection.execute(sa.select(schema.studies.c.settings)).scalar_one()
            for name in ("policy", "policy_settings", "shadow", "hold_out"):
                del stored[name]
            connection.execute(sa.update(schema.studies).values(settings=stored))
        assert store.studies()[0].settings == replace(last_seen(), policy="predictive-rank")

    def test_a_study_too_many_is_refused_and_one_that_exists_is_not(self, store: CurveStore) -> None:
        first = store.add_study(last_seen(name="first"), most=1)
        with pytest.raises(TooManyStudies, match=r"^a tenant may have at most 1 studies, and study 'second' would be one more$"):
            store.add_study(last_seen(name="second"), most=1)
        assert store.add_study(last_seen(name="first"), most=1) == first
        store.add_study(last_seen(name="second"), tenant="they", most=1)
        assert [study.settings.name for study in store.studies()] == ["first", "second"]

    def test_a_study_is_made_once(self, store: CurveStore) -> None:
        first = store.add_study(last_seen())
        assert store.add_study(last_seen(max_epochs=7)) == first
        assert store.find("other") is None

    def test_tenants_have_names_of_their_own(self, store: CurveStore) -> None:
        ours, theirs = store.add_study(last_seen()), store.add_study(last_seen(max_epochs=7), tenant="they")
        append(store, theirs, TrialAdded("a", {}))
        assert store.find("s", tenant="they") == theirs != ours
        assert list(store.log(ours.id)) == []
        assert store.studies() == (ours, theirs)

    def test_each_study_has_its_own_sequence_without_gaps(self, store: CurveStore) -> None:
        studies = [store.add_study(last_seen(name=name)) for name in "ab"]

        def fill(worker: int) -> None:
            for epoch in range(20):
                append(store, studies[worker % 2], Observed(f"t{worker}", epoch, 0.5))

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(fill, range(8)))
        for study in studies:
            assert [number for number, _ in store.numbered_log(study.id)] == list(range(1, 81))

    def test_what_is_new_can_be_read_where_it_is_appended(self, store: CurveStore) -> None:
        study = store.add_study(last_seen())
        append(store, study, *ENTRIES)
        with store.transaction() as transaction:
            assert transaction.lock_for_append(study.id) == 10
            assert list(transaction.log(study.id, after=8)) == [(9, ENTRIES[8]), (10, ENTRIES[9])]

    @pytest.mark.parametrize(
        ("entry", "after"),
        [
            (TrialAdded("b", {"lr": 1}), 10),
            (Resumed("é", "the first time"), 10),
            (Observed("é", 3, 0.5), 9),  # the number is taken
            (Observed("é", 3, 0.5), 11),  # would leave a gap
        ],
    )
    def test_what_is_there_is_not_there_twice(self, store: CurveStore, url: str, entry: Entry, after: int) -> None:
        study = store.add_study(last_seen())
        append(store, study, *ENTRIES)
        with pytest.raises(StoreUnavailable, match=r"did not commit|failed"), store.transaction() as transaction:
            transaction.append(study.id, [entry], after=after)
        assert stored_log(url) == ENTRIES

    def test_an_error_in_a_transaction_undoes_it(self, store: CurveStore, url: str) -> None:
        study = store.add_study(last_seen())

        def append_and_fail() -> None:
            with store.transaction() as transaction:
                transaction.append(study.id, ENTRIES, after=0)
                raise ArithmeticError

        with pytest.raises((ArithmeticError, StoreUnavailable)):
            append_and_fail()
        assert stored_log(url) == ()

    def test_a_closed_store_takes_nothing(self, store: CurveStore) -> None:
        study = store.add_study(last_seen())
        store.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            append(store, study, *ENTRIES)

    def test_a_store_of_a_later_version_is_refused(self, store: CurveStore, url: str) -> None:
        with store._engine.begin() as connection:
            connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(ValueError, match="has schema 9999, but this version of curvestop knows 0006 and earlier"):
            CurveStore(url)

    def test_migrations_leave_the_tables_that_are_used(self, store: CurveStore) -> None:
        """By Alembic's own comparison."""
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        with store._engine.connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), schema.metadata) == []

    def test_a_study_read_for_a_start_is_the_one_that_was(self, store: CurveStore) -> None:
        with closing(Registry(store)) as registry:
            registry.create(last_seen())
            study, played = registry["s"], Study(last_seen(), fit="deferred")
            for number in range(12):
                for epoch in range(1, 4):
                    study.report(f"t{number}", [number / 10 - epoch / 100], first_epoch=epoch, configuration={"n": number})
                    study.report(f"t{number}", [], target_epoch=2, value_to_beat=epoch / 7)
                assert registry.wait_fitted(FITTED_S)
            study.report("gap", [0.2, 0.3], first_epoch=2)
            study.report("gap", [0.1])
            study.finish("t3", "stopped")
            # Three attempts, the second of which the policy stopped; a stop that was replaced is not read at a start.
            study.resume("t3")
            assert study.report("hopeless", [-1.0]).stop
            study.resume("hopeless")
            study.report("hopeless", [1.5], first_epoch=2)
            study.finish("t3", "stopped")
            study.resume("t3")
            replay(played, store.log(study.id))
            read = Study(last_seen(), fit="deferred")
            with store.state(study.id) as (last, entries, observed):
                assert last == len(list(store.log(study.id)))
                rebuild(read, entries, observed)
            for job, other in zip(read.forecasts.due(), played.forecasts.due(), strict=True):
                assert job.curves == other.curves
            assert vars(read.book)["_records"] == vars(played.book)["_records"]
            assert vars(read.book)["_reached"] == vars(played.book)["_reached"]
            assert read.forecasts.targets() == played.forecasts.targets() == (2, 3)

    def test_many_threads_share_a_study(self, store: CurveStore) -> None:
        with closing(Registry(store)) as registry:
            registry.create(last_seen(max_epochs=20))

            def train(trial: str) -> None:
                for epoch in range(1, 21):
                    registry["s"].report(trial, [epoch / 20], first_epoch=epoch)

            names = [f"t{number}" for number in range(16)]
            with ThreadPoolExecutor(16) as threads:
                list(threads.map(train, names))
            curves = {trial.trial: trial.values for trial in registry["s"].trials()}
            numbers = [number for number, _ in store.numbered_log(registry["s"].id)]
        assert curves == {name: tuple(epoch / 20 for epoch in range(1, 21)) for name in names}
        assert numbers == list(range(1, 16 * 41 + 1))  # a trial, its 20 values and 20 decisions

    def test_an_error_in_a_command_is_its_callers_alone(self, store: CurveStore) -> None:
        with closing(Registry(store)) as registry:
            registry.create(last_seen())
            study = registry["s"]
            study.report("a", [0.1])

            def broken(_: Study) -> tuple[None, list[Entry]]:
                raise ArithmeticError("bug")

            command = StudyCommand(study, broken)
            study._batch_writer.submit_and_wait(command)
            with pytest.raises(ArithmeticError, match="bug"):
                command.result()
            assert study.report("a", [0.1, 0.2]).reason == "fewer than 6 curves reached epoch 3: 0 so far"
