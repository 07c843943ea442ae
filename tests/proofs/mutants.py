"""Do the tests notice? `python -m tests.proofs.mutants` (`make mutants`): defects drawn at random, each in a copy of the sources.

First the tests run unchanged, and of each is noted how long it takes and which functions it calls. Then the mutants, one after
the other, each in a process of its own: the quickest tests that call the changed function run until one fails. A mutant for which
none fails survives; one that does not end is caught.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from tests.proofs.mutant_calls import Calls, TestCalls, install_for_processes, read_calls
from tests.proofs.mutant_edits import Edit, edits

ROOT = Path(__file__).parents[2]
MUTATED = ("srm", "hyperband", "server")
TESTS = (
    "tests/srm", "tests/hyperband", "tests/server", "tests/proto", "tests/test_cli.py",
    "tests/clients/optuna", "tests/clients/remote",
)  # fmt: skip
NOT_RUN = (
    "tests/hyperband/executors/test_ray.py",
    "tests/server/storage/test_store_postgres.py",
    "tests/server/rpc/test_node.py",
)
NOT_COPIED = shutil.ignore_patterns(
    ".git*", ".venv*", ".links", "__pycache__", ".*_cache", ".hypothesis", "build", "dist", "site", "runs", "out", "*.egg-info"
)
LIBRARIES = ("numpy", "scipy.optimize", "sklearn.svm", "grpc", "sqlalchemy", "optuna", "rich", "typer", "alembic")
TARGET = 0.95
BASELINE_S = 3600.0
BUDGET_CPU_S, AT_MOST = 20.0, 200  # of the tests for a mutant
TIMES, PATIENCE_S = 5.0, 60.0  # how much longer a mutant may take than its tests unchanged, and a busy machine's start beside it
SURVIVED, TEST_FAILED, NO_END = 0, 1, -1


def copied(folder: Path) -> Path:
    tree = folder / "tree"
    shutil.copytree(ROOT, tree, ignore=NOT_COPIED, symlinks=True)
    (tree / ".links").mkdir()
    (tree / ".links" / "curvestop").symlink_to("..")
    install_for_processes(tree / ".links")
    return tree


def in_child(tree: Path, run: Callable[[], int], *, limit_s: float, output: Path, keep_bytecode: bool = False) -> int:
    """Exit status of a fork of this process, which has the libraries loaded; all that it started ends with it."""
    child = os.fork()
    if child == 0:
        _become(tree, output, keep_bytecode)
        status = 99
        try:
            status = int(run())
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(status)
    deadline = time.monotonic() + limit_s
    while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.05)  # there is no event for this
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if ended == (0, 0):
        os.waitpid(child, 0)
        return NO_END
    return os.waitstatus_to_exitcode(ended[1])


def _become(tree: Path, output: Path, keep_bytecode: bool) -> None:
    """A process of the copy: its modules and tests come from there, and what it prints goes to the file."""
    os.setsid()
    os.chdir(tree)
    links = str(tree / ".links")
    # A mutant's bytecode would be taken for the original's: they may have the same size and second.
    sys.dont_write_bytecode = not keep_bytecode
    os.environ.update(PYTHONDONTWRITEBYTECODE="" if keep_bytecode else "1", PYTHONPATH=links)
    sys.path[:] = [links, *(path for path in sys.path if Path(path or ".").resolve() not in (ROOT, ROOT / ".links"))]
    for name in [name for name in sys.modules if name.partition(".")[0] in ("tests", "curvestop", "benchmarks")]:
        del sys.modules[name]
    sink = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(sink, 1)
    os.dup2(sink, 2)


def pytest_run(tests: Sequence[str], *options: str, plugins: Sequence[object] = ()) -> int:
    return pytest.main(["-q", "-p", "no:cacheprovider", *options, *tests], plugins=list(plugins))


def watched(tree: Path, folder: Path) -> Calls:
    """Run all tests unchanged, which also compiles what is imported."""
    path = folder / "calls.json"
    options = [f"--ignore={name}" for name in NOT_RUN]

    def run() -> int:
        return pytest_run(TESTS, *options, plugins=[TestCalls(tree, path)])

    in_child(tree, run, limit_s=BASELINE_S, output=folder / "unchanged", keep_bytecode=True)
    return read_calls(path)


class Mutants:
    """The copy, and what its tests call."""

    def __init__(self, tree: Path, calls: Calls, output: Path) -> None:
        self._tree, self._calls, self._output = tree, calls, output

    def tests_of(self, edit: Edit) -> list[str]:
        """The tests that call the function, those of the file's own name first, then the quickest, as far as the budget goes.

        Outside a function, all that call any function of the file. Where none is seen, the test files that name the module.
        """
        calls = self._calls
        callers = [test for test, call in calls.items() if f"{edit.file}:{edit.function}" in call.functions]
        callers = callers or [test for test, call in calls.items() if any(f.startswith(f"{edit.file}:") for f in call.functions)]
        if not callers:
            module = "curvestop." + edit.file.removesuffix(".py").replace("/", ".")
            found = sorted((self._tree / "tests").rglob("test_*.py"))
            return [str(path.relative_to(self._tree)) for path in found if module in path.read_text()]
        own, left_s = f"test_{Path(edit.file).stem}.py", BUDGET_CPU_S
        chosen: list[str] = []
        for test in sorted(callers, key=lambda test: (own not in test, calls[test].cpu_s)):
            if calls[test].cpu_s <= left_s and len(chosen) < AT_MOST:
                chosen.append(test)
                left_s -= calls[test].cpu_s
        return chosen

    def try_one(self, edit: Edit) -> tuple[int, str]:
        """Its exit status, and who noticed. A status of pytest that is no failed test counts if the original does not have it."""
        tests = self.tests_of(edit)
        if not tests:
            return SURVIVED, "no test calls it"
        limit_s = PATIENCE_S + TIMES * sum(self._calls[test].wall_s for test in tests if test in self._calls)
        limit_s += 0.0 if tests[0] in self._calls else BASELINE_S / 10
        status = self._run(edit.apply, edit.file, tests, limit_s)
        lines = self._output.read_text(errors="replace").splitlines()
        told = next((line[:140] for line in reversed(lines) if line.startswith(("FAILED", "ERROR"))), f"{len(tests)} tests")
        if status not in (SURVIVED, TEST_FAILED, NO_END) and self._run(bytes, edit.file, tests, limit_s) != 0:
            raise RuntimeError(f"its tests cannot run unchanged: {self._output.read_text(errors='replace')[-1000:]}")
        return status, told

    def _run(self, change: Callable[[bytes], bytes], name: str, tests: Sequence[str], limit_s: float) -> int:
        file = self._tree / name
        source = file.read_bytes()
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
            compiled.unlink()
        file.write_bytes(change(source))
        try:
            return in_child(self._tree, lambda: pytest_run(tests, "-x"), limit_s=limit_s, output=self._output)
        finally:
            file.write_bytes(source)


def drawn(tree: Path, *, seed: int, only: Sequence[str]) -> list[Edit]:
    """All edits, in random order."""
    files = sorted(path for package in MUTATED for path in (tree / package).rglob("*.py"))
    found = [edit for path in files for edit in edits(str(path.relative_to(tree)), path.read_bytes())]
    random.Random(seed).shuffle(found)
    return [edit for edit in found if not only or any(word in f"{edit.file}:{edit.line}:" for word in only)]


def show(survivors: Sequence[Edit], tree: Path) -> None:
    table = Table(title="survivors", title_justify="left")
    for column in ("place", "kind", "line", "change"):
        table.add_column(column, overflow="fold")
    for edit in sorted(survivors):
        source = (tree / edit.file).read_bytes()
        line, before = source.splitlines()[edit.line - 1].decode().strip(), source[edit.begin : edit.end].decode()
        table.add_row(f"{edit.file}:{edit.line}", edit.kind, line, f"{before} -> {edit.text}")
    Console(width=None if sys.stdout.isatty() else 200).print(table)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sample", type=int, default=50, help="how many mutants (default: %(default)s); 0: all, which takes days"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: %(default)s)")
    parser.add_argument("--only", nargs="+", default=(), metavar="FILE:LINE:", help="mutants of places that contain one of these")
    parser.add_argument("--calls", type=Path, help="what the unchanged tests called: read if it is there, else written")
    options = parser.parse_args(argv)
    for library in LIBRARIES:
        import_module(library)
    gc.freeze()  # so that forks share their memory
    with tempfile.TemporaryDirectory(prefix="curvestop-mutants-") as name:
        folder = Path(name)
        tree = copied(folder)
        if options.calls and options.calls.exists():
            calls = read_calls(options.calls)
        else:
            calls = watched(tree, folder)
            if options.calls:
                shutil.copy(folder / "calls.json", options.calls)
        mutants, survivors = Mutants(tree, calls, folder / "output"), []
        sample = drawn(tree, seed=options.seed, only=options.only)[: options.sample or None]
        for number, edit in enumerate(sample, start=1):
            status, told = mutants.try_one(edit)
            survivors += [edit] if status == SURVIVED else []
            verdict = {SURVIVED: "SURVIVED", NO_END: "caught, it had no end"}.get(status, "caught")
            what = f"{edit.file}:{edit.line} {edit.kind} -> {edit.text[:50]!r}"
            print(f"{number:4d} {verdict}: {what} ({told})", file=sys.stderr, flush=True)
        show(survivors, tree)
    caught = len(sample) - len(survivors)
    share = caught / max(1, len(sample))
    print(json.dumps({"mutants": len(sample), "caught": caught, "share": round(share, 3)}))
    return 0 if share >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
