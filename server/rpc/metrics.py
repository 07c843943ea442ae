"""Metrics: what a server did, counted for Prometheus, and each request logged under an id that the caller sees too."""

from __future__ import annotations

import logging
import math
import re
import threading
import uuid
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import grpc
from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.endpoint import LOOPBACK, host_of
from curvestop.server.rpc.tenant_pools import TenantPools
from curvestop.srm.curve import Decision
from curvestop.srm.report import Report
from curvestop.srm.settings import StudySettings

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

REQUEST_ID = "x-request-id"
"""Metadata key of a request's id: read from the caller, sent back with errors."""

REQUEST_S = 10.0
"""Longest time that a request for the metrics may take to arrive."""

LATENCY_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
FIT_BUCKETS_S = (0.01, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0)
MAX_OPEN_PREDICTIONS = 10_000
WITHIN_SIGMAS = 1.96
"""95 % of final values should lie within this many predicted standard deviations of the predicted mean."""

TrialKey = tuple[str, str, str]
"""Tenant, study, trial."""

# Short and plain, so that a caller cannot write whatever it likes into our log.
_SAFE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_generated_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_log = logging.getLogger(__name__)


def request_id(context: grpc.ServicerContext) -> str:
    """Return the request's id: the caller's own if it is fit for a log, otherwise one that we generate once per request.

    Args:
        context: Holds the call's metadata.

    Returns:
        1-64 letters, digits, dashes and underscores, the same for a call however often it is asked for.
    """
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID and isinstance(value, str) and _SAFE_ID.fullmatch(value):
            return value
    generated = _generated_id.get()
    if generated is None:
        generated = uuid.uuid4().hex[:12]
        _generated_id.set(generated)
    return generated


class Metrics:
    """Counters of one server since its start, in a Prometheus registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "curvestop_requests", "Calls by method and status.", ["method", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "curvestop_request_seconds", "Seconds per call.", ["method"], buckets=LATENCY_BUCKETS_S, registry=self.registry
        )
        self._decisions = Counter("curvestop_decisions", "Decisions by whether they stop.", ["stop"], registry=self.registry)
        self._fits = Counter("curvestop_fits", "Model fits of all studies.", registry=self.registry)
        self._fit_seconds = Histogram(
            "curvestop_fit_seconds", "CPU seconds per model fit.", registry=self.registry, buckets=FIT_BUCKETS_S
        )
        self._calibration = Counter(
            "curvestop_predictions_checked",
            f"Complete trials by whether the final value was within {WITHIN_SIGMAS} sigma of the first prediction (goal: 95 %).",
            ["within"],
            registry=self.registry,
        )
        # Labelled once, as every report counts here.
        self._stops, self._continues = self._decisions.labels("true"), self._decisions.labels("false")
        self._call_counters: dict[tuple[str, str], tuple[Any, Any]] = {}  # a cache: looking labels up is slow
        self._predictions = OpenPredictions()

    def record_call(self, method: str, status: str, seconds: float, context: grpc.ServicerContext) -> None:
        """Count an answered call, and log it at level debug.

        Args:
            method: The method's short name.
            status: The status name it was answered with.
            seconds: Time from the request to the answer.
            context: Knows the request's id.
        """
        # Every call passes here, hence the cache of labelled counters.
        counters = self._call_counters.get((method, status))
        if counters is None:
            counters = self._requests.labels(method, status), self._seconds.labels(method)
            self._call_counters[method, status] = counters
        counters[0].inc()
        counters[1].observe(seconds)
        if _log.isEnabledFor(logging.DEBUG):
            fields = {"request_id": request_id(context), "method": method, "status": status, "ms": round(1e3 * seconds, 2)}
            _log.debug("answered", extra=fields)

    def record_refusal(self, method: str, status: str) -> None:
        """Count a call that the interceptor refused.

        Args:
            method: The full method name, as the caller sent it; an unknown one is counted as "other".
            status: The status name it was refused with.
        """
        # Invented names would otherwise fill the memory with one time series each.
        short_name = method.rpartition("/")[2]
        label = short_name if short_name in pb.DESCRIPTOR.services_by_name["EarlyStopping"].methods_by_name else "other"
        self._requests.labels(label, status).inc()

    def record_reports(self, tenant: str, study: StudySettings, answered: Sequence[tuple[Report, Decision]]) -> None:
        """Count decisions, and check the first prediction of each trial that reported its last epoch.

        Args:
            tenant: The tenant's name.
            study: Settings of the study.
            answered: The reports and their decisions.
        """
        n_asked = n_stops = 0
        for report, decision in answered:
            if report.ask:
                n_asked, n_stops = n_asked + 1, n_stops + decision.stop
                # Only forecasts of the final value can be checked; those for a rung are compared inside the rung.
                if decision.prediction is not None and report.target_epoch is None:
                    self._predictions.add((tenant, study.name, report.trial), *decision.prediction)
            # The report that brings the last epoch completes the trial.
            if report.values and report.first_epoch + len(report.values) - 1 == study.max_epochs:
                within = self._predictions.check((tenant, study.name, report.trial), report.values[-1])
                if within is not None:
                    self._calibration.labels(str(within).lower()).inc()
        self._stops.inc(n_stops)
        self._continues.inc(n_asked - n_stops)

    def record_fit(self, seconds: float) -> None:
        """Count a model fit and its CPU seconds.

        Args:
            seconds: CPU seconds, without the rests of a fit in the background.
        """
        self._fits.inc()
        self._fit_seconds.observe(seconds)

    def show_calls_in_progress(self, pools: TenantPools) -> None:
        """Also export how many calls of each tenant run or wait.

        Args:
            pools: The pools of the same server; registered once.
        """
        self.registry.register(_CallsInProgress(pools))

    def serve(self, port: int) -> tuple[int, Any]:
        """Serve the metrics over HTTP on the loopback interface.

        Args:
            port: The port; 0 picks a free one.

        Returns:
            The port, and a function that ends the service.

        Raises:
            OSError: If the port is in use.
        """
        server, thread = start_http_server(port, addr=LOOPBACK["localhost"], registry=self.registry)
        # The stubs know neither that there is an application, nor that the handler is a class.
        app: Any = server.get_app()
        handler: Any = server.RequestHandlerClass
        server.set_app(_for_this_machine(app))
        server.RequestHandlerClass = type("Handler", (handler,), {"timeout": REQUEST_S})

        # Closing the socket too: prometheus_client leaves that to the garbage collector, which warns.
        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return server.server_port, close


class OpenPredictions:
    """The first prediction of the final value of each running trial, for the newest trials.

    Args:
        size: Maximum number of trials; the oldest are forgotten first.
    """

    def __init__(self, size: int = MAX_OPEN_PREDICTIONS) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._open: OrderedDict[TrialKey, tuple[float, float]] = OrderedDict()

    def add(self, trial: TrialKey, mean: float, sigma: float) -> None:
        """Remember a trial's prediction, unless there is an earlier one.

        Args:
            trial: Tenant, study and trial.
            mean: Of the final value, in the metric.
            sigma: Standard deviation of the same, >= 0.
        """
        with self._lock:
            # The first prediction counts: later ones have seen more of the curve and are better for that reason alone.
            if trial not in self._open:
                self._open[trial] = mean, sigma
                if len(self._open) > self._size:
                    self._open.popitem(last=False)  # the oldest

    def check(self, trial: TrialKey, final_value: float) -> bool | None:
        """Compare a trial's final value with its prediction, which is then forgotten.

        Args:
            trial: The trial.
            final_value: The metric after the last epoch; not finite if the trial diverged.

        Returns:
            Whether the value is within `WITHIN_SIGMAS` of the mean; None without a prediction or if the trial diverged.
        """
        with self._lock:
            # Forgotten in any case: a diverged trial says nothing about calibration either.
            expected = self._open.pop(trial, None)
        if expected is None or not math.isfinite(final_value):
            return None
        mean, sigma = expected
        return abs(final_value - mean) <= WITHIN_SIGMAS * sigma


def _for_this_machine(app: WSGIApplication) -> WSGIApplication:
    """Refuse requests by another host name: a web page that points its own name here would read tenants' names."""

    def checked(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if host_of(environ.get("HTTP_HOST", "localhost")) in LOOPBACK:
            return app(environ, start_response)
        start_response("421 Misdirected Request", [("Content-Type", "text/plain")])
        return [b"metrics are served as 127.0.0.1, ::1 or localhost only\n"]

    return checked


class _CallsInProgress(Collector):
    """Reads the pools when Prometheus asks, which costs the calls nothing."""

    def __init__(self, pools: TenantPools) -> None:
        self._pools = pools

    def collect(self) -> list[GaugeMetricFamily]:
        gauge = GaugeMetricFamily("curvestop_calls_in_progress", "Calls that run or wait, by tenant.", labels=["tenant"])
        for pool in self._pools.all():
            gauge.add_metric([pool.tenant], pool.n_calls)
        return [gauge]
