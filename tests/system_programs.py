"""System programs that some tests need and a bare machine lacks; tests skip what `.ci/packages` could not install."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path

import pytest

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


def postgres_programs() -> Path | None:
    """Return the folder of `initdb` and `pg_ctl`, of the newest version where there are several; None without PostgreSQL."""
    found = shutil.which("pg_ctl")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


def missing(needs: Iterable[str]) -> list[str]:
    """Return what to install of `needs`: names of programs, "faketime", "postgresql", "psycopg" or "submitit"."""
    checks: dict[str, Callable[[], bool]] = {
        "faketime": Path(FAKETIME).exists,
        "postgresql": lambda: postgres_programs() is not None,
        "psycopg": lambda: find_spec("psycopg") is not None,
        "submitit": lambda: find_spec("submitit") is not None,
    }
    return [name for name in needs if not (checks[name]() if name in checks else shutil.which(name))]


def skip_without(*needs: str) -> None:
    """Skip the test that runs, or the fixture's tests, where one of `needs` is missing."""
    if absent := missing(needs):
        pytest.skip(f"not installed: {', '.join(absent)}; as root, `bash .ci/packages` installs system packages")
