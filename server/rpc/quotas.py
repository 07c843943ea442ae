"""Quotas and limits: how much of a server one tenant, connection or call may use."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from curvestop.proto.endpoint import KEEPALIVE_S, MAX_MESSAGE_BYTES
from curvestop.server.rpc.tenant_pools import MAX_CALLS
from curvestop.server.studies.registry import BYTES_OF_AN_ENTRY
from curvestop.srm.configuration import n_bytes_of
from curvestop.srm.report import Report

# Entries that a report may add beside its values: the trial, its end, a decision.
EXTRA_ENTRIES_PER_REPORT = 3
# The resume itself, and the end after it.
ENTRIES_PER_RESUME = 2
# After so many entries the store is counted again, because other servers may store for the tenant too.
RECOUNT_AFTER_ENTRIES = 10_000


class QuotaExceeded(RuntimeError):
    """A tenant has used up a quota; retrying does not help."""


@dataclass(frozen=True)
class Limits:
    """Limits of one server.

    Attributes:
        max_calls: Concurrent calls per tenant, running and waiting.
        max_studies: Studies per tenant.
        max_entries: Values, decisions, trials and their ends, and each BYTES_OF_AN_ENTRY bytes of configurations, per tenant, all
            studies together.
        max_connections: Connections of all clients together.
        handshake_s: Seconds in which a new connection must be secured, or it is closed.
        metadata_bytes: Maximum size of a call's metadata.
    """

    max_calls: int = MAX_CALLS
    max_studies: int = 1000
    max_entries: int = 100_000_000
    max_connections: int = 4096
    handshake_s: float = 5.0
    metadata_bytes: int = 8 << 10

    def grpc_options(self) -> tuple[tuple[str, int], ...]:
        """Return the limits as options of a gRPC server."""
        return (
            ("grpc.so_reuseport", 0),  # on (gRPC's default), two servers would silently share one port
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_metadata_size", self.metadata_bytes),
            ("grpc.absolute_max_metadata_size", self.metadata_bytes),
            ("grpc.max_allowed_incoming_connections", self.max_connections),
            # Of one connection. Twice the calls: beyond them the interceptor can still answer with a retry delay.
            ("grpc.max_concurrent_streams", 2 * self.max_calls),
            ("grpc.server_handshake_timeout_ms", round(1000 * self.handshake_s)),
            # A client whose epochs are long keeps its connection alive; who pings more often is disconnected.
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 500 * KEEPALIVE_S),
        )


DEFAULT_LIMITS = Limits()


class EntryQuota:
    """How many more log entries a tenant may store: values, decisions, trials and their ends.

    Counting the store is slow, so the quota reserves up to `RECOUNT_AFTER_ENTRIES` entries at a time and counts again when
    these are used up. A report reserves the most it may add; what it does not use is given back by the next count. Until it is
    released it is counted beside what is stored, so calls at once do not exceed the quota together.

    Args:
        n_stored: Counts the tenant's stored entries, whichever server stored them.
        max_entries: The tenant's quota, in entries.
    """

    def __init__(self, n_stored: Callable[[], int], *, max_entries: int) -> None:
        self._n_stored, self._max_entries = n_stored, max_entries
        self._lock = threading.Lock()
        self._reserved = 0  # entries that may be stored before the next count
        self._in_flight = 0  # entries that were taken, and may be stored or not

    def try_take(self, n: int) -> bool:
        """Take entries if that is possible without counting the store. Once they are stored, or refused, call `release`.

        Args:
            n: Most entries that a call may store; see `most_entries`.

        Returns:
            Whether they were taken; if not, nothing was, and `reserve` must be called in a thread that may wait.
        """
        with self._lock:
            if n > self._reserved:
                return False
            self._reserved -= n
            self._in_flight += n
            return True

    def reserve(self, n: int) -> None:
        """Count the store, which may wait, and reserve entries for whoever takes them first.

        Nothing is taken, so a caller who gives up meanwhile has nothing to release.

        Args:
            n: Most entries that a call may store; see `most_entries`.

        Raises:
            QuotaExceeded: If the tenant may exceed its quota with them.
        """
        with self._lock:
            if n <= self._reserved:
                return  # another caller counted meanwhile
            in_flight = self._in_flight  # before the count: what is stored meanwhile counts twice rather than not at all
            stored = self._n_stored()  # under the lock: others wait instead of counting too
            self._reserved = min(self._max_entries - stored - in_flight, n + RECOUNT_AFTER_ENTRIES)
            if n > self._reserved:
                self._reserved = 0
                raise QuotaExceeded(
                    f"a tenant may store {self._max_entries} entries (values, decisions, trials, and each "
                    f"{BYTES_OF_AN_ENTRY} bytes of configurations), has {stored}, and this call needs up to {n} more"
                )

    def take(self, n: int) -> None:
        """Take entries in a thread that may wait. Once they are stored, or refused, call `release`.

        Args:
            n: Most entries that a call may store; see `most_entries`.

        Raises:
            QuotaExceeded: If the tenant may exceed its quota with them.
        """
        while not self.try_take(n):
            self.reserve(n)

    def release(self, n: int) -> None:
        """Note that entries that were taken are stored now, or will never be.

        Args:
            n: As many as a call took that is over.
        """
        with self._lock:
            self._in_flight -= n


def most_entries(reports: Iterable[Report]) -> int:
    """Return how many entries reports may add to the log at most.

    Args:
        reports: The reports to store.
    """
    return sum(map(_most_entries_of_one, reports))


def _most_entries_of_one(report: Report) -> int:
    n_bytes = n_bytes_of(report.configuration) if report.configuration else 0
    return len(report.values) + EXTRA_ENTRIES_PER_REPORT + n_bytes // BYTES_OF_AN_ENTRY
