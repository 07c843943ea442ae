"""All promises of the service beside what was found: `python -m tests.proofs.prove` (`make prove`), or some with `--only`.

Each module in `MODULES` has a tuple `PROOFS`; add yours there.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.proofs.proof import Found, Proof

MODULES = (
    "kills",
    "mixed_kills",
    "power",
    "faults",
    "postgresql",
    "purity",
    "wire",
    "open_ended",
    "load",
    "tenants",
    "endings",
    "mutations",
    "restart",
    "hyperband_kills",
    "slow_links",
    "on_disk",
    "script_ends",
    "told",
)


LIMIT_S = 600.0
"""How long one proof may take."""


def proofs() -> tuple[Proof, ...]:
    """All of them, by promise."""
    found = [proof for module in MODULES for proof in import_module(f"tests.proofs.{module}").PROOFS]
    return tuple(sorted(found, key=lambda proof: proof.promise))


def run(chosen: Iterable[Proof], *, short: bool) -> list[tuple[Proof, Found, float]]:
    """Each with what it found and its seconds; one that raises has not kept its promise."""
    results = []
    for proof in chosen:
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="curvestop-prove-") as folder:
            found = _found(proof, Path(folder), short)
        seconds = time.monotonic() - begin
        results.append((proof, found, seconds))
        verdict = "kept" if found.kept else f"BROKEN: {dict(found.figures)}"
        print(f"{seconds:4.0f} s  promise {proof.promise}: {proof.name}: {verdict}", file=sys.stderr, flush=True)
    return results


def _found(proof: Proof, folder: Path, short: bool, *, limit_s: float = LIMIT_S) -> Found:
    """What it found; an error, or no end within the limit, is a promise that is not kept. Then stacks go to standard error."""
    told: queue.SimpleQueue[Found] = queue.SimpleQueue()

    def tell() -> None:
        try:
            told.put(proof(folder, short=short))
        except Exception as error:
            told.put(Found({"error": f"{type(error).__name__}: {error}"}, kept=False))

    threading.Thread(target=tell, daemon=True).start()
    try:
        return told.get(timeout=limit_s)
    except queue.Empty:
        faulthandler.dump_traceback()
        return Found({"error": f"no end within {limit_s:g} s"}, kept=False)


def show(results: Sequence[tuple[Proof, Found, float]]) -> None:
    table = Table(title="promises", title_justify="left", show_lines=True)
    for column in ("#", "proof", "target", "found", "", "s"):
        table.add_column(column, justify="right" if column in "#s" else "left", overflow="fold")
    for proof, found, seconds in results:
        figures = ", ".join(f"{value} {name}" for name, value in found.figures.items())
        verdict = "kept" if found.kept else "BROKEN"
        table.add_row(str(proof.promise), proof.name, proof.target, figures, verdict, f"{seconds:.0f}")
    Console(width=None if sys.stdout.isatty() else 180).print(table)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="the counts of the tests")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="proofs with one of these words in their name, or this number")
    options = parser.parse_args(argv)
    chosen = [p for p in proofs() if not options.only or any(w in p.name or w == str(p.promise) for w in options.only)]
    results = run(chosen, short=options.short)
    show(results)
    broken = [proof.name for proof, found, _ in results if not found.kept]
    print(json.dumps({"proofs": len(results), "broken": broken, "seconds": round(sum(s for *_, s in results))}))
    return 1 if broken else 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # not held up by what a proof that had no end left running
