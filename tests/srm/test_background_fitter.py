"""The fitter: it rests while calls come, and not when nobody calls or somebody waits for it."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from curvestop.srm import background_fitter as module
from curvestop.srm.background_fitter import BackgroundFitter
from curvestop.srm.cooperative import pause

WAIT_S = 30.0


class Working:
    """A study whose fit works, pauses, and is done."""

    id = 1

    def __init__(self) -> None:
        self.began, self.ended = threading.Event(), threading.Event()

    def fit_next(self) -> bool:
        if self.ended.is_set():
            return False
        self.began.set()
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            pass
        pause()
        self.ended.set()
        return True


@pytest.fixture
def study() -> Any:
    return Working()


@pytest.fixture
def fitter() -> Any:
    made = BackgroundFitter(duty_cycle=1e6)
    yield made
    made.close(WAIT_S)


def test_it_goes_on_when_no_call_comes(fitter: BackgroundFitter, study: Working) -> None:
    fitter.wake(study)
    assert study.ended.wait(WAIT_S)


def test_it_rests_while_calls_come_until_somebody_waits_for_the_fit(
    fitter: BackgroundFitter, study: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IDLE_AFTER_S", WAIT_S)  # the next call is never too late
    fitter.wake(study)
    assert study.began.wait(WAIT_S)
    fitter.wake(study)
    assert not study.ended.wait(0.2)
    assert fitter.wait_fitted(WAIT_S)
    assert study.ended.is_set()


def test_its_end_ends_a_rest(study: Working, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_AFTER_S", WAIT_S)
    fitter = BackgroundFitter(duty_cycle=1e6)
    fitter.wake(study)
    assert study.began.wait(WAIT_S)
    fitter.close(WAIT_S)
    assert study.ended.is_set()
