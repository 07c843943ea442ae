"""The servicer: decode a request, call the study, encode the answer. One table turns exceptions into status codes.

Calls begin and end in the event loop. The short, frequent ones are answered there and only wait for the disk elsewhere; all
others, which may take long, run in a thread of the tenant's pool.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from curvestop.proto import codec
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.endpoint import MAX_BATCH, MAX_VALUES, MISTAKE, MISTAKES, PUSHBACK, SettingsDiffer, UnknownStudy
from curvestop.server.rpc.interceptor import RETRY_AFTER_MS, SERVICE
from curvestop.server.rpc.metrics import REQUEST_ID, Metrics, request_id
from curvestop.server.rpc.quotas import ENTRIES_PER_RESUME, EntryQuota, Limits, QuotaExceeded, most_entries
from curvestop.server.rpc.tenant_pools import Handlers, TenantPool, TooManyCalls
from curvestop.server.rpc.tokens import Role
from curvestop.server.storage.store import StoreUnavailable, StudyUnavailable, TooManyStudies
from curvestop.server.studies.durable_study import Busy, DurableStudy
from curvestop.server.studies.registry import Registry
from curvestop.srm.curve import Configuration, Decision, LearningCurve
from curvestop.srm.report import Report
from curvestop.srm.trial import UnknownTrial
from curvestop.srm.validation import EpochOutOfRange

PAGE_BYTES = 256 << 10
"""A page of an answer ends with the item that exceeds this size."""
STUDIES_PAGE_BYTES = 1 << 20
"""Of studies, which older clients asked for once and without `first`: thousands fit."""

LISTING_SLICE_S = 0.002
"""A listing that computed for so long rests for as long."""
MAX_SETTINGS_BYTES = 16 << 10
"""Largest settings of a study, as a message."""
LOG_PAGE_ENTRIES = 2000
LISTINGS = frozenset({"ListStudies", "ListTrials", "ReadLog", "SecondChances"})
"""Methods that compute for long: of each tenant one at a time, or the calls of other tenants would wait for the interpreter."""
# Details travel in a header, whose size gRPC limits.
MAX_DETAILS_CHARS = 500

# The first class that an exception is an instance of counts, so a subclass comes before its base (EpochOutOfRange, ValueError).
STATUS_OF: Mapping[type[Exception], grpc.StatusCode] = {
    EpochOutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    SettingsDiffer: grpc.StatusCode.FAILED_PRECONDITION,
    ValueError: grpc.StatusCode.INVALID_ARGUMENT,
    UnknownStudy: grpc.StatusCode.NOT_FOUND,
    UnknownTrial: grpc.StatusCode.NOT_FOUND,
    StoreUnavailable: grpc.StatusCode.UNAVAILABLE,
    StudyUnavailable: grpc.StatusCode.UNAVAILABLE,
    QuotaExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooManyStudies: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooManyCalls: grpc.StatusCode.UNAVAILABLE,
}
PUSHBACK_MS: Mapping[type[Exception], int] = {
    StoreUnavailable: RETRY_AFTER_MS,
    StudyUnavailable: -1,
    QuotaExceeded: -1,
    TooManyStudies: -1,
}
"""When to retry, in milliseconds; -1: never."""

_log = logging.getLogger(__name__)
_Item = TypeVar("_Item")
_Message = TypeVar("_Message", bound=Message)


class EarlyStoppingService:
    """The RPCs of one tenant: one method for each, from request to response, raising what `STATUS_OF` translates.

    Coroutines run in the event loop, the other methods in a thread of the pool.

    Args:
        registry: The studies.
        metrics: Counts decisions.
        pool: The tenant's pool.
        limits: The tenant's quotas.
        role: Of the callers. A viewer's predictions change nothing that is fitted.
    """

    def __init__(self, registry: Registry, metrics: Metrics, pool: TenantPool, *, limits: Limits, role: Role) -> None:
        self._registry, self._metrics, self._pool, self._limits = registry, metrics, pool, limits
        self._expects = role != "viewer"
        self._tenant = pool.tenant
        self._entry_quota = EntryQuota(partial(registry.n_entries, tenant=pool.tenant), max_entries=limits.max_entries)

    # In the event loop.

    async def Report(self, request: pb.ReportRequest) -> pb.ReportResponse:
        """Store a trial's values and decide whether it should continue.

        Args:
            request: The trial with values of consecutive epochs, `diverged` after the last of them, and the question.

        Returns:
            The decision, once all that it rests on is on disk.

        Raises:
            UnknownStudy: If the tenant has no study of that name.
            ValueError: If a name, epoch, value or configuration breaks its rule.
            QuotaExceeded: If the tenant may store no more.
        """
        study = await self._loaded_study(request.study)
        report = _report(request)
        n_entries = most_entries([report])
        while not self._entry_quota.try_take(n_entries):  # the store must be counted, which may wait
            await self._pool.run_in_thread(partial(self._entry_quota.reserve, n_entries))
        # Decided and written by the writer thread, together with the reports of other callers.
        try:
            (answer,) = await self._pool.await_work(lambda on_done: study.begin_report(report, on_done))
        finally:
            self._entry_quota.release(n_entries)
        if isinstance(answer, Exception):
            raise answer
        self._metrics.record_reports(self._tenant, study.settings, [(report, answer)])
        return codec.decision_to_proto(answer)

    async def Predict(self, request: pb.PredictRequest) -> pb.PredictResponse:
        """Predict the final value of one partial curve.

        Args:
            request: The values of epochs 1..tau, the configuration and the target epoch; nothing of it is stored.

        Returns:
            The prediction; none while there is no model for a curve of this length.
        """
        study = await self._loaded_study(request.study)
        configuration, target_epoch, expects = _configuration(request), _target_epoch(request), self._expects
        try:
            prediction = study.predict_at_once(
                request.values, configuration=configuration, target_epoch=target_epoch, expects=expects
            )
        except Busy:  # it would have to wait or compute for long
            prediction = await self._pool.run_in_thread(
                lambda: study.predict(request.values, configuration=configuration, target_epoch=target_epoch, expects=expects)
            )
        response = pb.PredictResponse()
        if prediction is not None:
            codec.fill_prediction(response.prediction, prediction)
        return response

    async def _loaded_study(self, name: str) -> DurableStudy:
        loaded = self._registry.find_loaded(name, tenant=self._tenant)
        return await self._pool.run_in_thread(partial(self._study, name)) if loaded is None else loaded

    # In threads of the pool.

    def _study(self, name: str) -> DurableStudy:
        return self._registry.get(name, tenant=self._tenant)

    def CreateStudy(self, request: pb.CreateStudyRequest) -> pb.CreateStudyResponse:
        """Create a study unless it exists.

        Args:
            request: The settings, with the name. Sent again with the same settings, nothing happens.

        Raises:
            SettingsDiffer: If the study exists with other settings.
            TooManyStudies: If the tenant has as many studies as it may have.
            ValueError: If a setting breaks its rule.
        """
        if (n_bytes := request.settings.ByteSize()) > MAX_SETTINGS_BYTES:
            raise ValueError(
                f"the settings of a study must have at most {MAX_SETTINGS_BYTES} bytes, but got {n_bytes}: "
                "shorten metric, log_scaled or policy_settings"
            )
        # JSON, in which the store keeps settings, has no NaN.
        if not all(map(math.isfinite, request.settings.predictor.settings.values())):
            raise ValueError(f"predictor settings must be finite, but got {dict(request.settings.predictor.settings)!r}")
        settings = codec.settings_from_proto(request.settings)
        self._registry.create(settings, tenant=self._tenant, most=self._limits.max_studies)
        return pb.CreateStudyResponse()

    def GetStudy(self, request: pb.GetStudyRequest) -> pb.GetStudyResponse:
        """Return a study's settings, the state of its models and how many trials it has."""
        return codec.status_to_proto(self._study(request.study).status())

    def ListStudies(self, request: pb.ListStudiesRequest) -> pb.ListStudiesResponse:
        """Return a page of the settings of the tenant's studies, by name.

        Args:
            request: How many studies to skip: `next` of the page before.

        Returns:
            About STUDIES_PAGE_BYTES of settings; `next` is 0 on the last page.
        """
        first = _checked_first(request.first)
        found = self._registry.settings(tenant=self._tenant)[first:]
        studies, following = _page(found, codec.settings_to_proto, first=first, max_bytes=STUDIES_PAGE_BYTES)
        return pb.ListStudiesResponse(studies=studies, next=following)

    def ReportBatch(self, request: pb.ReportBatchRequest) -> pb.ReportBatchResponse:
        """Answer several reports to one study with one commit; an error in one does not affect the others.

        Args:
            request: Up to MAX_BATCH reports, of any trials, in the order in which they are answered.

        Returns:
            One result for each report: its decision, or the mistake that it alone would have been refused with.

        Raises:
            ValueError: If the batch is too large.
        """
        if len(request.reports) > MAX_BATCH:
            raise ValueError(f"a batch must have at most {MAX_BATCH} reports, but got {len(request.reports)}: send several")
        study = self._study(request.study)
        reports = [_report_or_error(request.study, report) for report in request.reports]
        # Malformed reports keep their error in their position; only the others are stored.
        well_formed = [report for report in reports if isinstance(report, Report)]
        n_entries = most_entries(well_formed)
        self._entry_quota.take(n_entries)
        try:
            answers = study.report_many(well_formed)
        finally:
            self._entry_quota.release(n_entries)
        decided = [(report, a) for report, a in zip(well_formed, answers, strict=True) if isinstance(a, Decision)]
        self._metrics.record_reports(self._tenant, study.settings, decided)
        # Answers are those of the well-formed reports, in order.
        response, remaining_answers = pb.ReportBatchResponse(), iter(answers)
        for report in reports:
            _fill_result(response.results.add(), next(remaining_answers) if isinstance(report, Report) else report)
        return response

    def PredictBatch(self, request: pb.PredictBatchRequest) -> pb.PredictBatchResponse:
        """Predict the final values of several partial curves; an error in one refuses all.

        Args:
            request: Up to MAX_BATCH curves of any lengths, with one target epoch for all.

        Returns:
            One answer for each curve, in order; empty while there is no model for its length.

        Raises:
            ValueError: If the batch is too large, or a curve breaks a rule.
        """
        if len(request.curves) > MAX_BATCH:
            raise ValueError(f"a batch must have at most {MAX_BATCH} curves, but got {len(request.curves)}: send several")
        curves = [
            LearningCurve("", _configuration(curve) or {}, tuple(curve.values), tuple(curve.epochs) or None)
            for curve in request.curves
        ]
        response = pb.PredictBatchResponse()
        study, target_epoch = self._study(request.study), _target_epoch(request)
        for prediction in study.predict_many(curves, target_epoch=target_epoch, expects=self._expects):
            answer = response.predictions.add()
            if prediction is not None:
                codec.fill_prediction(answer.prediction, prediction)
        return response

    def FinishTrial(self, request: pb.FinishTrialRequest) -> pb.FinishTrialResponse:
        """End a trial and return its state; the state it was first ended with stays.

        Args:
            request: The trial, and "finished", "stopped" or "failed".

        Raises:
            UnknownTrial: If the trial was never reported.
            ValueError: If the state is none of these.
        """
        state = self._study(request.study).finish(request.trial, codec.end_state_from_proto(request.state))
        return pb.FinishTrialResponse(state=codec.state_to_proto(state))

    def SecondChances(self, request: pb.SecondChancesRequest) -> pb.SecondChancesResponse:
        """Return a page of the stopped trials that are worth going on with, the most promising first.

        Args:
            request: The study, the most chances to return, and how many of them to skip: `next` of the page before.

        Returns:
            About PAGE_BYTES of chances, judged anew for each page; `next` is 0 on the last page.

        Raises:
            ValueError: If n < 1, or the study's policy states no chances.
        """
        first = _checked_first(request.first)
        found = self._study(request.study).second_chances(request.n)
        chances, following = _page(found[first:], codec.second_chance_to_proto, first=first)
        return pb.SecondChancesResponse(chances=chances, next=following)

    def Resume(self, request: pb.ResumeRequest) -> pb.ResumeResponse:
        """Let a stopped trial continue; repeated with the same key, nothing happens.

        Args:
            request: The trial, and a key that no other call to resume it has.

        Raises:
            UnknownTrial: If the trial was never reported.
            ValueError: If it was not stopped.
            QuotaExceeded: If the tenant may store no more.
        """
        study = self._study(request.study)
        self._entry_quota.take(ENTRIES_PER_RESUME)
        try:
            study.resume(request.trial, request.key)
        finally:
            self._entry_quota.release(ENTRIES_PER_RESUME)
        return pb.ResumeResponse()

    def ListTrials(self, request: pb.ListTrialsRequest) -> pb.ListTrialsResponse:
        """Return a page of a study's trials, in the order of their first report.

        Args:
            request: The study, and how many trials to skip: `next` of the page before.

        Returns:
            About PAGE_BYTES of trials; `next` is 0 on the last page.
        """
        # Pages end by size, not by number: one trial may have thousands of values.
        first, study = _checked_first(request.first), self._study(request.study)
        trials, following = _page(study.trials_from(first), codec.trial_to_proto, first=first)
        study.await_written()
        return pb.ListTrialsResponse(trials=trials, next=following)

    def ReadLog(self, request: pb.ReadLogRequest) -> pb.ReadLogResponse:
        """Return a page of a study's log, after an entry that the caller has.

        Args:
            request: The study, and the number of the last entry that the caller has; 0 for none.

        Returns:
            At most LOG_PAGE_ENTRIES entries of about PAGE_BYTES, and the number of the last entry of the log: read on until it is
            reached.
        """
        if request.after < 0:
            raise ValueError(f"after must be >= 0, but got {request.after}")
        with self._study(request.study).log_page(request.after, LOG_PAGE_ENTRIES) as (last, entries):
            encoded, _ = _page(entries, codec.entry_to_proto)
        return pb.ReadLogResponse(last=last, entries=encoded)


def make_handlers(service: EarlyStoppingService, pool: TenantPool, metrics: Metrics) -> Handlers:
    """Wrap a service's methods as gRPC handlers.

    Args:
        service: The methods.
        pool: Runs those that are no coroutines.
        metrics: Counts the calls.

    Returns:
        The handlers by full method name.
    """
    # Requests are decoded by our own code: gRPC would answer malformed bytes with INTERNAL, as if the server were broken.
    return {
        f"/{SERVICE.full_name}/{method.name}": grpc.unary_unary_rpc_method_handler(
            _answering(
                method.name,
                _awaitable(method.name, getattr(service, method.name), pool),
                GetMessageClass(method.input_type),
                metrics,
            ),
            response_serializer=lambda response: response.SerializeToString(),
        )
        for method in SERVICE.methods
    }


def _awaitable(name: str, method: Callable[[Any], Any], pool: TenantPool) -> Callable[[Any], Awaitable[Message]]:
    if inspect.iscoroutinefunction(method):
        return method
    run = pool.run_listing if name in LISTINGS else pool.run_in_thread
    return lambda request: run(partial(method, request))


def _answering(
    name: str, method: Callable[[Any], Awaitable[Message]], request_type: type[Message], metrics: Metrics
) -> Callable[[bytes, Any], Awaitable[Message | None]]:
    """Add to a method: decoding, the translation of its exceptions, and the count of the call."""

    # The status is set on every path, because `finally` counts the call by it before the answer leaves.
    async def answer(data: bytes, context: Any) -> Message | None:
        began = time.perf_counter()
        status, details = grpc.StatusCode.OK, ""
        trailing: tuple[tuple[str, str], ...] = ()
        try:
            return await method(_decoded(data, request_type))
        except tuple(STATUS_OF) as error:
            kind = _kind_of(error)
            status, details, trailing = STATUS_OF[kind], _shortened(str(error)), _trailing(kind, error)
        except asyncio.CancelledError:  # the caller gave up
            status = grpc.StatusCode.CANCELLED
            raise
        except Exception:
            # A bug of ours: the caller gets an id to report it by, but no text that might tell other tenants' data.
            status = grpc.StatusCode.INTERNAL
            number = request_id(context)
            details = f"internal error, see the server log at request {number}"
            _log.exception("request %s to %s failed", number, name, extra={"request_id": number, "method": name})
        finally:
            metrics.record_call(name, status.name, time.perf_counter() - began, context)
        # Outside the try: `abort` raises, and must not be counted as an internal error.
        await context.abort(status, details, (*trailing, (REQUEST_ID, request_id(context))))
        return None  # `abort` raises

    return answer


def _page(
    items: Iterable[_Item], encode: Callable[[_Item], _Message], *, first: int = 0, max_bytes: int | None = None
) -> tuple[list[_Message], int]:
    """Encode items numbered from `first` on, about `max_bytes` of them; return them with the number of the next one, or 0."""
    page, size, max_bytes = list[_Message](), 0, PAGE_BYTES if max_bytes is None else max_bytes
    rested_at = time.thread_time()
    for position, item in enumerate(items, start=first):
        if size > max_bytes:  # at least one item a page, however large
            return page, position
        if (worked_s := time.thread_time() - rested_at) > LISTING_SLICE_S:
            time.sleep(worked_s)  # half of the interpreter is for calls that somebody trains by
            rested_at = time.thread_time()
        page.append(encode(item))
        size += page[-1].ByteSize()
    return page, 0


def _checked_first(first: int) -> int:
    if first < 0:
        raise ValueError(f"first must be >= 0, but got {first}")
    return first


def _kind_of(error: Exception) -> type[Exception]:
    return next(kind for kind in STATUS_OF if isinstance(error, kind))


def _trailing(kind: type[Exception], error: Exception) -> tuple[tuple[str, str], ...]:
    """Return the trailing metadata from which a client knows which error it was and when to retry."""
    if isinstance(error, TooManyCalls):
        return ((PUSHBACK, str(error.retry_after_ms)),)
    if kind in PUSHBACK_MS:
        return ((PUSHBACK, str(PUSHBACK_MS[kind])),)
    return ((MISTAKE, kind.__name__),) if kind.__name__ in MISTAKES else ()


def _report(request: pb.ReportRequest) -> Report:
    values = _finite_values(request)
    if len(values) > MAX_VALUES:
        raise ValueError(f"a report must have at most {MAX_VALUES} values, but got {len(values)}: send several")
    return Report(
        request.trial,
        [*values, math.nan] if request.diverged else values,
        _configuration(request),
        request.first_epoch,
        _target_epoch(request),
        request.value_to_beat if request.HasField("value_to_beat") else None,
        request.ask,
        codec.bracket_of(request),
        request.n_known,
    )


def _report_or_error(study: str, request: pb.ReportRequest) -> Report | Exception:
    try:
        if request.study not in ("", study):
            raise ValueError(f"a report in a batch to study {study!r} must name no other study, but got {request.study!r}")
        return _report(request)
    except ValueError as error:
        return error


def _fill_result(result: pb.ReportResult, answer: Decision | Exception) -> None:
    if isinstance(answer, Decision):
        codec.decision_to_proto(answer, into=result.answer)
        return
    kind = _kind_of(answer)
    # A status of gRPC is a pair of its number and its name in words.
    result.mistake.code, _ = STATUS_OF[kind].value
    result.mistake.name, result.mistake.details = kind.__name__, _shortened(str(answer))


def _decoded(data: bytes, request_type: type[Message]) -> Message:
    try:
        return request_type.FromString(data)
    except DecodeError:
        raise ValueError(f"the request must be a {request_type.DESCRIPTOR.name}, but its bytes cannot be decoded") from None


def _finite_values(request: pb.ReportRequest) -> list[float]:
    values = list(request.values)
    # The sum is finite in nearly every call, and much faster to check; it may also overflow, so then each value is checked.
    if not math.isfinite(sum(values)) and not all(map(math.isfinite, values)):
        raise ValueError("values must be finite: set `diverged` instead of sending the first value that is not")
    return values


def _target_epoch(request: pb.ReportRequest | pb.PredictRequest | pb.PredictBatchRequest) -> int | None:
    return request.target_epoch if request.HasField("target_epoch") else None


def _configuration(request: pb.ReportRequest | pb.PredictRequest | pb.PartialCurve) -> Configuration | None:
    return codec.configuration_from_proto(request.configuration) if request.HasField("configuration") else None


def _shortened(details: str) -> str:
    return details if len(details) <= MAX_DETAILS_CHARS else details[: MAX_DETAILS_CHARS - 3] + "..."
