"""Promise 24: what `make mutants` cannot draw. A defect is put into a copy of the sources, and a named test must fail on it.

Add yours to `MUTATIONS`. A defect whose place is not found any more, and a test that cannot run, are errors and not catches.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import curvestop
from tests.proofs.proof import Found, Proof

PACKAGES = ("proto", "srm", "hyperband", "server", "clients")
ROOT = Path(__file__).parents[2]
TEST_FAILED = 1  # pytest's exit status; others are for tests that could not run
LONGEST_S = 600


@dataclass(frozen=True)
class Mutation:
    """file: in `curvestop/`. defect: takes the place of `code`, which is there once. caught_by: arguments of pytest."""

    name: str
    file: str
    code: str
    defect: str
    caught_by: Sequence[str]


PROOF = "tests/proofs/test_proofs.py::test_the_promise_is_kept"

EARLY_ACK = """
        import threading
        import time
        made = threading.Event()

        def apply_and_commit() -> None:
            with store.transaction() as transaction:
                for study, entries in decided:
                    study.append(entries, transaction)
                made.set()
                time.sleep(0.02)

        threading.Thread(target=apply_and_commit).start()
        made.wait()
"""

MUTATIONS = (
    Mutation(
        "no unique key of trials",
        "server/storage/migrations/versions/v0002_in_order.py",
        'Column("configuration", JSON, nullable=False), unique=("trial",))',
        'Column("configuration", JSON, nullable=False))',
        ["tests/server/storage/test_store.py", "-k", "what_is_there_is_not_there_twice"],
    ),
    Mutation(
        "synchronous=NORMAL",
        "server/storage/engine.py",
        "PRAGMA synchronous=FULL",
        "PRAGMA synchronous=NORMAL",
        [PROOF, "-k", "power"],
    ),
    Mutation(
        "ack before commit",
        "server/studies/commands.py",
        "        with store.transaction() as transaction:\n            for study, entries in decided:\n"
        "                study.append(entries, transaction)\n",
        EARLY_ACK,
        [PROOF, "-k", "SIGKILL and load"],
    ),
    Mutation(
        "catch and continue on an fsync error",
        "server/storage/store.py",
        '                self._closed_because = f"the store failed: {error}"\n                self._on_failure(error)\n'
        "                raise StoreUnavailable(self._closed_because) from error\n",
        '                raise StoreUnavailable("try again") from error\n',
        [PROOF, "-k", "fsync"],
    ),
)


def mutations(folder: Path, *, n_mutations: int) -> Found:
    chosen = MUTATIONS[:n_mutations]
    missed = [mutation.name for mutation in chosen if not caught(mutation, folder / str(MUTATIONS.index(mutation)))]
    figures: dict[str, int | float | str] = {
        "defects": len(chosen), "caught": len(chosen) - len(missed), "missed": ", ".join(missed) or "none",
    }  # fmt: skip
    return Found(figures, not missed)


def caught(mutation: Mutation, site: Path) -> bool:
    (site / "curvestop").mkdir(parents=True)
    source = Path(curvestop.__file__).parent  # a checkout, or the installed wheel that is tested
    for module in source.glob("*.py"):
        shutil.copy(module, site / "curvestop")
    for package in PACKAGES:
        shutil.copytree(source / package, site / "curvestop" / package, ignore=shutil.ignore_patterns("__pycache__"))
    file = site / "curvestop" / mutation.file
    code = file.read_text()
    if code.count(mutation.code) != 1:
        raise ValueError(f"{mutation.name}: the code to be changed is {code.count(mutation.code)} times in {mutation.file}")
    file.write_text(code.replace(mutation.code, mutation.defect))
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *mutation.caught_by],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )
    if ended.returncode not in (0, TEST_FAILED):
        raise ValueError(f"{mutation.name}: its test could not run: {ended.stdout[-500:]}{ended.stderr[-500:]}")
    return ended.returncode == TEST_FAILED


PROOFS = (
    Proof(
        24,
        "defects of what is on disk",
        "each is caught by a named test",
        mutations,
        full={"n_mutations": len(MUTATIONS)},
        short={"n_mutations": 1},
    ),
)
