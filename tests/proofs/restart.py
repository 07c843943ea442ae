"""Promise 5: a server with a million observations soon answers as before, at its first start, and soon has its models again."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

from benchmarks.service.restart import REASON, log, write
from curvestop.clients.remote.remote_study import connect
from curvestop.proto.entries import Decided, Entry, Observed, TrialAdded
from curvestop.server.storage.data_folder import DATABASE_FILE
from curvestop.server.storage.store import CurveStore
from curvestop.srm.curve import Decision, Prediction
from curvestop.srm.report import Question
from curvestop.srm.settings import StudySettings
from tests.proofs.proof import Found, Proof
from tests.proofs.trainers import await_models
from tests.server_process import ServerProcess

N_EPOCHS = 100
N_RUNNING = 100
N_WIDE, COLUMNS = 200, 1_000
ANSWERS_S, MODELS_S = 5.0, 20.0
PATIENCE_S = 300.0
SETTINGS = StudySettings("s", N_EPOCHS)
STOP = Decision(True, REASON, 0.99, Prediction(0.5, 0.1), 400, 1)
Answers = list[Decision | Prediction | None]


def running() -> list[Entry]:
    """Trials of one epoch, half of which were stopped by a decision that is not what the models would say."""
    entries: list[Entry] = []
    for number in range(N_RUNNING):
        trial = f"running-{number}"
        entries += [TrialAdded(trial, {"lr": 0.1, "width": 64}), Observed(trial, 1, number / N_RUNNING)]
        if number % 2:
            entries.append(Decided(trial, Question(1, N_EPOCHS, None), STOP))
    return entries


def wide() -> list[Entry]:
    """Trials with large configurations."""
    configuration = {f"column-{column}": float(column) for column in range(COLUMNS)}
    return [
        entry
        for number in range(N_WIDE)
        for entry in (TrialAdded(f"w{number}", {**configuration, "lr": number / N_WIDE}), Observed(f"w{number}", 1, 0.5))
    ]


def restart(folder: Path, *, n_observations: int, timed: int) -> Found:
    """timed: 0 where a busy machine shall not break the proof."""
    data = folder / "data"
    data.mkdir()
    with closing(CurveStore(f"sqlite:///{data / DATABASE_FILE}")) as store:
        study, other = store.add_study(SETTINGS), store.add_study(StudySettings("wide", N_EPOCHS))
        n_entries = write(store, study, log(n_observations // N_EPOCHS, N_EPOCHS, decisions=True, seed=0))
        with store.transaction() as transaction:
            n_entries = transaction.append(study.id, running(), after=n_entries)
            n_entries += transaction.append(other.id, wide(), after=0)
    answers_s, models_s, first = started(data)
    _, _, again = started(data)
    different = sum(a != b for a, b in zip(first, again, strict=True))
    n_kept = sum(isinstance(answer, Decision) and answer == STOP for answer in first)
    figures = {
        "observations": n_observations, "log entries": n_entries, "s until it answers": round(answers_s, 1),
        "s until all models are there": round(models_s, 1), "stops that it still knows": n_kept,
        "answers": len(first), "different after a kill": different,
    }  # fmt: skip
    in_time = not timed or (answers_s < ANSWERS_S and models_s < MODELS_S)
    return Found(figures, in_time and different == 0 and n_kept == N_RUNNING // 2)


def started(data: Path) -> tuple[float, float, Answers]:
    """Seconds from its start until it answers for a trial, and until its models are those of all curves; what it says."""
    begin = time.monotonic()
    with ServerProcess(data) as server, connect(server.address, SETTINGS, token=server.token, deadline_s=PATIENCE_S) as study:
        answers: Answers = [study.report("running-1", [1 / N_RUNNING])]
        answers_s = time.monotonic() - begin
        await_models(lambda: study.status().models, PATIENCE_S)
        models_s = time.monotonic() - begin
        # Of stopped trials only: the others' answers would be stored, and known at the next start.
        answers += [study.report(f"running-{number}", [number / N_RUNNING]) for number in range(3, N_RUNNING, 2)]
        answers += [study.predict([0.2 + 0.01 * epoch for epoch in range(n)]) for n in range(1, N_EPOCHS)]
        server.kill()
    return answers_s, models_s, answers


PROOFS = (
    Proof(
        5,
        "the first start with a decision for every observation, and large configurations",
        "1,000,000 observations: answers in < 5 s, all models in < 20 s; the same answers after a kill",
        restart,
        full={"n_observations": 1_000_000, "timed": 1},
        short={"n_observations": 5_000, "timed": 0},
    ),
)
