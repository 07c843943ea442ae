"""Limits: what one tenant, connection or call may take of a server at most."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from curvestop.proto.endpoint import MAX_MESSAGE_BYTES
from curvestop.server.rpc.tenant_pools import MAX_CALLS
from curvestop.srm.study import Report, StudySettings

ENTRIES_BESIDE = 3  # of a report's values: the trial, its end, a decision
LOOK_AGAIN_AFTER = 10_000  # entries: other servers may store for the tenant too


class QuotaExceeded(RuntimeError):
    """A tenant has all it may have."""


@dataclass(frozen=True)
class Limits:
    """max_calls: of a tenant, running or waiting. max_studies, max_entries: of a tenant. max_connections: of all.

    handshake_s: in which a connection must be secured. metadata_bytes: of a call.
    """

    max_calls: int = MAX_CALLS
    max_studies: int = 1000
    max_entries: int = 100_000_000
    max_connections: int = 4096
    handshake_s: float = 5.0
    metadata_bytes: int = 8 << 10

    def check_room(self, studies: Sequence[StudySettings], name: str) -> None:
        """Raises QuotaExceeded when a tenant with these studies may not make one of this name."""
        if len(studies) >= self.max_studies and all(study.name != name for study in studies):
            raise QuotaExceeded(f"a tenant has at most {self.max_studies} studies, and study {name!r} would be one more")

    def grpc_options(self) -> tuple[tuple[str, int], ...]:
        return (
            ("grpc.so_reuseport", 0),  # with it, two servers share one port without a word
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_metadata_size", self.metadata_bytes),
            ("grpc.absolute_max_metadata_size", self.metadata_bytes),
            ("grpc.max_allowed_incoming_connections", self.max_connections),
            ("grpc.max_concurrent_streams", 2 * self.max_calls),
            ("grpc.server_handshake_timeout_ms", round(1000 * self.handshake_s)),
        )


LIMITS = Limits()


class EntryQuota:
    """What a tenant may still store, in entries of its logs: values, decisions, trials and their ends.

    n_stored: counts what there is, by whichever server it came. It is asked again when what it left is taken.
    """

    def __init__(self, n_stored: Callable[[], int], *, max_entries: int) -> None:
        self._n_stored, self._max_entries = n_stored, max_entries
        self._lock = threading.Lock()
        self._room = 0  # as far as it was looked at

    def take_known(self, report: Report) -> bool:
        """`take`, if there is room as far as one knows without counting; otherwise False and nothing is taken."""
        needed = _entries([report])
        with self._lock:
            has_room = needed <= self._room
            self._room -= needed if has_room else 0
        return has_room

    def take(self, reports: Iterable[Report]) -> None:
        """Raises QuotaExceeded when there may be no room for what these reports add."""
        needed = _entries(reports)
        with self._lock:
            if needed > self._room:
                stored = self._n_stored()
                self._room = min(self._max_entries - stored, needed + LOOK_AGAIN_AFTER)
                if needed > self._room:
                    self._room = 0
                    raise QuotaExceeded(
                        f"a tenant may store {self._max_entries} entries (values, decisions, trials), has {stored}, "
                        f"and this needs up to {needed} more"
                    )
            self._room -= needed


def _entries(reports: Iterable[Report]) -> int:
    """At most, of what they add."""
    return sum(len(report.values) + ENTRIES_BESIDE for report in reports)
