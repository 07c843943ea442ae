"""What the dashboard answers: its page, and as JSON the studies, what is new of one, and what that comes to. Nothing writes."""

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

from curvestop.clients.remote.connection import ServerTrouble
from curvestop.clients.reports.study_log import Calls, StudyFollower
from curvestop.clients.reports.study_report import about, stops, summary, trust
from curvestop.clients.reports.trial_rows import changed_rows
from curvestop.proto import codec
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.endpoint import UnknownStudy

ASK_S = 5.0
MOST_FOLLOWED = 8
PAGES_AT_ONCE = 10  # so that a page shows something soon
TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml", "html": "text/html"}

ReadRun = Callable[[], Mapping[str, Any]]


class Dashboard:
    """Studies of a server, each read once and then only what is new. For several threads.

    read_run: tells of a run of `hyperband run`, see `curvestop.hyperband.run.bracket_table`.
    """

    def __init__(self, server: Calls, *, address: str, read_run: ReadRun | None = None) -> None:
        self._server, self._address, self._read_run = server, address, read_run
        self._lock = threading.Lock()
        self._followed: OrderedDict[str, tuple[threading.Lock, list[StudyFollower]]] = OrderedDict()

    def overview(self, request: Request) -> Response:
        state = {"address": self._address, "ok": True, "run": None if self._read_run is None else self._read_run()}
        began = time.perf_counter()
        try:
            names = [study.name for study in self._server.call("ListStudies", pb.ListStudiesRequest(), deadline_s=ASK_S).studies]
            answered_ms = 1e3 * (time.perf_counter() - began)
            return JSONResponse({**state, "answered_ms": answered_ms, "studies": list(map(self._status, names))})
        except ServerTrouble as trouble:
            return JSONResponse({**state, "ok": False, "problem": str(trouble)})

    def study(self, request: Request) -> Response:
        after = request.query_params.get("after", "0")
        lock, followed = self._find(request)
        with lock:
            so_far = followed.read(most_pages=PAGES_AT_ONCE)
            known = int(after) if after.isdecimal() and int(after) <= so_far.last else 0
            rows = changed_rows(so_far, after=known)
            told = {"version": so_far.last, "more": followed.n_unread, "trials": rows, "anew": known == 0}
            return JSONResponse({"study": about(so_far), **told})

    def insight(self, request: Request) -> Response:
        lock, followed = self._find(request)
        with lock:
            so_far = followed.read(most_pages=PAGES_AT_ONCE)
            return JSONResponse({"summary": summary(so_far), "trust": trust(so_far), "stops": stops(so_far)})

    def _status(self, name: str) -> dict[str, Any]:
        request = pb.GetStudyRequest(study=name)
        status = codec.status_from_proto(self._server.call("GetStudy", request, deadline_s=ASK_S))
        fitted = max((model.n_fitted for model in status.models), default=0)
        return {"name": name, "n_trials": dict(status.n_trials), "n_fitted": fitted, "fitted": status.fitted}

    def _find(self, request: Request) -> tuple[threading.Lock, StudyFollower]:
        """Raises UnknownStudy, ServerTrouble."""
        name = request.query_params.get("name", "")
        with self._lock:
            lock, holder = self._followed.setdefault(name, (threading.Lock(), []))
            self._followed.move_to_end(name)
            while len(self._followed) > MOST_FOLLOWED:
                self._followed.popitem(last=False)
        with lock:
            if not holder:
                try:
                    holder.append(StudyFollower(self._server, name))
                except Exception:
                    with self._lock:
                        self._followed.pop(name, None)
                    raise
        return lock, holder[0]


def application(dashboard: Dashboard) -> Starlette:
    return Starlette(
        routes=[
            Route("/", lambda request: _file("index.html")),
            *(Route(f"/static/{name}", _served(name)) for name in ("style.css", "charts.js", "page.js", "icon.svg")),
            Route("/api/overview", dashboard.overview),
            Route("/api/study", dashboard.study),
            Route("/api/insight", dashboard.insight),
        ],
        exception_handlers={
            UnknownStudy: lambda request, error: PlainTextResponse(str(error), 404),
            ServerTrouble: lambda request, error: PlainTextResponse(f"the server does not answer: {error}", 502),
        },
    )


def _served(name: str) -> Callable[[Request], Response]:
    return lambda request: _file(name)


def _file(name: str) -> Response:
    content = (files("curvestop.clients.dashboard") / "static" / name).read_bytes()
    return Response(content, media_type=TYPES[name.rpartition(".")[2]])
