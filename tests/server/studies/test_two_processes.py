"""Client, wire and server over loopback: two client processes at once, every answer compared with a study in process."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from curvestop.clients.remote.remote_study import connect
from curvestop.proto.entries import Decided, Entry
from curvestop.server.studies.log_replay import apply
from curvestop.srm.curve import Decision
from curvestop.srm.model_cache import FittedModels
from curvestop.srm.policies.stopping_rule import StoppingRule
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study
from tests.contracts_store import stored_log
from tests.server_process import ServerProcess

SETTINGS = StudySettings(
    "shared",
    5,
    rule=StoppingRule(min_curves=6),
    predictor="nu-svr",
    predictor_settings={"n_candidates": 5},
    log_scaled=("lr",),
    refit_growth=1.5,
)
N_COMPLETE, N_JUDGED = 12, 12
FIT_S = 60.0
ROOT = Path(__file__).parents[3]


def curve(rng: random.Random) -> tuple[dict[str, float | int], list[float]]:
    """A rising curve that a learning rate and a width have a say in."""
    lr, width = 10 ** rng.uniform(-4, -1), rng.randint(1, 64)
    final = 0.9 - 0.1 * abs(rng.gauss(0, 1)) - lr
    return {"lr": lr, "width": width}, [final * (1 - 0.5**epoch) + rng.gauss(0, 0.005) for epoch in range(1, 6)]


def client(address: str, token: str, seed: int) -> Iterator[tuple[str, int, int, Decision]]:
    """Train complete trials, then, with models, judge others: (trial, epochs, target epoch, answer)."""
    rng = random.Random(seed)
    with connect(address, SETTINGS, token=token, deadline_s=30.0) as study:
        for number in range(N_COMPLETE + N_JUDGED):
            if number == N_COMPLETE:
                wait_fitted(study)
            configuration, values = curve(rng)
            for epoch in range(1, 6):
                target = 3 if epoch < 3 and number % 3 == 0 else 5
                answer = study.report(
                    f"{seed}-{number}", values[:epoch], configuration=configuration, target_epoch=None if target == 5 else 3
                )
                yield f"{seed}-{number}", epoch, target, answer
            study.finish(f"{seed}-{number}")


def wait_fitted(study: Any) -> None:
    deadline = time.monotonic() + FIT_S
    while not all(model.n_fitted for model in study.status().models):
        assert time.monotonic() < deadline
        time.sleep(0.02)  # the only way to wait on another process's models


def main(address: str, token: str, seed: str) -> None:
    for trial, tau, target, decision in client(address, token, int(seed)):
        print(json.dumps([trial, tau, target, asdict(decision)]))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data") as server:
        yield server


def test_every_answer_is_that_of_a_study_in_process(server: ServerProcess) -> None:
    clients = [
        subprocess.Popen(
            [sys.executable, "-m", __name__, server.address, server.token, seed], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        for seed in ("1", "2")
    ]
    answers = []
    for process in clients:
        printed, _ = process.communicate(timeout=240)
        assert process.returncode == 0
        answers.append([json.loads(line) for line in printed.splitlines()])
    server.kill()

    decided = replayed_and_compared(stored_log(f"sqlite:///{server.folder / 'curves.db'}", SETTINGS.name))
    stops: dict[tuple[str, int], Decision] = {}
    for lines in answers:
        assert len(lines) == (N_COMPLETE + N_JUDGED) * 5
        assert sum(answer["probability"] is not None for *_, answer in lines) >= N_JUDGED
        for trial, tau, target, answer in lines:
            expected = stops.get((trial, target)) or decided.pop((trial, tau, target))
            assert answer == json.loads(json.dumps(asdict(expected)))
            if expected.stop:
                stops[trial, target] = expected
    assert stops
    assert not decided


def replayed_and_compared(log: Iterable[Entry]) -> dict[tuple[str, int, int], Decision]:
    """Play the log into a study in process, which must decide what the server decided when it has the same models.

    Returns the stored decisions. A stopped trial's later answers repeat its stop, here as there.
    """
    study = Study(SETTINGS, fit="deferred")
    models: dict[tuple[int, int], FittedModels] = {}
    decided: dict[tuple[str, int, int], Decision] = {}
    for entry in log:
        if isinstance(entry, Decided):
            question, decision = entry.question, entry.decision
            if decision.n_curves > study.forecasts.n_fitted(question.target_epoch):
                study.forecasts.install(models[question.target_epoch, decision.n_curves])
            assert study.decide(entry.trial, question) == decision
            decided[entry.trial, question.tau, question.target_epoch] = decision
        else:
            apply(study, entry)
        for job in study.forecasts.due():
            if (job.target_epoch, len(job.curves)) not in models:
                models[job.target_epoch, len(job.curves)] = job.run()
    return decided


if __name__ == "__main__":
    main(*sys.argv[1:])
