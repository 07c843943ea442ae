"""The log that `write_log.c` makes, and the files as they would be after a power cut at any place in it."""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".c")
WRITE, TRUNCATE, SYNC = 1, 2, 3
SUFFIXES = ("", "-wal")
HEAD = struct.Struct("4Q")
SECTOR = 512


@dataclass(frozen=True)
class Operation:
    """end: the place in the log after it. file: of `SUFFIXES`."""

    end: int
    kind: int
    file: int
    offset: int
    data: bytes


def compiled(folder: Path) -> Path:
    """The library. Needs gcc."""
    library = folder / "write_log.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, SOURCE, "-ldl", "-lpthread"], check=True)
    return library


def logging_to(log: Path, *, database: Path, library: Path, fsync_fails_at: int = 0) -> Mapping[str, str]:
    """The environment of a process whose writes are logged."""
    fails = {"FSYNC_FAILS_AT": str(fsync_fails_at)} if fsync_fails_at else {}
    return {"LD_PRELOAD": str(library), "WRITE_LOG": str(log), "WRITE_LOG_OF": str(database), **fails}


def operations(log: Path) -> Iterator[Operation]:
    with log.open("rb") as file:
        while len(head := file.read(HEAD.size)) == HEAD.size:
            kind, which, offset, size = HEAD.unpack(head)
            data = file.read(size)
            yield Operation(file.tell(), kind, which, offset, data)


@dataclass
class Disk:
    """Files of which only what was synced is certain."""

    synced: list[bytearray] = field(default_factory=lambda: [bytearray() for _ in SUFFIXES])
    pending: list[list[Operation]] = field(default_factory=lambda: [[] for _ in SUFFIXES])

    def apply(self, operation: Operation) -> None:
        if operation.kind == SYNC:
            for waiting in self.pending[operation.file]:
                _change(self.synced[operation.file], waiting)
            self.pending[operation.file].clear()
        else:
            self.pending[operation.file].append(operation)

    def cut(self, database: Path, *, survives: float, rng: random.Random) -> None:
        """Write the files as they may be after a power cut: each sector that was not synced survives with this probability."""
        for suffix, synced, pending in zip(SUFFIXES, self.synced, self.pending, strict=True):
            content = bytearray(synced)
            for operation in pending:
                for part in _sectors(operation):
                    if rng.random() < survives:
                        _change(content, part)
            database.with_name(database.name + suffix).write_bytes(content)


def _sectors(operation: Operation) -> Iterator[Operation]:
    if operation.kind == TRUNCATE:
        yield operation
    position = 0
    while position < len(operation.data):
        offset = operation.offset + position
        size = SECTOR - offset % SECTOR
        yield Operation(operation.end, WRITE, operation.file, offset, operation.data[position : position + size])
        position += size


def _change(content: bytearray, operation: Operation) -> None:
    if operation.kind == TRUNCATE:
        del content[operation.offset :]
    if len(content) < operation.offset:
        content.extend(bytes(operation.offset - len(content)))
    content[operation.offset : operation.offset + len(operation.data)] = operation.data
