"""The values of the trials that run are kept; those of trials that a server knows the end of are not."""

from __future__ import annotations

from curvestop.clients.remote.outbox import PendingReport
from curvestop.clients.remote.running_trials import RunningTrials
from curvestop.srm.report import BracketPosition

BRACKET = BracketPosition(0, 1, ((3, 1), (1, 3)))


def test_values_come_back_in_order_with_what_was_said_once() -> None:
    running = RunningTrials(max_epochs=10)
    running.acknowledge(PendingReport("a", 1, (0.1,), {"lr": 1.0}, bracket=BRACKET), is_last=False)
    running.acknowledge(PendingReport("a", 1, (0.5, 0.2)), is_last=False)  # the first value of epoch 1 stays
    running.acknowledge(PendingReport("a", 4, (0.4,)), is_last=False)
    running.acknowledge(PendingReport("a", 3, (0.3, 0.4)), is_last=False)
    running.add(PendingReport("a", 6, (0.6,)))
    assert running.n_acknowledged("a") == 4
    assert running.n_acknowledged("b") == 0
    assert running.unacknowledged() == [
        PendingReport("a", 1, (0.1, 0.2, 0.3, 0.4), {"lr": 1.0}, bracket=BRACKET),
        PendingReport("a", 6, (0.6,), None, bracket=BRACKET),
    ]
    assert running.n_acknowledged("a") == 0


def test_a_trial_whose_end_a_server_knows_is_forgotten() -> None:
    running = RunningTrials(max_epochs=3)
    running.acknowledge(PendingReport("stopped", 1, (0.1,)), is_last=True)
    running.acknowledge(PendingReport("diverged", 1, (0.1,), diverged=True), is_last=False)
    running.acknowledge(PendingReport("complete", 1, (0.1, 0.2, 0.3)), is_last=False)
    running.acknowledge(PendingReport("finished", 1, (0.1,)), is_last=False)
    running.forget("finished")
    running.add(PendingReport("kept", 1, (0.1, 0.2, 0.3)))  # no server has its end
    assert running.unacknowledged() == [PendingReport("kept", 1, (0.1, 0.2, 0.3))]
