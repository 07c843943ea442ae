"""A private PostgreSQL for tests: its own folder, socket and user; nothing outside it is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from itertools import count
from pathlib import Path

from tests.system_programs import postgres_programs

MEMORY = "/dev/shm"
RUN_AS = "postgres"  # initdb refuses root


class Postgres:
    """Started when made; `close` stops it and removes its folder. Raises FileNotFoundError when PostgreSQL is not installed."""

    def __init__(self, **settings: str) -> None:
        self._programs = _programs()
        self._folder = Path(tempfile.mkdtemp(prefix="curvestop-postgres-", dir=_fast_disk()))
        self._as: tuple[str, ...] = ()
        if os.geteuid() == 0:
            self._as = ("runuser", "-u", RUN_AS, "--")
            shutil.chown(self._folder, RUN_AS, RUN_AS)
        self._data = self._folder / "data"
        self._numbers = count()
        self._run("initdb", "-D", self._data, "-A", "trust", "-U", "curvestop", "-E", "UTF8", "--no-locale", "--no-sync")
        self.set(recovery_init_sync_method="syncfs", **settings)
        self.start()

    def set(self, **settings: str) -> None:
        """Settings of the server from its next start on."""
        with (self._data / "postgresql.auto.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def start(self) -> None:
        """Returns when connections are taken."""
        options = f"-k {self._folder} -c listen_addresses= -c max_connections=200"
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", self._folder / "log", "-o", options)

    def stop(self, mode: str = "fast") -> None:
        """mode: "fast", or "immediate", which is a crash."""
        self._run("pg_ctl", "stop", "-w", "-D", self._data, "-m", mode)

    def database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test{next(self._numbers)}"
        import psycopg  # the extra `postgres`: tests are collected without it

        with psycopg.connect(host=str(self._folder), user="curvestop", dbname="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://curvestop@/{name}?host={self._folder}"

    def close(self) -> None:
        self.stop("immediate")
        shutil.rmtree(self._folder)

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [*self._as, self._programs / program, *arguments]
        # Output to a file: the server keeps it open, so a pipe would never end.
        with (self._folder / "output").open("w+") as output:
            ended = subprocess.run(command, stdout=output, stderr=output, cwd=self._folder, check=False)
            output.seek(0)
            assert ended.returncode == 0, f"{program}: {output.read()}"


def _fast_disk() -> str | None:
    """Memory where there is enough of it: a crash of PostgreSQL is not one of the machine."""
    return MEMORY if os.path.isdir(MEMORY) and shutil.disk_usage(MEMORY).free > 2 << 30 else None


def _programs() -> Path:
    programs = postgres_programs()
    if programs is None:
        raise FileNotFoundError("PostgreSQL is not installed: as root, `bash .ci/packages` installs it")
    return programs
