"""Incidents: what a person is told of a server that does not answer, once when it begins and once when it is over."""

from __future__ import annotations

import logging
import threading
import time

from curvestop.clients.remote.connection import OutOfTime, ServerTrouble

_log = logging.getLogger(__name__)


class Incidents:
    """Log what keeps a client from its server: each kind of trouble once until the server answers again. For several threads.

    Args:
        silent: Whether to log nothing, because the caller raises each trouble.

    Attributes:
        cause: The latest trouble; None while the server answers.
        fits_fail: Whether the server could not fit the study's models at its last try.

    Examples:
        >>> incidents = Incidents(silent=True)
        >>> incidents.begin(ServerTrouble("it cannot be reached"), "gpu1:7070")
        >>> incidents.begin(OutOfTime("earlier values are still being sent"), "gpu1:7070")
        >>> incidents.cause
        ServerTrouble('it cannot be reached')
        >>> incidents.end("gpu1:7070")
        >>> incidents.cause is None
        True
    """

    def __init__(self, *, silent: bool) -> None:
        self._silent = silent
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self._began_s = 0.0
        self.cause: ServerTrouble | None = None
        self.fits_fail = False

    def begin(self, trouble: ServerTrouble, address: str) -> None:
        """Record a trouble, and warn of it unless its kind was told in this incident.

        Args:
            trouble: Why a call had no answer.
            address: `HOST:PORT` of the server.
        """
        with self._lock:
            if self.cause is None:
                self._began_s = time.monotonic()
            # A call that others left no time says nothing of the server.
            if self.cause is None or not isinstance(trouble, OutOfTime):
                self.cause = trouble
            kind = type(trouble).__name__ if trouble.lasts else "outage"
            if self._silent or kind in self._told:
                return
            self._told.add(kind)
        if trouble.lasts:
            _log.warning("%s. No trial is stopped and no value is stored until this is corrected.", trouble.at(address))
        else:
            _log.warning("%s: training continues without stops; the values are sent later", trouble.at(address))

    def note_fits(self, failure: str, study: str, address: str) -> None:
        """Record whether a server could fit a study's models; a failure is told once, and that it is over.

        Args:
            failure: Which models could not be fitted, and why; empty if none failed.
            study: Name of the study.
            address: `HOST:PORT` of the server.
        """
        with self._lock:
            if bool(failure) == self.fits_fail:
                return
            self.fits_fail = bool(failure)
        if failure:
            _log.warning("study %r on server %s: %s; trials are judged without them", study, address, failure)
        else:
            _log.warning("study %r on server %s: its models are fitted again", study, address)

    def end(self, address: str) -> None:
        """Record that the server answered, and say so if a trouble was told.

        Args:
            address: `HOST:PORT` of the server.
        """
        with self._lock:
            was_told, seconds = bool(self._told), time.monotonic() - self._began_s
            self._told.clear()
            self.cause = None
        if was_told:
            _log.warning(
                "server %s answers again after %.0f s: what was kept is sent, and trials are stopped again", address, seconds
            )
