"""Requests about a study: checked as the server would check them before they are sent, and the decoding of the answers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, takewhile
from typing import Any, TypeVar

from curvestop.clients.remote.outbox import PendingFinish, PendingReport
from curvestop.proto import codec
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.endpoint import MAX_BATCH, MAX_MESSAGE_BYTES, MISTAKES
from curvestop.srm.curve import Decision, LearningCurve, Prediction
from curvestop.srm.report import Report, as_sequence
from curvestop.srm.settings import StudySettings
from curvestop.srm.validation import check_question, checked_curve, validated

_Request = TypeVar("_Request", pb.ReportRequest, pb.PredictRequest)
_Message = TypeVar("_Message", pb.ReportRequest, pb.PartialCurve)

FRAME_BYTES = 8
"""Bytes that a message takes in a batch besides its own."""
SPARE_BYTES = 2048
"""Bytes that the rest of a batch takes at most."""


@dataclass(frozen=True)
class PreparedReport:
    """A report that is ready to be sent.

    Attributes:
        pending: What is kept if it cannot be sent now.
        requests: Its parts in order; the last one has the question.
    """

    pending: PendingReport
    requests: list[pb.ReportRequest]


class Requests:
    """Makes the requests about one study.

    Args:
        settings: Settings of the study.
    """

    def __init__(self, settings: StudySettings) -> None:
        self._settings = settings

    def prepare(self, report: Report) -> PreparedReport:
        """Check a report as the server would, and return what is to be sent.

        Args:
            report: The report; values from the first one that is not finite on are not sent, the trial is marked as diverged.

        Raises:
            ValueError: If a name, epoch, value or configuration breaks its rule, or the message would be too large.
        """
        report = validated(report, max_epochs=self._settings.max_epochs, log_scaled=self._settings.log_scaled)
        # Values on the wire are finite: the flag `diverged` stands for the first one that is not.
        values = tuple(takewhile(math.isfinite, report.values))
        diverged = len(values) < len(report.values)
        pending = PendingReport(report.trial, report.first_epoch, values, report.configuration, diverged, report.bracket)
        requests = [self.report(part) for part in pending.chunks()]
        # Only the last part asks: a decision before all values have arrived would be about a shorter curve.
        requests[-1].ask = report.ask
        if report.target_epoch is not None:
            requests[-1].target_epoch = report.target_epoch
        if report.value_to_beat is not None:
            requests[-1].value_to_beat = report.value_to_beat
        return PreparedReport(pending, requests)

    def prepare_or_error(self, report: Report) -> PreparedReport | ValueError:
        """Return what is to be sent, or the error that `prepare` raises."""
        try:
            return self.prepare(report)
        except ValueError as error:
            return error

    def report(self, pending: PendingReport) -> pb.ReportRequest:
        """Return the request that stores a pending report, without a question.

        Args:
            pending: Values that fit into one message, see `PendingReport.chunks`.

        Raises:
            ValueError: If the message would be too large, as with a long configuration.
        """
        configuration = pending.configuration
        request = pb.ReportRequest(
            study=self._settings.name,
            trial=pending.trial,
            first_epoch=pending.first_epoch,
            values=pending.values,
            configuration=None if configuration is None else codec.configuration_to_proto(configuration),
            diverged=pending.diverged,
            bracket=codec.bracket_to_proto(pending.bracket),
        )
        return _within_limit(request)

    def report_batches(self, prepared: Iterable[PreparedReport]) -> list[pb.ReportBatchRequest]:
        """Return the requests for many reports, in as few batches as a server takes.

        Args:
            prepared: The reports in the order in which they are answered.
        """
        # Flat, across reports: `answers_of` puts the parts' results together again.
        parts = in_batches(chain.from_iterable(one.requests for one in prepared))
        return [pb.ReportBatchRequest(study=self._settings.name, reports=part) for part in parts]

    def predict(
        self, values: float | Sequence[float], configuration: Mapping[str, Any] | None, target_epoch: int | None
    ) -> pb.PredictRequest:
        """Return the request for one prediction.

        Args:
            values: `(tau,)` metric after epochs 1..tau, all finite.
            configuration: The trial's configuration, by name; None for none.
            target_epoch: Epoch to predict; None for max_epochs.

        Raises:
            ValueError: If the values or the configuration break a rule.
        """
        check_question(target_epoch, None, max_epochs=self._settings.max_epochs)
        curve = self._checked(LearningCurve("", {} if configuration is None else configuration, tuple(as_sequence(values))))
        request = pb.PredictRequest(
            study=self._settings.name,
            values=curve.values,
            configuration=None if configuration is None else codec.configuration_to_proto(curve.configuration),
            target_epoch=target_epoch,
        )
        return _within_limit(request)

    def predict_batches(self, curves: Sequence[LearningCurve], target_epoch: int | None) -> list[pb.PredictBatchRequest]:
        """Return the requests for many predictions.

        Args:
            curves: The curves; their trials' names are not sent.
            target_epoch: Epoch to predict, of all curves; None for max_epochs.

        Raises:
            ValueError: If the values or the configuration of one curve break a rule.
        """
        check_question(target_epoch, None, max_epochs=self._settings.max_epochs)
        # All are checked before any is sent: one mistake must not leave half of the answers missing.
        checked = map(self._checked, curves)
        parts = in_batches(list(map(codec.partial_curve_to_proto, checked)))
        return [pb.PredictBatchRequest(study=self._settings.name, curves=part, target_epoch=target_epoch) for part in parts]

    def _checked(self, curve: LearningCurve) -> LearningCurve:
        return checked_curve(curve, max_epochs=self._settings.max_epochs, log_scaled=self._settings.log_scaled)

    def finish(self, pending: PendingFinish) -> pb.FinishTrialRequest:
        """Return the request that ends a trial."""
        return pb.FinishTrialRequest(study=self._settings.name, trial=pending.trial, state=codec.state_to_proto(pending.state))


def in_batches(messages: Iterable[_Message]) -> Iterator[list[_Message]]:
    """Yield batches of the messages, in order, each within the limits of a server.

    A message that is too large for any batch is one of its own.

    Args:
        messages: Parts of a batch request; a batch has at most `MAX_BATCH` of them and `MAX_MESSAGE_BYTES` bytes.
    """
    batch: list[_Message] = []
    room = MAX_MESSAGE_BYTES - SPARE_BYTES
    for message in messages:
        size = message.ByteSize() + FRAME_BYTES
        # An empty batch takes any message: one that is too large is a batch of its own.
        if batch and (size > room or len(batch) == MAX_BATCH):
            yield batch
            batch, room = [], MAX_MESSAGE_BYTES - SPARE_BYTES
        batch.append(message)
        room -= size
    if batch:
        yield batch


def decision_of(responses: Iterable[pb.ReportResponse]) -> Decision:
    """Decode the answer to the last part of a report, with the conflicts of all parts.

    Args:
        responses: Answers to all parts of one report, in order; at least one.
    """
    return _last_of([codec.decision_from_proto(response) for response in responses])


def answers_of(responses: Iterable[pb.ReportBatchResponse], prepared: Iterable[PreparedReport]) -> Iterator[Decision | Exception]:
    """Yield the answer to each report, from the results of its parts: a decision, or the first error.

    Args:
        responses: Answers to the batches of `Requests.report_batches`, in order.
        prepared: The reports that were sent; a report's parts may be in two batches.
    """
    # One stream over all batches, consumed report by report: each takes as many results as it had parts.
    results = (result for response in responses for result in response.results)
    for one in prepared:
        its_results = list(islice(results, len(one.requests)))
        mistakes = [result.mistake for result in its_results if result.HasField("mistake")]
        if mistakes:
            # RuntimeError: a newer server may name an exception that this client does not know.
            yield MISTAKES.get(mistakes[0].name, RuntimeError)(mistakes[0].details)
        else:
            yield decision_of(result.answer for result in its_results)


def predictions_of(responses: Iterable[pb.PredictBatchResponse]) -> list[Prediction | None]:
    """Decode the predictions of all batches, in order."""
    return [codec.prediction_of(prediction) for response in responses for prediction in response.predictions]


def _last_of(decisions: Sequence[Decision]) -> Decision:
    if len(decisions) == 1:  # as nearly always; `replace` takes as long as all else here
        return decisions[0]
    # Each part knows the conflicts of its own values only.
    return replace(decisions[-1], conflicts=tuple(conflict for d in decisions for conflict in d.conflicts))


def _within_limit(request: _Request) -> _Request:
    if request.ByteSize() > MAX_MESSAGE_BYTES:
        raise ValueError(f"a request must have at most {MAX_MESSAGE_BYTES} bytes, but got {request.ByteSize()}")
    return request
