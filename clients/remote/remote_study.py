"""A study on a server, used like one in process.

If the server is unreachable, training continues: the client blocks for at most one second per minute and sends the missing
values later.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import repeat
from types import TracebackType
from typing import Any, Self, overload
from uuid import uuid4
from weakref import WeakSet

from curvestop.clients.remote.channels import CONNECT_S, ClientTls
from curvestop.clients.remote.circuit_breaker import CircuitBreaker
from curvestop.clients.remote.connection import Connection, Denied, OutOfTime, Refused, ServerTrouble
from curvestop.clients.remote.end_of_process import END_OF_PROCESS, END_S
from curvestop.clients.remote.incidents import Incidents
from curvestop.clients.remote.outbox import Outbox, Pending, PendingFinish, PendingReport
from curvestop.clients.remote.reconnect import Reconnector
from curvestop.clients.remote.running_trials import RunningTrials
from curvestop.clients.remote.study_requests import PreparedReport, Requests, answers_of, decision_of, predictions_of
from curvestop.proto import codec
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.endpoint import UnknownStudy
from curvestop.proto.listing import listed_chances, listed_trials
from curvestop.proto.status import StudyStatus
from curvestop.srm.curve import Decision, LearningCurve, Prediction
from curvestop.srm.overview import Overview
from curvestop.srm.plural import plural
from curvestop.srm.report import Report, trial_name
from curvestop.srm.second_chances import SecondChance, policy_of_chances
from curvestop.srm.settings import StudySettings, checked_settings
from curvestop.srm.study import Study
from curvestop.srm.study_like import KeywordReports
from curvestop.srm.trial import EndState, Trial, TrialState, UnknownTrial
from curvestop.srm.validation import check_end_state, check_name, is_finite

RETRY_S = 0.2
"""Wait between two attempts of `flush`."""
CHANCES_S = 30.0
"""Least time that `second_chances` gives the server, which judges every stopped trial."""
DRAIN_S = 600.0
"""Longest time in which the thread that tries to reach a server sends what waits; each item has a deadline of its own."""
PAUSE_S = 60.0
"""After a call without an answer, further calls return at once for so long."""


_log = logging.getLogger(__name__)


@overload
def connect(
    target: str,
    settings: StudySettings,
    *,
    token: str | None = None,
    deadline_s: float = 1.0,
    tls: ClientTls | None = None,
    strict: bool = False,
) -> RemoteStudy: ...
@overload
def connect(
    target: str | None,
    settings: StudySettings,
    *,
    token: str | None = None,
    deadline_s: float = 1.0,
    tls: ClientTls | None = None,
    strict: bool = False,
) -> Study | RemoteStudy: ...
def connect(
    target: str | None,
    settings: StudySettings,
    *,
    token: str | None = None,
    deadline_s: float = 1.0,
    tls: ClientTls | None = None,
    strict: bool = False,
) -> Study | RemoteStudy:
    """Return a study, on a server or in this process. It is created if there is none of that name.

    The server is not called here; `RemoteStudy.check` does that.

    Args:
        target: `HOST:PORT` of a server, or `HOST` for port 7070; `HOST1:PORT,HOST2:PORT` of several that keep the same studies.
            None for the one that CURVESTOP_TARGET names, and without that for a study in this process, which reads no option.
        settings: What the study is.
        token: Token of the server. Default: CURVESTOP_TOKEN, then the file of CURVESTOP_TOKEN_FILE, then the default file.
        deadline_s: Longest time in seconds that a call may take beyond the round trip of the link, > 0. The first one, which
            connects, has 5 s at least.
        tls: Certificates for a remote server. Default: CURVESTOP_CA, CURVESTOP_CERT and CURVESTOP_KEY.
        strict: Whether a server that does not answer raises ConnectionError, and one that refuses this client PermissionError.

    Raises:
        ValueError: If the target is not HOST:PORT, or deadline_s is not finite and > 0.
        TypeError: If the settings are no `StudySettings`.
        PermissionError: If a named token file, or a certificate, cannot be read.

    Examples:
        >>> from curvestop import StudySettings, connect
        >>> study = connect(None, StudySettings("demo", max_epochs=10))  # in process, unless CURVESTOP_TARGET is set
        >>> study.report("a", 0.5).stop
        False
    """
    if target is None:
        target = os.environ.get("CURVESTOP_TARGET")
    if target is None:
        return Study(settings)
    connection = Connection(target, token=token, tls=tls or ClientTls.from_environment())
    return RemoteStudy(settings, connection, deadline_s=deadline_s, strict=strict)


def _copied(
    settings: StudySettings, target: str, token: str | None, tls: ClientTls | None, deadline_s: float, strict: bool
) -> RemoteStudy:
    return RemoteStudy(settings, Connection(target, token=token, tls=tls), deadline_s=deadline_s, strict=strict)


class RemoteStudy(KeywordReports, Overview):
    """A `StudyOfMany` on a server, for several threads and for forks of this process.

    Mistakes raise what they raise in process; so do, at the first call, other settings than those of the study on the server. If
    the server does not answer, `report` decides to continue, `predict` returns None, and what was reported is kept. One call
    waits for its deadline, those of the next minute do not; a thread meanwhile tries to reach the server, sends what was kept,
    and ends the pause. The first call without an answer is logged as a warning, and so are, once, what waiting does not heal, and
    that the server answers again. The end of the process, or of a `with`, sends what was kept, or warns of what could not be.

    It can be copied and pickled, for workers of joblib, Ray or multiprocessing: the copy is the same study on the server, through
    a connection of its own. A token that was given to `connect` goes with it; one of the environment or a file is looked for
    where the copy is. What waits to be sent stays with the original, which sends it.

    Args:
        settings: What the study is.
        connection: Connection to the server.
        deadline_s: Longest time that a call may take beyond the round trip of the link, > 0; the first one has 5 s at least.
        strict: Whether to raise instead if the server does not answer.

    Raises:
        ValueError: If deadline_s is not finite and > 0.
        TypeError: If the settings are no `StudySettings`.
    """

    def __init__(self, settings: StudySettings, connection: Connection, *, deadline_s: float = 1.0, strict: bool = False) -> None:
        if not (deadline_s > 0 and is_finite(deadline_s)):
            raise ValueError(f"deadline_s must be > 0, but got {deadline_s!r}")
        self._settings = checked_settings(settings)
        self._requests = Requests(settings)
        self._connection = connection
        self._deadline_s = deadline_s
        self._strict = strict
        self._sender = Reconnector(self._reach)
        self._made = False  # whether the study is known to be on the server
        self._in_use = False  # whether it was there once, or something is kept: then a training relies on it
        self._start_anew()
        _studies.add(self)

    def _start_anew(self) -> None:
        # Equal pauses: a training blocks at most once a minute, however long the outage.
        self._breaker = CircuitBreaker(first_pause_s=PAUSE_S, longest_pause_s=PAUSE_S)
        self._outbox = Outbox()
        self._unanswered_resumes: dict[str, str] = {}  # trial -> key of its last call of `resume`, which got no answer
        self._draining = threading.Lock()  # held by the thread that sends: two would send a trial's items out of order
        self._incidents = Incidents(silent=self._strict)
        self._running = RunningTrials(self._settings.max_epochs)
        self._n_made, self._lost = 0, threading.Lock()  # how often the study was made; held by who finds it lost

    def _forked(self) -> None:
        """Start empty in a fork: the process that it comes from sends what waits."""
        self._start_anew()
        self._connection.forked()
        self._sender.forked()

    def __reduce__(self) -> tuple[Any, ...]:
        return _copied, (self.settings, *self._connection.arguments, self._deadline_s, self._strict)

    def __repr__(self) -> str:
        n_waiting = self._outbox.n_values()  # the server is not asked: a debugger may print this
        waiting = f", {plural(n_waiting, 'value')} not sent yet" if n_waiting else ""
        return f"study {self.settings.name!r} at {self.address}{waiting}"

    @property
    def settings(self) -> StudySettings:
        """The settings that the study was created with."""
        return self._settings

    @property
    def connection(self) -> Connection:
        """The connection to the server, for what is read of it besides."""
        return self._connection

    @property
    def address(self) -> str:
        """HOST:PORT of the server."""
        return self._connection.address

    def answer(self, report: Report) -> Decision:
        """Send a report and return the server's decision; see `StudyLike.answer`.

        If the server does not answer, the decision is to continue and the values are sent later.

        Args:
            report: The values, and whether to decide.

        Raises:
            ValueError: If the report breaks a rule; then nothing is sent or kept. At the first call also if the study exists with
                other settings.
            ConnectionError: If the study is strict and the server does not answer; the values are kept all the same.
            PermissionError: If the study is strict and the server refuses this client.
        """
        # Checked here as the server would: what is kept for later must not be refused then.
        prepared = self._requests.prepare(report)
        prepared.requests[0].n_known = self._running.n_acknowledged(report.trial)
        n_made = self._n_made
        try:
            decision = decision_of(self._send_all("Report", prepared.requests))
            if decision.lacks_values:
                self._send_again(n_made)
                prepared.requests[0].n_known = 0
                decision = decision_of(self._send_all("Report", prepared.requests))
        except ServerTrouble as trouble:
            self._keep([prepared.pending], trouble)
            return Decision.carry_on(self._explained(trouble))
        self._note(prepared.pending, decision)
        return decision

    def report_many(self, reports: Sequence[Report]) -> list[Decision | Exception]:
        """Answer reports in order, in as few calls as the server allows; see `StudyOfMany.report_many`.

        Args:
            reports: The reports; the order of those of one trial is kept.
        """
        all_prepared = [self._requests.prepare_or_error(report) for report in reports]
        prepared = [one for one in all_prepared if isinstance(one, PreparedReport)]
        try:
            n_made = self._n_made
            for one in prepared:
                one.requests[0].n_known = self._running.n_acknowledged(one.pending.trial)
            responses = self._send_all("ReportBatch", self._requests.report_batches(prepared))
            answers = self._noted(prepared, list(answers_of(responses, prepared)), n_made)
        except ServerTrouble as trouble:
            self._keep([one.pending for one in prepared], trouble)
            answers = repeat(Decision.carry_on(self._explained(trouble)))  # endless: one for each report that was sent
        return [next(answers) if isinstance(one, PreparedReport) else one for one in all_prepared]

    def _note(self, pending: PendingReport, decision: Decision) -> None:
        """Keep an answered report while its trial runs, and tell what the server says of its models."""
        self._running.acknowledge(pending, is_last=decision.stop)
        if bool(decision.fit_failure) != self._incidents.fits_fail:
            self._incidents.note_fits(decision.fit_failure, self.settings.name, self.address)

    def _noted(
        self, prepared: Sequence[PreparedReport], answers: list[Decision | Exception], n_made: int
    ) -> Iterator[Decision | Exception]:
        """Keep what running trials reported, and send all again if the study has lost some of it."""
        decided = [(one.pending, answer) for one, answer in zip(prepared, answers, strict=True) if isinstance(answer, Decision)]
        for pending, decision in decided:
            self._note(pending, decision)
        if any(decision.lacks_values for _, decision in decided):
            self._send_again(n_made)
            self._sender.wake()
        return iter(answers)

    def predict(
        self,
        values: float | Sequence[float],
        *,
        configuration: Mapping[str, Any] | None = None,
        target_epoch: int | None = None,
    ) -> Prediction | None:
        """Predict where a partial curve ends; None also if the server does not answer. See `StudyLike.predict`.

        Args:
            values: `(tau,)` metric after epochs 1..tau, all finite.
            configuration: The trial's configuration, by name. Default: predict from the curve alone.
            target_epoch: Epoch to predict. Default: max_epochs.
        """
        request = self._requests.predict(values, configuration, target_epoch)
        return next(map(codec.prediction_of, self._predictions("Predict", [request])), None)

    def predict_many(self, curves: Sequence[LearningCurve], *, target_epoch: int | None = None) -> list[Prediction | None]:
        """Predict where each partial curve ends; all None if the server does not answer.

        Args:
            curves: The curves; their trials' names do not matter.
            target_epoch: Epoch to predict, of all curves. Default: max_epochs.

        Returns:
            A prediction for each curve, in their order; None where there is no model.
        """
        responses = self._predictions("PredictBatch", self._requests.predict_batches(curves, target_epoch))
        return predictions_of(responses) or [None] * len(curves)

    def finish(self, trial: str | int, state: EndState = "finished") -> TrialState:
        """End a trial and return the state that it now has; if the server does not answer, the state given.

        Args:
            trial: Name of the trial.
            state: How it ended.

        Raises:
            UnknownTrial: If the trial was never reported.
        """
        trial = trial_name(trial)
        check_name("trial", trial)
        check_end_state(state)
        finish = PendingFinish(trial, state)
        try:
            (response,) = self._send_all("FinishTrial", [self._requests.finish(finish)])
        except ServerTrouble as trouble:
            self._keep([finish], trouble)
            return state
        self._running.forget(trial)
        return codec.state_from_proto(response.state)

    def trials(self) -> tuple[Trial, ...]:
        """Return all trials in the order of their first report.

        Raises:
            ConnectionError: If the server does not answer: it alone knows them all.
            PermissionError: If it refuses this client.
        """
        listed = listed_trials(partial(self._asked, "ListTrials"), self.settings.name)
        return tuple(map(codec.trial_from_proto, listed))

    def second_chances(self, n: int = 5) -> list[SecondChance]:
        """Return the stopped trials that are worth going on with; see `StudyOfMany.second_chances`.

        Args:
            n: Most trials to return, >= 1.

        Raises:
            ValueError: If n < 1, or the study's policy states no chances.
            ConnectionError: If the server does not answer, or is of a version that has no second chances.
            PermissionError: If it refuses this client.
        """
        policy_of_chances(self.settings, n)
        call = partial(self._asked, "SecondChances", deadline_s=max(self._deadline_s, CHANCES_S))
        return list(map(codec.second_chance_from_proto, listed_chances(call, self.settings.name, n)))

    def resume(self, trial: str | int) -> None:
        """Let a stopped trial continue; see `StudyOfMany.resume`. After a ConnectionError it may be called again.

        Args:
            trial: Name of the trial. What waits to be sent, of this trial and others, is sent first.

        Raises:
            UnknownTrial: If the trial was never reported.
            ValueError: If it was not stopped.
            ConnectionError: If the server does not answer, or is of a version that cannot resume trials.
            PermissionError: If it refuses this client.
        """
        trial = trial_name(trial)
        check_name("trial", trial)
        key = self._unanswered_resumes.pop(trial, None) or uuid4().hex
        try:
            self._asked("Resume", pb.ResumeRequest(study=self.settings.name, trial=trial, key=key))
        except OSError:
            # The server may have resumed it all the same. With the same key the next call is this one, sent again.
            self._unanswered_resumes[trial] = key
            raise

    # What a study in process has no need of.

    def check(self) -> None:
        """Create the study now, or find it.

        Raises:
            ConnectionError: If the server does not answer.
            PermissionError: If there is no token, or a wrong one.
            ValueError: If the study exists with other settings.
        """
        try:
            self._make(self._patient_deadline())
        except ServerTrouble as trouble:
            self._raise(trouble)

    def status(self) -> StudyStatus:
        """Return how current the server's models are.

        Raises:
            ConnectionError: If the server does not answer.
            PermissionError: If it refuses this client.
        """
        return codec.status_from_proto(self._asked("GetStudy", pb.GetStudyRequest(study=self.settings.name)))

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Try for up to `timeout_s` to send all values that wait; return whether none is left.

        Args:
            timeout_s: Longest time, in seconds; the pause after a call without an answer does not apply.
        """
        return self._flush(timeout_s, waits_for_correction=True)

    def _flush(self, timeout_s: float, *, waits_for_correction: bool) -> bool:
        deadline = time.monotonic() + timeout_s
        while not self._outbox.is_empty():
            if time.monotonic() >= deadline:
                return False
            try:
                n_made = self._n_made
                self._drain(deadline, wait_for_server=True)
                self._succeeded()
            except UnknownStudy:
                self._send_again(n_made)
            except ServerTrouble as trouble:
                self._failed(trouble)
                if trouble.lasts and not waits_for_correction:
                    return False
                time.sleep(max(0.0, min(RETRY_S, deadline - time.monotonic())))
        return True

    def close(self) -> None:
        """Send what waits, for 5 s at most, and close the connection. What could not be sent is told with a warning.

        The end of a `with` does this, and the end of the process sends what waits, too.
        """
        self._sender.stop()
        self.send_the_rest(END_S)
        self._connection.close()
        self._sender.close()

    def send_the_rest(self, timeout_s: float) -> None:
        """Send what waits; what could not be sent is told with a warning. For the end of a process.

        Args:
            timeout_s: Longest time in seconds to wait for a server; for one that refuses what waits, there is no waiting.
        """
        END_OF_PROCESS.forget(self)
        if not self._flush(timeout_s, waits_for_correction=False):
            what, why = str(self._outbox), self._cause().at(self.address)
            _log.warning("study %r: %s could not be sent (%s)", self.settings.name, what, why)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # Sending.

    def _send_all(self, method: str, requests: Sequence[Any]) -> list[Any]:
        """Send what waits, then these. Raises ServerTrouble, also at once while the server is left alone."""
        if not requests:
            return []
        if not self._breaker.lets_pass():
            raise self._cause().with_traceback(None)
        deadline = self._deadline(len(requests))  # of the one call that the user made
        try:
            responses = self._sent(method, requests, deadline)
        except ServerTrouble as trouble:
            self._failed(trouble)
            self._sender.wake()
            raise
        except Exception:
            self._succeeded()  # the server did answer: it was the caller's mistake
            raise
        self._succeeded()
        return responses

    def _sent(self, method: str, requests: Sequence[Any], deadline: float) -> list[Any]:
        """Send what waits, then these; once more, with all that running trials reported, if the server has no such study."""
        n_made = self._n_made
        try:
            self._drain(deadline)
            return [self._call(method, request, deadline) for request in requests]
        except UnknownStudy:
            self._send_again(n_made)
        try:
            self._drain(deadline)
            return [self._call(method, request, deadline) for request in requests]
        except UnknownStudy as error:
            raise ServerTrouble(str(error)) from None

    def _send_again(self, n_made: int) -> None:
        """Prepare to make the study again and to send all that its running trials reported; of several threads, one does."""
        with self._lost:
            if n_made != self._n_made:
                return
            self._made = False
            self._n_made += 1
            reports = self._running.unacknowledged()
            self._outbox.add_first(reports)
        n_trials = len({report.trial for report in reports})
        _log.warning(
            "server %s has lost what it had of study %r: its store is a new or an older one, or the study was deleted. The "
            "values of %s that this process reported are sent again; trials that had ended are lost to it.",
            *(self.address, self.settings.name, plural(n_trials, "running trial")),
        )

    def _deadline(self, n_calls: int = 1) -> float:
        """The time at which a training stops waiting for so many calls: `deadline_s` after the link could have carried them."""
        if not self._connection.was_reached:  # to connect and to make the study takes several round trips, once
            return self._patient_deadline()
        return time.monotonic() + self._deadline_s + n_calls * self._connection.round_trip_s

    def _patient_deadline(self) -> float:
        """The same where the server may have to be connected to, and no training waits."""
        return time.monotonic() + max(self._deadline_s, CONNECT_S) + self._connection.round_trip_s

    def _succeeded(self) -> None:
        self._breaker.succeeded()
        if self._incidents.cause is not None:
            self._incidents.end(self.address)

    def _failed(self, trouble: ServerTrouble) -> None:
        self._incidents.begin(trouble, self.address)  # first, so that there is a cause when the breaker refuses
        self._breaker.failed()

    def _cause(self) -> ServerTrouble:
        """Why the server is left alone."""
        return self._incidents.cause or ServerTrouble("it did not a moment ago")

    def _predictions(self, method: str, requests: Sequence[Any]) -> list[Any]:
        """What the server says; nothing when it does not answer."""
        try:
            return self._send_all(method, requests)
        except ServerTrouble as trouble:
            if self._strict:
                self._raise(trouble)
            _log.debug("no prediction: %s", trouble)
            return []

    def _keep(self, items: Iterable[Pending], trouble: ServerTrouble) -> None:
        self._in_use = True
        for item in items:
            if isinstance(item, PendingReport):
                self._running.add(item)
            self._outbox.add(item)
        END_OF_PROCESS.watch(self)
        self._sender.wake()
        if self._strict:
            self._raise(trouble)

    def _reach(self) -> bool:
        """Send what waits, from the sender's thread; returns whether the server answered."""
        n_made = self._n_made
        try:
            if len(self._outbox):
                self._drain(time.monotonic() + DRAIN_S)
                self._succeeded()  # at once: a training that waited for this may close the study now
            self._sent("GetStudy", [pb.GetStudyRequest(study=self.settings.name)], self._patient_deadline())
        except UnknownStudy:
            self._send_again(n_made)
            return False
        except ServerTrouble as trouble:
            if not self._sender.is_closed:
                self._incidents.begin(trouble, self.address)
            return False
        self._succeeded()
        return self._outbox.is_empty()  # False: values came in meanwhile, so the thread tries once more

    def _asked(self, method: str, request: Any, *, deadline_s: float | None = None) -> Any:
        """One answer, whatever the breaker says. Raises ConnectionError or PermissionError without one."""
        deadline = max(self._deadline(), time.monotonic() + (deadline_s or 0.0))
        try:
            (response,) = self._sent(method, [request], deadline)
            return response
        except ServerTrouble as trouble:
            self._raise(trouble)

    def _drain(self, deadline: float, *, wait_for_server: bool = False) -> None:
        """Send what waits, one thread at a time."""
        if self._outbox.is_empty():
            return
        # Waiting keeps the order: a new report must not overtake older values that another thread is sending.
        if not self._draining.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise OutOfTime("earlier values are still being sent")
        try:
            # What waits now, not what comes meanwhile: on a slow link trainings report faster than items are sent.
            for _ in range(len(self._outbox)):
                item = self._outbox.take()
                if item is not None:
                    self._send_item(item, deadline, wait_for_server)
        finally:
            self._draining.release()

    def _send_item(self, item: Pending, deadline: float, wait_for_server: bool) -> None:
        # `flush` may have minutes; one item that hangs must not use them all.
        deadline = min(deadline, self._patient_deadline())
        try:
            if isinstance(item, PendingFinish):
                self._call("FinishTrial", self._requests.finish(item), deadline, wait_for_server)
            else:
                for part in item.chunks():
                    self._call("Report", self._requests.report(part), deadline, wait_for_server)
        # It would be refused at every attempt and block all that waits behind it.
        except (ValueError, UnknownTrial) as mistake:
            _log.warning("trial %r: the server refuses what was kept for it, which is dropped: %s", item.trial, mistake)
            self._outbox.done(item)
        except BaseException:  # also Ctrl-C: nothing that was taken may be lost
            self._outbox.put_back(item)
            raise
        else:
            self._outbox.done(item)
            if isinstance(item, PendingFinish):
                self._running.forget(item.trial)

    def _call(self, method: str, request: Any, deadline: float, wait_for_server: bool = False) -> Any:
        """One call, on a study that is made first unless it is known to be there."""
        if not self._made:
            self._make_or_trouble(deadline, wait_for_server)
        return self._call_once(method, request, deadline, wait_for_server)

    def _make_or_trouble(self, deadline: float, wait_for_server: bool) -> None:
        try:
            self._make(deadline, wait_for_server)
        except ValueError as error:  # such as other settings
            # The first call raises it, as `check` does. Later it is no reason to end a training.
            if self._in_use:
                raise Refused(str(error)) from error
            raise

    def _make(self, deadline: float, wait_for_server: bool = False) -> None:
        # Creating a study that exists with the same settings finds it, so the order of clients does not matter.
        request = pb.CreateStudyRequest(settings=codec.settings_to_proto(self.settings))
        self._call_once("CreateStudy", request, deadline, wait_for_server)
        self._made = self._in_use = True

    def _call_once(self, method: str, request: Any, deadline: float, wait_for_server: bool) -> Any:
        return self._connection.call(method, request, deadline_s=deadline - time.monotonic(), wait_for_server=wait_for_server)

    def _explained(self, trouble: ServerTrouble) -> str:
        return (
            f"server {self.address} {trouble.verb} ({trouble}): "
            f"training continues, {plural(self._outbox.n_values(), 'value')} not sent yet"
        )

    def _raise(self, trouble: ServerTrouble) -> Any:
        if isinstance(trouble.__cause__, ValueError):  # of the study's settings
            raise trouble.__cause__ from None
        error = PermissionError if isinstance(trouble, Denied) else ConnectionError
        raise error(trouble.at(self.address)) from None


def _start_anew_in_a_fork() -> None:
    for study in tuple(_studies):  # a copy: the set may shrink while it is iterated
        study._forked()


# Weak: a study that nobody uses any more is not reset, nor kept alive.
_studies: WeakSet[RemoteStudy] = WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew_in_a_fork)
