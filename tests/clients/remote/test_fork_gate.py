"""A fork waits for the calls of all other threads, a call waits while a fork is made, and neither for long nor for itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from curvestop.clients.remote.fork_gate import FORK_GATE, ForkGate
from curvestop.clients.remote.remote_study import connect
from tests.clients.remote.test_fails_open import PATIENT_S
from tests.contracts import last_seen
from tests.server_process import ServerProcess

ROOT = Path(__file__).parents[3]
LONG_S = 60.0


@pytest.fixture
def gate() -> ForkGate:
    return ForkGate(longest_wait_s=LONG_S)


def begun(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def await_waiting(gate: ForkGate, thread: threading.Thread) -> None:
    """Until the thread waits at the gate; or has passed it, which a test then finds."""
    deadline = time.monotonic() + LONG_S
    while thread.is_alive() and not gate._changed._waiters:  # type: ignore[attr-defined]
        assert time.monotonic() < deadline
        time.sleep(0.001)  # there is no event for this


class TestForkGate:
    def test_a_fork_waits_for_the_calls_of_other_threads(self, gate: ForkGate) -> None:
        happened, inside, end = [], threading.Event(), threading.Event()

        def call() -> None:
            with gate:
                inside.set()
                end.wait(LONG_S)
                happened.append("the call ended")

        def fork() -> None:
            gate.fork_begins()
            happened.append("the fork was made")
            gate.fork_ended()

        calling = begun(call)
        assert inside.wait(LONG_S)
        forking = begun(fork)
        await_waiting(gate, forking)
        end.set()
        for thread in (calling, forking):
            thread.join(LONG_S)
        assert happened == ["the call ended", "the fork was made"]

    def test_a_call_waits_while_forks_are_made(self, gate: ForkGate) -> None:
        happened = []

        def call() -> None:
            with gate:
                happened.append("the call began")

        gate.fork_begins()
        gate.fork_begins()  # of another thread
        calling = begun(call)
        await_waiting(gate, calling)
        gate.fork_ended()
        happened.append("one fork was made")
        await_waiting(gate, calling)
        happened.append("and the other one")
        gate.fork_ended()
        calling.join(LONG_S)
        assert happened == ["one fork was made", "and the other one", "the call began"]

    def test_calls_go_side_by_side(self, gate: ForkGate) -> None:
        both = threading.Barrier(2, timeout=LONG_S)

        def call() -> None:
            with gate:
                both.wait()

        calling = begun(call)
        call()
        calling.join(LONG_S)
        assert not both.broken

    def test_a_thread_does_not_wait_for_its_own_call(self, gate: ForkGate) -> None:
        def fork_inside_a_call() -> None:
            with gate, gate:
                gate.fork_begins()
                with gate:
                    pass
                gate.fork_ended()

        thread = begun(fork_inside_a_call)
        thread.join(LONG_S / 2)
        assert not thread.is_alive()

    def test_no_one_waits_longer_than_that(self) -> None:
        impatient = ForkGate(longest_wait_s=0.01)
        inside, end = threading.Event(), threading.Event()

        def call() -> None:
            with impatient:
                inside.set()
                end.wait(LONG_S)

        calling = begun(call)
        assert inside.wait(LONG_S)
        impatient.fork_begins()
        another = begun(lambda: impatient.__enter__())
        another.join(LONG_S)
        assert not another.is_alive()
        assert calling.is_alive()
        end.set()
        calling.join(LONG_S)

    def test_in_a_fork_it_is_as_new(self, gate: ForkGate) -> None:
        """Though another thread was inside, another one forked, and another one held the lock."""
        locked, end = threading.Event(), threading.Event()

        def stay_behind() -> None:
            gate.__enter__()
            gate.fork_begins()
            with gate._changed:
                locked.set()
                end.wait(LONG_S)

        behind = begun(stay_behind)
        assert locked.wait(LONG_S)
        gate.forked()
        gate.fork_begins()
        gate.fork_ended()
        with gate:
            pass
        end.set()
        behind.join(LONG_S)

    def test_a_fork_inside_a_call_is_inside_it_still(self, gate: ForkGate) -> None:
        with gate:
            gate.forked()
            assert gate._n_calls == 1
        assert gate._n_calls == 0


# In a process of its own, as a training is: this one has run servers and clusters, whose threads a fork leaves behind.


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("forks") / "data") as server:
        yield server


def in_a_process_of_its_own(scenario: Callable[[str, str], None], server: ServerProcess, **environment: str) -> str:
    """Returns what was written to standard error."""
    environment = {**os.environ, **environment}
    command = [sys.executable, "-m", __name__, scenario.__name__, server.address, server.token]
    ended = subprocess.run(command, cwd=ROOT, env=environment, timeout=240, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


def test_a_fork_waits_for_the_call_of_another_thread_and_its_own_fork_reports_too(server: ServerProcess) -> None:
    said = in_a_process_of_its_own(fork_beside_a_call, server)
    assert "skipping fork() handlers" not in said  # gRPC's word for a fork inside a call


def fork_beside_a_call(address: str, token: str) -> None:
    FORK_GATE._longest_wait_s = LONG_S
    with connect(address, last_seen(), token=token, deadline_s=PATIENT_S) as study, mute_server() as mute:
        unanswered = connect(address_of(mute), last_seen(), token="t", deadline_s=1.0)
        study.report("parent", [0.1])
        calling = begun(lambda: unanswered.report("a", [0.1]))
        await_call()
        child = os.fork()
        if child == 0:
            grandchild = os.fork()
            answered = "does not answer" not in study.report("child" if grandchild else "grandchild", [0.2]).reason
            well = grandchild == 0 or os.waitpid(grandchild, 0)[1] == 0
            os._exit(0 if answered and well else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        calling.join(LONG_S)
        unanswered._sender.close()
        assert sorted(trial.trial for trial in study.trials()) == ["child", "grandchild", "parent"]


def test_a_fork_in_a_signals_handler_inside_a_call_does_not_hang(server: ServerProcess) -> None:
    in_a_process_of_its_own(fork_inside_a_call, server)


def fork_inside_a_call(address: str, token: str) -> None:
    n_calls: list[int] = []

    def fork(number: int, frame: object) -> None:
        child = os.fork()
        if child == 0:
            os._exit(0)
        n_calls.append(FORK_GATE._n_calls)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        mute.close()

    def interrupt() -> None:
        await_call()
        os.kill(os.getpid(), signal.SIGUSR1)

    signal.signal(signal.SIGUSR1, fork)
    with mute_server() as mute:
        unanswered = connect(address_of(mute), last_seen(), token="t", deadline_s=LONG_S)
        interrupting = begun(interrupt)
        assert "does not answer" in unanswered.report("a", [0.1]).reason
        interrupting.join(LONG_S)
        unanswered._sender.close()
    assert n_calls == [1]
    with connect(address, last_seen(), token=token, deadline_s=PATIENT_S) as study:
        study.check()


@pytest.mark.parametrize("off", ["0", "False"])
def test_a_fork_for_which_grpc_is_not_made_does_not_hang_either(off: str, server: ServerProcess) -> None:
    in_a_process_of_its_own(report_from_a_fork, server, GRPC_ENABLE_FORK_SUPPORT=off)


def report_from_a_fork(address: str, token: str) -> None:
    with connect(address, last_seen(), token=token, deadline_s=PATIENT_S) as study:
        study.report("of the parent", [0.1])
        child = os.fork()
        if child == 0:
            explained = "GRPC_ENABLE_FORK_SUPPORT is off" in study.report("of the child", [0.2]).reason
            os._exit(0 if explained else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert "does not answer" not in study.report("of the parent", [0.2], first_epoch=2).reason


def mute_server() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def address_of(server: socket.socket) -> str:
    return f"127.0.0.1:{server.getsockname()[1]}"


def await_call() -> None:
    while not FORK_GATE._n_calls:
        time.sleep(0.001)  # there is no event for this


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
