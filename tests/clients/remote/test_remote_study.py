"""The study behind a real server follows the contract, as one in process does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from curvestop.clients.remote.remote_study import RemoteStudy, connect
from curvestop.server.rpc.server import Server
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study
from curvestop.srm.study_like import StudyLike
from tests.contracts import MakeStudy, StudyContract, last_seen
from tests.contracts_many import ManyContract
from tests.contracts_overview import OverviewContract
from tests.contracts_policy import PolicyContract
from tests.contracts_second_chances import SecondChanceContract

PATIENT_S = 30.0


class TestRemoteStudy(StudyContract, PolicyContract, ManyContract, SecondChanceContract, OverviewContract):
    @pytest.fixture
    def serving(self, tmp_path: Path) -> Iterator[Server]:
        with Server(tmp_path, host="127.0.0.1", port=0) as serving:
            yield serving

    @pytest.fixture
    def make(self, serving: Server) -> Iterator[MakeStudy]:
        with ExitStack() as opened:

            def make(settings: StudySettings) -> RemoteStudy:
                token = serving.token_path.read_text().strip()
                return opened.enter_context(connect(serving.address, settings, token=token, deadline_s=PATIENT_S))

            yield make

    @pytest.fixture(autouse=True)
    def _remember(self, serving: Server) -> None:
        self.registry = serving.registry

    def settle(self, study: StudyLike) -> None:
        study.trials()  # the study is there from its first call on
        assert self.registry.wait_fitted(PATIENT_S)

    def test_says_how_far_the_models_are(self, make: MakeStudy) -> None:
        study = self.with_complete_curves(make)
        assert isinstance(study, RemoteStudy)
        study.report("a", [0.5])
        study.finish("a", "failed")
        status = study.status()
        assert status.settings == study.settings
        assert [(m.target_epoch, m.n_fitted, m.n_due) for m in status.models] == [(3, 6, 6)]
        assert status.fitted
        assert status.n_trials == {"running": 6, "failed": 1}

    def test_two_clients_share_a_study(self, make: MakeStudy) -> None:
        one, other = make(last_seen()), make(last_seen())
        one.report("a", [0.1])
        assert other.report("a", [0.15, 0.2]).conflicts == ((1, 0.1),)
        assert one.trials() == other.trials()

    def test_lists_more_trials_than_fit_in_one_page(self, make: MakeStudy) -> None:
        study = make(last_seen(max_epochs=1000))
        for number in range(70):  # 560 kB: three pages
            study.report(str(number), [number / 7] * 1000, ask=False)
        trials = study.trials()
        assert [trial.trial for trial in trials] == [str(number) for number in range(70)]
        assert all(trial.values == (number / 7,) * 1000 for number, trial in enumerate(trials))


def test_no_target_is_a_study_in_this_process() -> None:
    assert isinstance(connect(None, last_seen()), Study)
