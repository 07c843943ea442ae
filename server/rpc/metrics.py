"""Metrics: what a server did, counted for Prometheus and written to the log, one number for each request."""

from __future__ import annotations

import logging
import math
import re
import threading
import uuid
from collections import OrderedDict
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import grpc
from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from curvestop.proto import early_stopping_pb2 as pb
from curvestop.server.rpc.tenant_pools import TenantPools
from curvestop.srm import StudySettings
from curvestop.srm.curve import Decision
from curvestop.srm.study import Report

REQUEST_ID = "x-request-id"
LOOPBACK = "127.0.0.1"
LATENCIES_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
MAX_OPEN_PREDICTIONS = 10_000
WITHIN_SIGMAS = 1.96

Trial = tuple[str, str, str]
"""Tenant, study, trial."""

_GIVEN_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_made_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_log = logging.getLogger(__name__)


def request_id(context: grpc.ServicerContext) -> str:
    """The caller's own number of the request, when it has one that is fit for a log; otherwise one of ours."""
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID and isinstance(value, str) and _GIVEN_ID.fullmatch(value):
            return value
    made = _made_id.get()
    if made is None:
        made = uuid.uuid4().hex[:12]
        _made_id.set(made)
    return made


class Metrics:
    """Counts of one server, from its start on."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter("curvestop_requests", "Calls by status.", ["method", "status"], registry=self.registry)
        self._seconds = Histogram(
            "curvestop_request_seconds", "Time to an answer.", ["method"], buckets=LATENCIES_S, registry=self.registry
        )
        self._decisions = Counter("curvestop_decisions", "Answers to `stop?`.", ["stop"], registry=self.registry)
        self._fits = Counter("curvestop_fits", "Fits of models, all studies together.", registry=self.registry)
        self._fit_seconds = Histogram(
            "curvestop_fit_seconds", "Time of a fit.", registry=self.registry, buckets=(0.01, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0)
        )
        self._calibration = Counter(
            "curvestop_predictions_checked",
            f"Trials that ended: was the final value within {WITHIN_SIGMAS} sigma of the first prediction? 95 % should be.",
            ["within"],
            registry=self.registry,
        )
        self._stopped, self._went_on = self._decisions.labels("true"), self._decisions.labels("false")
        self._answered: dict[tuple[str, str], tuple[Any, Any]] = {}  # labels are slow to look up
        self._predictions = OpenPredictions()

    def answered(self, method: str, status: str, seconds: float, context: grpc.ServicerContext) -> None:
        counters = self._answered.get((method, status))
        if counters is None:
            counters = self._requests.labels(method, status), self._seconds.labels(method)
            self._answered[method, status] = counters
        counters[0].inc()
        counters[1].observe(seconds)
        if _log.isEnabledFor(logging.DEBUG):
            fields = {"request_id": request_id(context), "method": method, "status": status, "ms": round(1e3 * seconds, 2)}
            _log.debug("answered", extra=fields)

    def refused(self, method: str, status: str) -> None:
        """Counted under the methods there are, so that nobody fills the memory with names."""
        known = method.rpartition("/")[2]
        name = known if known in pb.DESCRIPTOR.services_by_name["EarlyStopping"].methods_by_name else "other"
        self._requests.labels(name, status).inc()

    def reported(self, tenant: str, study: StudySettings, answered: Sequence[tuple[Report, Decision]]) -> None:
        """Count decisions, and check the first prediction of each trial that has its last value."""
        n_asked = n_stops = 0
        for report, decision in answered:
            if report.ask:
                n_asked, n_stops = n_asked + 1, n_stops + decision.stop
                if decision.prediction is not None and report.target_epoch is None:
                    self._predictions.add((tenant, study.name, report.trial), *decision.prediction)
            if report.values and report.first_epoch + len(report.values) - 1 == study.max_epochs:
                within = self._predictions.check((tenant, study.name, report.trial), report.values[-1])
                if within is not None:
                    self._calibration.labels(str(within).lower()).inc()
        self._stopped.inc(n_stops)
        self._went_on.inc(n_asked - n_stops)

    def fitted(self, seconds: float) -> None:
        self._fits.inc()
        self._fit_seconds.observe(seconds)

    def watch(self, pools: TenantPools) -> None:
        """Also show how many calls of each tenant run or wait."""
        self.registry.register(_QueueDepth(pools))

    def serve(self, port: int) -> tuple[int, Any]:
        """Answer Prometheus on a port of this machine only; returns the port and what closes it. Raises OSError."""
        server, thread = start_http_server(port, addr=LOOPBACK, registry=self.registry)

        def close() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return server.server_port, close


class OpenPredictions:
    """The first prediction of each running trial's final value, of the newest trials."""

    def __init__(self, size: int = MAX_OPEN_PREDICTIONS) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._open: OrderedDict[Trial, tuple[float, float]] = OrderedDict()

    def add(self, trial: Trial, mean: float, sigma: float) -> None:
        with self._lock:
            if trial not in self._open:
                self._open[trial] = mean, sigma
                if len(self._open) > self._size:
                    self._open.popitem(last=False)

    def check(self, trial: Trial, final_value: float) -> bool | None:
        """Whether the final value is where it was expected; None when nothing was, or the trial diverged."""
        with self._lock:
            expected = self._open.pop(trial, None)
        if expected is None or not math.isfinite(final_value):
            return None
        mean, sigma = expected
        return abs(final_value - mean) <= WITHIN_SIGMAS * sigma


class _QueueDepth(Collector):
    def __init__(self, pools: TenantPools) -> None:
        self._pools = pools

    def collect(self) -> list[GaugeMetricFamily]:
        depth = GaugeMetricFamily("curvestop_calls_in_progress", "Calls that run or wait.", labels=["tenant"])
        for pool in self._pools.all():
            depth.add_metric([pool.tenant], pool.n_calls)
        return [depth]
