"""Promise 23: what is on disk is the owner's alone, and a damaged store is told at the start."""

from __future__ import annotations

import os
import random
import shutil
import stat
import time
from contextlib import closing
from pathlib import Path

from typer.testing import CliRunner

from benchmarks.service.restart import log, write
from curvestop.cli import app
from curvestop.clients.remote.remote_study import connect
from curvestop.server.storage.data_folder import DATABASE_FILE
from curvestop.server.storage.store import CurveStore
from curvestop.srm.settings import StudySettings
from tests.proofs.proof import Found, Proof
from tests.server_process import ServerProcess, refused

SETTINGS = StudySettings("s", 20)
PAGE = 4096
OTHERS = 0o077


def owner_only(folder: Path, *, n_trials: int) -> Found:
    """umask 022, and a folder with a token that the user made: a server at work, its end, a backup and exports."""
    before = os.umask(0o022)
    try:
        data, out = folder / "data", folder / "out"
        for made in (data, out):
            made.mkdir()
        (data / "token").write_text("a-token-of-the-user\n")
        with ServerProcess(data) as server:
            with connect(server.address, SETTINGS, token=server.token, deadline_s=10.0) as study:
                for number in range(n_trials):
                    study.report(number, [epoch / (20 + number) for epoch in range(20)])
            at_work = _seen_by_others(data)
            told = "other users of this machine could read" in server.errors
            for command in (f"backup {out}/b.db", f"export s --to {out}/s.csv", f"export s --to {out}/s.parquet"):
                assert CliRunner().invoke(app, [*command.split(), "--data", str(data)]).exit_code == 0
            server.kill()
        seen = {*at_work, *_seen_by_others(data), *_seen_by_others(out, but=out)}
        n_files = len([*data.iterdir(), *out.iterdir()]) + 1
    finally:
        os.umask(before)
    return Found({"files and folders": n_files, "others can read": len(seen), "told": int(told)}, not seen and told)


def damaged(folder: Path, *, n_trials: int, n_pages: int, seed: int = 0) -> Found:
    """Any page of zeros, and a database without a byte, at a start of a server that did not write since."""
    data = folder / "data"
    data.mkdir()
    database, url = data / DATABASE_FILE, f"sqlite:///{data / DATABASE_FILE}"
    with closing(CurveStore(url)) as store:
        write(store, store.add_study(SETTINGS), log(n_trials, 20, decisions=True, seed=seed))
    begin = time.monotonic()
    CurveStore(url).close()
    seconds, n_told = time.monotonic() - begin, 0
    pages = random.Random(seed).sample(range(database.stat().st_size // PAGE), n_pages)
    for page in (*pages, None):
        hurt = folder / f"hurt-{page}"
        shutil.copytree(data, hurt)
        with (hurt / DATABASE_FILE).open("r+b") as file:
            if page is None:
                file.truncate(0)
            else:
                file.seek(page * PAGE)
                file.write(bytes(PAGE))
        status, message = refused("--port", "0", "--data", str(hurt))
        n_told += status == 2 and message.count("\n") == 1 and "is damaged" in message
        shutil.rmtree(hurt)
    figures = {
        "damaged databases": n_pages + 1, "told in one line, exit 2": n_told,
        "values": n_trials * 20, "s to open and check a whole one": round(seconds, 2),
    }  # fmt: skip
    return Found(figures, n_told == n_pages + 1)


def _seen_by_others(folder: Path, but: Path | None = None) -> set[Path]:
    return {path for path in (folder, *folder.iterdir()) if path != but and stat.S_IMODE(path.stat().st_mode) & OTHERS}


PROOFS = (
    Proof(
        23,
        "files are their owner's: umask 022, folder and token made before",
        "0 files or folders that others can read; the token is told",
        owner_only,
        full={"n_trials": 30},
        short={"n_trials": 2},
    ),
    Proof(
        23,
        "a damaged database: a page of zeros, no byte at all",
        "each start is refused in one line with exit status 2",
        damaged,
        full={"n_trials": 50_000, "n_pages": 24},
        short={"n_trials": 300, "n_pages": 2},
    ),
)
