"""A connection: it makes one remote call within a deadline, on whichever server answers.

Its errors are of two kinds. A mistake of the caller (an epoch that is out of range, an unknown trial) raises what a study in
this process would raise; everything else raises `ServerTrouble`, which a training loop can survive.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import grpc

from curvestop.clients.remote.channels import FORK_SUPPORT, Channels, ClientTls, would_hang
from curvestop.clients.remote.fork_gate import FORK_GATE
from curvestop.clients.remote.token import default_token_path, find_token
from curvestop.proto.endpoint import AUTHORIZATION, MISTAKE, MISTAKES, PUSHBACK


class ServerTrouble(Exception):
    """A call failed, and not by a mistake of the caller: the server cannot be reached or has no answer in time.

    Args:
        why: The cause, in words that fit after "server HOST:PORT does not answer: ".

    Attributes:
        verb: What the server does, for "server HOST:PORT does not answer".
        lasts: Whether waiting does not help: somebody must mend something.
    """

    verb = "does not answer"
    lasts = False

    def at(self, address: str) -> str:
        """Return the trouble as a sentence.

        Args:
            address: `HOST:PORT` of the server.
        """
        return f"server {address} {self.verb}: {self}"


class OutOfTime(ServerTrouble):
    """The time was over before a server was called; why it is away, an earlier call knows."""


class Failed(ServerTrouble):
    """The server answered with an error of its own."""

    verb = "fails"


class Refused(ServerTrouble):
    """The server answered, and will refuse the call again."""

    verb = "refuses this call"
    lasts = True


class Denied(Refused):
    """The server refused the client: its token is missing or wrong, or lacks a permission."""

    verb = "refuses this client"


class NoToken(Denied):
    """The client has no token, so no server was called; the cause says what to set."""

    verb = "was not asked"


class Unusable(Refused):
    """No server was called: the connection was closed, or this process cannot have one."""

    verb = "was not asked"


class Connection:
    """A connection to one or more servers that keep the same studies; opened by the first call. Safe for several threads.

    Args:
        target: `HOST:PORT` or `HOST` of a server; several separated by commas.
        token: The token. Default: see `find_token`.
        tls: Files for TLS. Default: no TLS for a server on this machine, the machine's authorities for any other.

    Attributes:
        arguments: Target, token and TLS files as they were given: what another connection of this kind is made of.
        was_reached: Whether a server answered once in this process.
        round_trip_s: What a call takes at least: the quickest answer since the last call that had none, in seconds; 0 before the
            first answer.

    Raises:
        ValueError: If the target is not a host and a port, or `tls` has a certificate without its key.
        PermissionError: If the file that CURVESTOP_TOKEN_FILE names, or a file of `tls`, cannot be read.

    Examples:
        >>> connection = Connection("localhost", token="secret")
        >>> connection.address
        '127.0.0.1:7070'
        >>> connection.close()
    """

    def __init__(self, target: str, *, token: str | None = None, tls: ClientTls | None = None) -> None:
        self.arguments = target, token, tls
        self._channels = Channels(target, tls=tls)
        self._given_token = token
        # Looked for at once, so that a named file which cannot be read is an error of `connect`. A default file that is missing
        # may appear later, with the server: `_current_token` looks again.
        self._token = find_token(token)
        self._lock = threading.Lock()  # guards _channels
        self._closed = False
        self.was_reached = False
        self.round_trip_s = 0.0
        self._is_measured = False  # since the last call without an answer: the link may be another one now

    @property
    def address(self) -> str:
        """`HOST:PORT` of the server in use."""
        return self._channels.address

    def call(self, method: str, request: Any, *, deadline_s: float, wait_for_server: bool = False) -> Any:
        """Call a method of the service.

        A server that gives no answer is followed by the next one; the servers left share the remaining time equally.

        Args:
            method: Name of the remote method, such as "Report".
            request: Its request message.
            deadline_s: Longest duration of the whole call, in seconds.
            wait_for_server: Whether to wait, until the deadline, for a server that cannot be reached. Default: fail at once.

        Returns:
            The method's response message.

        Raises:
            ServerTrouble: If no server answered, or the server failed or refused the call.
            Exception: One of the types in `MISTAKES`, for a mistake of the caller.
        """
        deadline = time.monotonic() + deadline_s
        for n_left in range(len(self._channels), 0, -1):
            try:
                return self._call_once(method, request, (deadline - time.monotonic()) / n_left, wait_for_server)
            except _NoAnswer as trouble:  # all other errors are answers, and another server would give the same
                with self._lock:
                    self._channels.try_next(trouble.address)
                if n_left == 1:
                    raise
        raise AssertionError("a connection has at least one server")

    def close(self) -> None:
        """Close the channels; later calls raise `Unusable`."""
        self._closed = True
        # Closing works inside gRPC, too, so no fork may happen meanwhile.
        with FORK_GATE:
            self._channels.close()

    def forked(self) -> None:
        """Reset in a forked child: the channels and whoever held the lock belong to the parent."""
        self._lock = threading.Lock()
        self._channels.forget()
        self.was_reached = False  # the child's own connection takes as long as the first one

    def _call_once(self, method: str, request: Any, deadline_s: float, wait_for_server: bool) -> Any:
        if self._closed:
            raise Unusable("the connection was closed")
        if deadline_s <= 0:
            raise OutOfTime("the deadline passed before the call began")
        if would_hang():
            raise Unusable(f"{FORK_SUPPORT} is off, so gRPC cannot be used in a forked process: unset that variable")
        # Not by gRPC's call credentials: those start a thread for each call, and a fork may wait a minute for it.
        metadata = ((AUTHORIZATION, f"Bearer {self._current_token()}"),)
        try:
            with FORK_GATE:
                # The lock is held for the choice of the server only: the calls of several threads run side by side.
                with self._lock:
                    address, stub = self._channels.address, self._channels.stub()
                began = time.monotonic()
                response = getattr(stub, method)(request, timeout=deadline_s, metadata=metadata, wait_for_ready=wait_for_server)
                self._answered_after(time.monotonic() - began)
                return response
        except grpc.RpcError as error:
            if self._closed:  # while the call was under way
                raise Unusable("the connection was closed") from None
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                self._token = None  # look for it again at the next call: a new server writes a new token
            translated = _exception_of(error, method, deadline_s, address, wait_for_server)
            if isinstance(translated, _NoAnswer):
                self._is_measured = False
            else:
                self.was_reached = True
            raise translated from None  # gRPC's own traceback says nothing more

    def _answered_after(self, seconds: float) -> None:
        # The least is the link's: what a call takes beyond it is the server's time, or that of a new connection.
        if not self._is_measured or seconds < self.round_trip_s:
            self.round_trip_s = seconds
            self.was_reached = self._is_measured = True

    def _current_token(self) -> str:
        try:
            self._token = self._token or find_token(self._given_token)
        except PermissionError as error:
            raise Denied(str(error)) from None
        if self._token is None:
            missing = f"{default_token_path()} does not exist; `curvestop serve` on this machine writes it"
            raise NoToken(f"no token found: set CURVESTOP_TOKEN or CURVESTOP_TOKEN_FILE ({missing})")
        return self._token


class _NoAnswer(ServerTrouble):
    """A server that could not be reached or did not answer in time; the next one may."""

    def __init__(self, why: str, address: str) -> None:
        super().__init__(why)
        self.address = address


class _WaitedInVain(_NoAnswer, OutOfTime):
    """A server that could not be connected to, though the call waited for it."""


# What gRPC says of a connection that fails -> for people. The first that fits counts.
_WHY_UNREACHABLE = {
    "Connection refused": "nothing listens on that port",
    "errors resolving": "there is no such host",
    "WRONG_VERSION_NUMBER": "it does not speak TLS",
    "handshake failed": "its certificate is of no authority or host that this client trusts",
    "Failed parsing HTTP/2": "what listens on that port is no curvestop server",
    "Socket closed": "it closed the connection, as a server with TLS does to a client without",
}


def _exception_of(error: Any, method: str, deadline_s: float, address: str, wait_for_server: bool) -> Exception:
    """Translate gRPC's error into a caller's mistake or a `ServerTrouble`."""
    # The server names the exception in trailing metadata, so that the caller sees the same type as in process.
    trailing = dict(error.trailing_metadata() or ())
    mistake = MISTAKES.get(trailing.get(MISTAKE, ""))
    if mistake is not None:
        return mistake(error.details())
    if trailing.get(PUSHBACK) == "-1":  # such as a quota: it would be refused again
        return Refused(error.details())
    match error.code():
        case grpc.StatusCode.UNAVAILABLE if PUSHBACK in trailing:  # it has too many calls, or is stopping
            return _NoAnswer(error.details(), address)
        case grpc.StatusCode.UNAVAILABLE:  # after gRPC's own retries, see `RETRY_POLICY`
            return _NoAnswer(f"it cannot be reached: {_why_unreachable(error.details())}", address)
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            kind = _WaitedInVain if wait_for_server else _NoAnswer
            return kind(f"no answer within {deadline_s:.3g} s", address)
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return Denied(error.details())
        case grpc.StatusCode.UNIMPLEMENTED if method == "CreateStudy":  # which the first version had
            return Refused("it is no curvestop server: is the port right?")
        case grpc.StatusCode.UNIMPLEMENTED:
            return Refused(f"it has no method {method}: upgrade the server to this client's version of curvestop")
        case grpc.StatusCode.RESOURCE_EXHAUSTED:  # a message that is too large
            return Refused(error.details())
        case code:
            return Failed(f"{code.name}: {error.details()}")


def _why_unreachable(details: str) -> str:
    if details == "Socket closed":  # without having failed to connect
        return "the connection was lost"
    known = (why for words, why in _WHY_UNREACHABLE.items() if words in details)
    return next(known, details.rpartition("last error: ")[2])
