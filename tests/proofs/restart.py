"""Promise 5: a server with a million observations is soon ready."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from benchmarks.service.restart import log, start, write
from curvestop.server.storage.data_folder import DATABASE_FILE
from curvestop.server.storage.store import CurveStore
from curvestop.srm.settings import StudySettings
from tests.proofs.proof import Found, Proof

N_EPOCHS = 100
READY_S = 5.0


def restart(folder: Path, *, n_observations: int, n_starts: int) -> Found:
    """The best of some starts, each from the start of the process: the machine may have other work."""
    data = folder / "data"
    data.mkdir()
    with closing(CurveStore(f"sqlite:///{data / DATABASE_FILE}")) as store:
        study = store.add_study(StudySettings("s", N_EPOCHS))
        n_entries = write(store, study, log(n_observations // N_EPOCHS, N_EPOCHS, decisions=True, seed=0))
    starts = [start(data) for _ in range(n_starts)]
    seconds = [wall for wall, _ in starts]
    figures = {
        "observations": n_observations, "log entries": n_entries, "s, the best": round(min(seconds), 1),
        "s, the worst": round(max(seconds), 1), "CPU s, the best": round(min(cpu for _, cpu in starts), 1),
    }  # fmt: skip
    return Found(figures, n_observations < 1_000_000 or min(seconds) < READY_S)


PROOFS = (
    Proof(
        5,
        "restart with a decision for every observation",
        "1,000,000 observations: ready in < 5 s",
        restart,
        full={"n_observations": 1_000_000, "n_starts": 3},
        short={"n_observations": 5_000, "n_starts": 1},
    ),
)
