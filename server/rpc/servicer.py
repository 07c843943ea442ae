"""The servicer: decodes, calls, encodes. One table batch_writer exceptions into statuses.

Calls begin and end in the loop. The short and frequent ones are made there, but for what waits for the disk; all others, whose
work may be long, in a thread of the tenant's pool.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from curvestop.proto import codec
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.endpoint import MAX_BATCH, MAX_VALUES, MISTAKE, MISTAKES, PUSHBACK, SettingsDiffer, UnknownStudy
from curvestop.server.rpc.interceptor import RETRY_AFTER_MS, SERVICE
from curvestop.server.rpc.metrics import REQUEST_ID, Metrics, request_id
from curvestop.server.rpc.quotas import EntryQuota, Limits, QuotaExceeded
from curvestop.server.rpc.tenant_pools import Handlers, TenantPool, TooManyCalls
from curvestop.server.storage.store import StoreUnavailable
from curvestop.server.studies.durable_study import Busy, DurableStudy
from curvestop.server.studies.registry import Registry
from curvestop.srm.curve import Configuration, Decision, LearningCurve
from curvestop.srm.study import EpochOutOfRange, Report, UnknownTrial

PAGE_BYTES = 256 << 10
LOG_PAGE = 2000  # entries
OK = grpc.StatusCode.OK
LONGEST_DETAILS = 500  # characters: details travel in a header, which has a limit of its own

STATUS_OF: Mapping[type[Exception], grpc.StatusCode] = {
    EpochOutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    SettingsDiffer: grpc.StatusCode.FAILED_PRECONDITION,
    ValueError: grpc.StatusCode.INVALID_ARGUMENT,
    UnknownStudy: grpc.StatusCode.NOT_FOUND,
    UnknownTrial: grpc.StatusCode.NOT_FOUND,
    StoreUnavailable: grpc.StatusCode.UNAVAILABLE,
    QuotaExceeded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TooManyCalls: grpc.StatusCode.UNAVAILABLE,
}
PUSHBACK_MS: Mapping[type[Exception], int] = {StoreUnavailable: RETRY_AFTER_MS, QuotaExceeded: -1}

_log = logging.getLogger(__name__)


class EarlyStoppingService:
    """One method for each RPC, from request to response; mistakes are raised. The tenant is the pool's."""

    def __init__(self, registry: Registry, telemetry: Metrics, pool: TenantPool, *, limits: Limits) -> None:
        self._registry, self._telemetry, self._lane, self._limits = registry, telemetry, pool, limits
        self._tenant = pool.tenant
        self._storage = EntryQuota(partial(registry.n_entries, tenant=pool.tenant), max_entries=limits.max_entries)

    # In the loop.

    async def Report(self, request: pb.ReportRequest) -> pb.ReportResponse:
        study = await self._known_study(request.study)
        report = _report(request)
        if not self._storage.take_known(report):
            await self._lane.in_thread(lambda: self._storage.take([report]))
        (answer,) = await self._lane.done_by_others(lambda then: study.begin_report(report, then))
        if isinstance(answer, Exception):
            raise answer
        self._telemetry.reported(self._tenant, study.settings, [(report, answer)])
        return codec.decision_to_proto(answer)

    async def Predict(self, request: pb.PredictRequest) -> pb.PredictResponse:
        study = await self._known_study(request.study)
        configuration, target_epoch = _configuration(request), _target_epoch(request)
        try:
            prediction = study.predict_at_once(request.values, configuration=configuration, target_epoch=target_epoch)
        except Busy:
            prediction = await self._lane.in_thread(
                lambda: study.predict(request.values, configuration=configuration, target_epoch=target_epoch)
            )
        response = pb.PredictResponse()
        if prediction is not None:
            codec.fill_prediction(response.prediction, prediction)
        return response

    async def _known_study(self, name: str) -> DurableStudy:
        known = self._registry.known(name, tenant=self._tenant)
        return await self._lane.in_thread(partial(self._study, name)) if known is None else known

    # In threads.

    def _study(self, name: str) -> DurableStudy:
        return self._registry.get(name, tenant=self._tenant)

    def CreateStudy(self, request: pb.CreateStudyRequest) -> pb.CreateStudyResponse:
        if not all(map(math.isfinite, request.settings.predictor.settings.values())):
            raise ValueError(f"predictor settings must be finite, but got {dict(request.settings.predictor.settings)!r}")
        settings = codec.settings_from_proto(request.settings)
        self._limits.check_room(self._registry.settings(tenant=self._tenant), settings.name)
        self._registry.create(settings, tenant=self._tenant)
        return pb.CreateStudyResponse()

    def GetStudy(self, request: pb.GetStudyRequest) -> pb.GetStudyResponse:
        return codec.status_to_proto(self._study(request.study).status())

    def ListStudies(self, request: pb.ListStudiesRequest) -> pb.ListStudiesResponse:
        return pb.ListStudiesResponse(studies=map(codec.settings_to_proto, self._registry.settings(tenant=self._tenant)))

    def ReportBatch(self, request: pb.ReportBatchRequest) -> pb.ReportBatchResponse:
        if len(request.reports) > MAX_BATCH:
            raise ValueError(f"a batch has at most {MAX_BATCH} reports, but got {len(request.reports)}")
        study = self._study(request.study)
        reports = [_batched(request.study, report) for report in request.reports]
        well_formed = [report for report in reports if isinstance(report, Report)]
        self._storage.take(well_formed)
        answers = study.report_many(well_formed)
        decided = [(report, a) for report, a in zip(well_formed, answers, strict=True) if isinstance(a, Decision)]
        self._telemetry.reported(self._tenant, study.settings, decided)
        response, following = pb.ReportBatchResponse(), iter(answers)
        for report in reports:
            _fill_result(response.results.add(), next(following) if isinstance(report, Report) else report)
        return response

    def PredictBatch(self, request: pb.PredictBatchRequest) -> pb.PredictBatchResponse:
        if len(request.curves) > MAX_BATCH:
            raise ValueError(f"a batch has at most {MAX_BATCH} curves, but got {len(request.curves)}")
        curves = [LearningCurve("", _configuration(curve) or {}, tuple(curve.values)) for curve in request.curves]
        response = pb.PredictBatchResponse()
        for prediction in self._study(request.study).predict_many(curves, target_epoch=_target_epoch(request)):
            answer = response.predictions.add()
            if prediction is not None:
                codec.fill_prediction(answer.prediction, prediction)
        return response

    def FinishTrial(self, request: pb.FinishTrialRequest) -> pb.FinishTrialResponse:
        state = self._study(request.study).finish(request.trial, codec.end_state_from_proto(request.state))
        return pb.FinishTrialResponse(state=codec.state_to_proto(state))

    def ListTrials(self, request: pb.ListTrialsRequest) -> pb.ListTrialsResponse:
        if request.first < 0:
            raise ValueError(f"first must be >= 0, but got {request.first}")
        trials = self._study(request.study).trials()
        page, size = pb.ListTrialsResponse(), 0
        for position in range(request.first, len(trials)):
            if size > PAGE_BYTES:
                page.next = position
                break
            page.trials.append(codec.trial_to_proto(trials[position]))
            size += page.trials[-1].ByteSize()
        return page

    def ReadLog(self, request: pb.ReadLogRequest) -> pb.ReadLogResponse:
        if request.after < 0:
            raise ValueError(f"after must be >= 0, but got {request.after}")
        last, entries = self._study(request.study).log_page(request.after, LOG_PAGE)
        page, size = pb.ReadLogResponse(last=last), 0
        for entry in entries:
            if size > PAGE_BYTES:
                break
            page.entries.append(codec.entry_to_proto(entry))
            size += page.entries[-1].ByteSize()
        return page


def handlers(service: EarlyStoppingService, pool: TenantPool, telemetry: Metrics) -> Handlers:
    """The service as gRPC wants it, by full name. It decodes requests itself: gRPC calls malformed bytes an internal error."""
    return {
        f"/{SERVICE.full_name}/{method.name}": grpc.unary_unary_rpc_method_handler(
            _answering(method.name, _awaited(getattr(service, method.name), pool), GetMessageClass(method.input_type), telemetry),
            response_serializer=lambda response: response.SerializeToString(),
        )
        for method in SERVICE.methods
    }


def _awaited(method: Callable[[Any], Any], pool: TenantPool) -> Callable[[Any], Awaitable[Message]]:
    if inspect.iscoroutinefunction(method):
        return method
    return lambda request: pool.in_thread(partial(method, request))


def _answering(
    name: str, method: Callable[[Any], Awaitable[Message]], request_type: type[Message], telemetry: Metrics
) -> Callable[[bytes, Any], Awaitable[Message | None]]:
    async def answer(data: bytes, context: Any) -> Message | None:
        began = time.perf_counter()
        status, details = OK, ""
        trailing: tuple[tuple[str, str], ...] = ()
        try:
            return await method(_decoded(data, request_type))
        except tuple(STATUS_OF) as error:
            mistake = next(mistake for mistake in STATUS_OF if isinstance(error, mistake))
            status, details, trailing = STATUS_OF[mistake], _shortened(str(error)), _trailing(mistake, error)
        except asyncio.CancelledError:
            status = grpc.StatusCode.CANCELLED
            raise
        except Exception:
            status = grpc.StatusCode.INTERNAL
            details = f"the server made a mistake; its log has more at request {request_id(context)}"
            number = request_id(context)
            _log.exception("request %s to %s failed", number, name, extra={"request_id": number, "method": name})
        finally:
            telemetry.answered(name, status.name, time.perf_counter() - began, context)
        await context.abort(status, details, (*trailing, (REQUEST_ID, request_id(context))))
        return None  # `abort` raises

    return answer


def _trailing(mistake: type[Exception], error: Exception) -> tuple[tuple[str, str], ...]:
    """What tells a client which mistake it was, and when to come again."""
    if isinstance(error, TooManyCalls):
        return ((PUSHBACK, str(error.come_again_ms)),)
    if mistake in PUSHBACK_MS:
        return ((PUSHBACK, str(PUSHBACK_MS[mistake])),)
    return ((MISTAKE, mistake.__name__),) if mistake.__name__ in MISTAKES else ()


def _report(request: pb.ReportRequest) -> Report:
    values = _finite_values(request)
    if len(values) > MAX_VALUES:
        raise ValueError(f"a report has at most {MAX_VALUES} values, but got {len(values)}")
    return Report(
        request.trial,
        [*values, math.nan] if request.diverged else values,
        _configuration(request),
        request.first_epoch,
        _target_epoch(request),
        request.value_to_beat if request.HasField("value_to_beat") else None,
        request.ask,
    )


def _batched(study: str, request: pb.ReportRequest) -> Report | Exception:
    try:
        if request.study not in ("", study):
            raise ValueError(f"a report of a batch to study {study!r} must have no other study, but got {request.study!r}")
        return _report(request)
    except ValueError as mistake:
        return mistake


def _fill_result(result: pb.ReportResult, answer: Decision | Exception) -> None:
    if isinstance(answer, Decision):
        codec.decision_to_proto(answer, into=result.answer)
        return
    known = next(mistake for mistake in STATUS_OF if isinstance(answer, mistake))
    result.mistake.code, _ = STATUS_OF[known].value
    result.mistake.name, result.mistake.details = known.__name__, _shortened(str(answer))


def _decoded(data: bytes, request_type: type[Message]) -> Message:
    try:
        return request_type.FromString(data)
    except DecodeError:
        raise ValueError(f"a {request_type.DESCRIPTOR.name} was expected, but the bytes are not one") from None


def _finite_values(request: pb.ReportRequest) -> list[float]:
    values = list(request.values)
    if not math.isfinite(sum(values)) and not all(map(math.isfinite, values)):
        raise ValueError("values must be finite: send `diverged` in place of the first one that is not")
    return values


def _target_epoch(request: pb.ReportRequest | pb.PredictRequest | pb.PredictBatchRequest) -> int | None:
    return request.target_epoch if request.HasField("target_epoch") else None


def _configuration(request: pb.ReportRequest | pb.PredictRequest | pb.PartialCurve) -> Configuration | None:
    return codec.configuration_from_proto(request.configuration) if request.HasField("configuration") else None


def _shortened(details: str) -> str:
    return details if len(details) <= LONGEST_DETAILS else details[: LONGEST_DETAILS - 3] + "..."
