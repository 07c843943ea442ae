"""Which functions each test calls, in its process and in those that it starts: a plugin of pytest and a `sitecustomize`.

A process writes each function of the watched folder when it first calls it for a test, as `file:first line`, to the file that the
environment names; so what is killed has written, too.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

CALLS_FILE, WATCHED = "MUTANT_CALLS_FILE", "MUTANT_WATCHED"


LONGEST_CPU_S = 10.0
"""A test that takes longer is not run for mutants: it ends as one that failed."""


@dataclass(frozen=True)
class Call:
    """How long a test takes, on the clock and of all CPUs, and the functions that it calls, as `file:first line`."""

    wall_s: float
    cpu_s: float
    functions: Sequence[str]


Calls = Mapping[str, Call]
"""By test."""


def read_calls(path: Path) -> Calls:
    return {test: Call(*call) for test, call in json.loads(path.read_text()).items()}


class TookTooLong(BaseException):
    """Raised within such a test."""


def _give_up(number: int, frame: FrameType | None) -> None:
    raise TookTooLong


class Watch:
    """Watches the calls in this process, of all threads that are started from now on."""

    def __init__(self, root: str) -> None:
        self._root, self._prefixes = root, (root, os.path.join(root, ".links", "curvestop"))
        self._seen: set[CodeType] = set()
        self._file = -1
        sys.settrace(self._called)
        threading.settrace(self._called)

    def write_to(self, path: str) -> None:
        """From now on, as if nothing had been called yet."""
        if self._file >= 0:
            os.close(self._file)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._seen.clear()

    def _called(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if code in self._seen:
            return
        self._seen.add(code)
        if self._file >= 0 and code.co_filename.startswith(self._root):
            name = code.co_filename.removeprefix(self._prefixes[1]).removeprefix(self._root).lstrip("/")
            os.write(self._file, f"{name}:{code.co_firstlineno}\n".encode())


def watch_as_told() -> None:
    """For a process that a test starts."""
    if CALLS_FILE in os.environ:
        Watch(os.environ[WATCHED]).write_to(os.environ[CALLS_FILE])


class TestCalls:
    """Plugin: writes the calls of the tests that pass."""

    __test__ = False

    def __init__(self, root: Path, path: Path) -> None:
        self._path, self._watch = path, Watch(str(root))
        self._calls = path.with_suffix(".calls")
        self._tests: dict[str, Call] = {}
        os.environ[WATCHED] = str(root)
        signal.signal(signal.SIGPROF, _give_up)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._calls.write_bytes(b"")
        os.environ[CALLS_FILE] = str(self._calls)
        self._watch.write_to(str(self._calls))
        self._passed = True
        wall_s, cpu_s = time.monotonic(), _cpu_s()
        signal.setitimer(signal.ITIMER_PROF, LONGEST_CPU_S)
        try:
            result = yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0.0)
        if self._passed:
            functions = sorted(set(self._calls.read_text().split()))
            self._tests[item.nodeid] = Call(time.monotonic() - wall_s, _cpu_s() - cpu_s, functions)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._passed = self._passed and report.passed

    def pytest_sessionfinish(self) -> None:
        self._path.write_text(json.dumps({test: astuple(call) for test, call in self._tests.items()}))
        del os.environ[CALLS_FILE]


def _cpu_s() -> float:
    """Of this process and of those that it started and that ended."""
    return sum(os.times()[:4])


def install_for_processes(folder: Path) -> None:
    """Put a `sitecustomize` there, which must be on their path."""
    shutil.copy(__file__, folder / "mutant_calls_of_processes.py")
    (folder / "sitecustomize.py").write_text(
        "import os\nif 'MUTANT_CALLS_FILE' in os.environ:\n"
        "    from mutant_calls_of_processes import watch_as_told\n    watch_as_told()\n"
    )
