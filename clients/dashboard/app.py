"""The dashboard's web application: its page, and as JSON a list of studies, what is new of one, and a report on it.

Nothing here writes: the server is only asked.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from curvestop.clients.remote.connection import Refused, ServerTrouble
from curvestop.clients.reports.study_log import ServerCalls, StudyFollower
from curvestop.clients.reports.study_report import calibration_section, settings_section, stops, summary
from curvestop.clients.reports.trial_rows import changed_rows
from curvestop.proto import codec
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.endpoint import UnknownStudy
from curvestop.proto.listing import listed_studies

CALL_DEADLINE_S = 5.0

MAX_FOLLOWED_STUDIES = 8
"""Most studies kept in memory; the one not asked about for longest is dropped and read again when needed."""

MOST_DIGITS = 19
"""Digits of the largest number of a log entry."""

PAGES_PER_REQUEST = 10
"""Most pages of the log that one request reads."""
FIRST_PAGES = 2
"""Most pages that the first request for a study reads, so that it shows something soon."""

STATIC_FILES = ("style.css", "charts.js", "tables.js", "filter.js", "parameters.js", "page.js", "icon.svg")
"""What the page loads; named one by one, so that no path can lead to another file."""

MEDIA_TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "html": "text/html"}

ReadRun = Callable[[], Mapping[str, Any]]
"""Returns what a run of `hyperband run` has done, see `curvestop.hyperband.run.run_reader`."""


class Dashboard:
    """The studies of a server, each read once and then only what is new. Safe for several threads.

    Args:
        server: Calls the server's methods.
        address: The server's address, to show.
        read_run: Returns the state of a run of `hyperband run` to show beside the studies. Default: show none.
    """

    def __init__(self, server: ServerCalls, *, address: str, read_run: ReadRun | None = None) -> None:
        self._server, self._address, self._read_run = server, address, read_run
        self._lock = threading.Lock()
        # By name, the latest asked about last: a lock for each study, and its follower once it exists.
        self._followed: OrderedDict[str, tuple[threading.Lock, list[StudyFollower]]] = OrderedDict()

    def overview(self, request: Request) -> Response:
        """Answer with the server's state and the status of each study.

        Args:
            request: The page's request; it has no parameters.

        Returns:
            A JSON object; "ok" is false, with a "problem", if the server does not answer.
        """
        state = {"address": self._address, "ok": True, "run": None if self._read_run is None else self._read_run()}
        began = time.perf_counter()
        try:
            listed = list(listed_studies(lambda request: self._server.call("ListStudies", request, deadline_s=CALL_DEADLINE_S)))
            # Only this is timed: it is the same size whatever the studies do.
            latency_ms = 1e3 * (time.perf_counter() - began)
            studies = [self._status(study.name) for study in listed]
            return JSONResponse({**state, "latency_ms": latency_ms, "studies": studies})
        except ServerTrouble as trouble:
            # Shown on the page, which keeps what it has.
            return JSONResponse({**state, "ok": False, "problem": str(trouble)})

    def study(self, request: Request) -> Response:
        """Answer with a study's settings and the trials that changed after the log entry that the page has seen last.

        Args:
            request: The page's request, with the parameters `name` and `after` (number of a log entry; 0 for all trials).

        Returns:
            A JSON object; "full" says that the page must forget what it has, "n_unread" how many entries to ask for again.

        Raises:
            UnknownStudy: If the server has no study of that name.
            ServerTrouble: If the server does not answer.
        """
        after = request.query_params.get("after", "0")
        lock, follower = self._find(request)
        with lock:
            view = follower.read(most_pages=PAGES_PER_REQUEST if follower.view.n_entries else FIRST_PAGES)
            seen = _number(after)
            if seen > view.n_entries:  # of another store: send everything
                seen = 0
            return JSONResponse(
                {
                    "study": settings_section(view),
                    "trials": changed_rows(view, after=seen),
                    "full": seen == 0,
                    "n_entries": view.n_entries,
                    "n_unread": follower.n_unread,
                }
            )

    def report(self, request: Request) -> Response:
        """Answer with a study's summary, the calibration of its predictions, and its stops.

        Args:
            request: The page's request, with the parameter `name`.

        Raises:
            UnknownStudy: If the server has no study of that name.
            ServerTrouble: If the server does not answer.
        """
        lock, follower = self._find(request)
        with lock:
            view = follower.read(most_pages=PAGES_PER_REQUEST)
            return JSONResponse({"summary": summary(view), "calibration": calibration_section(view), "stops": stops(view)})

    def _status(self, name: str) -> dict[str, Any]:
        request = pb.GetStudyRequest(study=name)
        try:
            status = codec.status_from_proto(self._server.call("GetStudy", request, deadline_s=CALL_DEADLINE_S))
        except Refused:  # a study that the server cannot load; the others are shown
            return {"name": name, "n_trials": {}, "n_fitted": 0, "fitted": True, "shadow": False}
        n_fitted = max((model.n_fitted for model in status.models), default=0)
        return {
            "name": name,
            "n_trials": dict(status.n_trials),
            "n_fitted": n_fitted,
            "fitted": status.fitted,
            "shadow": status.settings.shadow,
        }

    def _find(self, request: Request) -> tuple[threading.Lock, StudyFollower]:
        """Return the follower of the study that a request names, and its lock. Raises UnknownStudy or ServerTrouble."""
        name = request.query_params.get("name", "")
        # Two locks: this one is never held during a call to the server, so a slow study does not delay the others.
        with self._lock:
            lock, holder = self._followed.setdefault(name, (threading.Lock(), []))
            self._followed.move_to_end(name)
            while len(self._followed) > MAX_FOLLOWED_STUDIES:
                self._followed.popitem(last=False)
        with lock:
            if not holder:
                try:
                    holder.append(StudyFollower(self._server, name))
                except Exception:
                    # Names that do not exist must not push real studies out.
                    with self._lock:
                        self._followed.pop(name, None)
                    raise
        return lock, holder[0]


def _number(text: str) -> int:
    """Return a number of a log entry; 0 for what is none. `int` refuses thousands of digits, which no entry has."""
    return int(text) if text.isdecimal() and len(text) <= MOST_DIGITS else 0


def application(dashboard: Dashboard) -> Starlette:
    """Return the web application that shows a dashboard. It checks no access: put it behind a `Guard`.

    Args:
        dashboard: The studies to show.
    """
    return Starlette(
        routes=[
            Route("/", lambda request: _file("index.html")),
            *(Route(f"/static/{name}", _static_route(name)) for name in STATIC_FILES),
            Route("/api/overview", dashboard.overview),
            Route("/api/study", dashboard.study),
            Route("/api/report", dashboard.report),
        ],
        exception_handlers={
            UnknownStudy: lambda request, error: PlainTextResponse(str(error), 404),
            ServerTrouble: lambda request, error: PlainTextResponse(f"the server {error.verb}: {error}", 502),
        },
    )


def _static_route(name: str) -> Callable[[Request], Response]:
    return lambda request: _file(name)


def _file(name: str) -> Response:
    content = (files("curvestop.clients.dashboard") / "static" / name).read_bytes()
    return Response(content, media_type=MEDIA_TYPES[name.rpartition(".")[2]])
