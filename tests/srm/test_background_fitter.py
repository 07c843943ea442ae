"""The fitter: it rests while calls come, and not when nobody calls or somebody waits for it."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from curvestop.srm import background_fitter as module
from curvestop.srm.background_fitter import BackgroundFitter, DueFits, FitBudget, FitTooLarge
from curvestop.srm.cooperative import pause
from curvestop.srm.study import Study
from tests.contracts import COMPLETE, last_seen

WAIT_S = 30.0


class Working:
    """A study whose fit works, pauses, and is done."""

    id, tenant = 1, "one"

    def __init__(self) -> None:
        self.began, self.ended = threading.Event(), threading.Event()

    def prepare_fit(self) -> None: ...

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


class Looping:
    """A study whose one fit works and pauses until it is told to end, or is ended."""

    def __init__(self, number: int, tenant: str, *, n_bytes: int = 0) -> None:
        self.id, self.tenant, self.n_bytes = number, tenant, n_bytes
        self.began, self.enough = threading.Event(), threading.Event()
        self.ended_by: Exception | None = None

    def prepare_fit(self) -> None: ...

    def fit_next(self) -> bool:
        if self.began.is_set():
            return False
        self.began.set()
        try:
            while not self.enough.is_set():
                work(2 * module.SHORTEST_SLICE_S)
                pause(self.n_bytes)
        except FitTooLarge as error:
            self.ended_by = error
        return True


def work(cpu_s: float) -> None:
    until = time.thread_time() + cpu_s
    while time.thread_time() < until:
        pass


def test_a_short_fit_does_not_wait_for_the_long_one_of_another_tenant() -> None:
    fitter, long, short = BackgroundFitter(), Looping(1, "other"), Working()
    fitter.wake(long)
    assert long.began.wait(WAIT_S)
    fitter.wake(short)
    assert short.ended.wait(WAIT_S)
    assert not long.enough.is_set()
    long.enough.set()
    assert fitter.wait_fitted(WAIT_S)
    fitter.close(WAIT_S)


def test_the_fits_of_a_tenant_follow_each_other() -> None:
    fitter, long, short = BackgroundFitter(), Looping(2, "one"), Working()
    fitter.wake(long)
    assert long.began.wait(WAIT_S)
    fitter.wake(short)
    assert not fitter.wait_fitted(0.1)
    assert not short.began.is_set()
    long.enough.set()
    assert fitter.wait_fitted(WAIT_S)
    assert short.ended.is_set()
    fitter.close(WAIT_S)


def test_a_fit_that_takes_too_long_is_ended() -> None:
    fitter, endless = BackgroundFitter(budget=FitBudget(cpu_s=0.1, memory_mib=1e6)), Looping(1, "one")
    fitter.wake(endless)
    assert fitter.wait_fitted(WAIT_S)
    assert str(endless.ended_by).startswith("a fit may take 0.1 CPU seconds, and this one took more; take a predictor that ")
    fitter.close(WAIT_S)


def test_a_fit_that_needs_too_much_memory_is_ended_before_it_takes_it() -> None:
    fitter, wide = BackgroundFitter(budget=FitBudget(cpu_s=1e6, memory_mib=512)), Looping(1, "one", n_bytes=1 << 40)
    fitter.wake(wide)
    assert fitter.wait_fitted(WAIT_S)
    assert str(wide.ended_by).startswith("a fit may take 512 MiB of memory, and this one needs more; take a predictor that ")
    fitter.close(WAIT_S)


class Growing(Looping):
    """A study whose fit keeps what it computes."""

    def fit_next(self) -> bool:
        self.kept: list[bytearray] = []
        try:
            while not self.enough.is_set():
                self.kept.append(bytearray(b"x") * (8 << 20))
                work(2 * module.SHORTEST_SLICE_S)
                pause()
        except FitTooLarge as error:
            self.ended_by = error
            self.enough.set()
        return False


def test_a_fit_that_took_too_much_memory_is_ended() -> None:
    fitter, growing = BackgroundFitter(budget=FitBudget(cpu_s=1e6, memory_mib=64)), Growing(1, "one")
    fitter.wake(growing)
    assert fitter.wait_fitted(WAIT_S)
    assert "64 MiB" in str(growing.ended_by)
    assert len(growing.kept) <= 16
    fitter.close(WAIT_S)


def test_what_cannot_pause_is_prepared_while_others_fit() -> None:
    class Loading(Looping):
        def prepare_fit(self) -> None:
            self.began.set()
            assert self.enough.wait(WAIT_S)

        def fit_next(self) -> bool:
            return False

    fitter, loading, short = BackgroundFitter(), Loading(1, "other"), Working()
    fitter.wake(loading)
    assert loading.began.wait(WAIT_S)
    fitter.wake(short)
    assert short.ended.wait(WAIT_S)
    loading.enough.set()
    assert fitter.wait_fitted(WAIT_S)
    fitter.close(WAIT_S)


def test_the_fits_that_are_due_are_run_one_at_a_time_until_none_is() -> None:
    study = Study(last_seen(), fit="deferred")
    fits = DueFits(threading.Lock(), lambda: study)
    assert not fits.run_next()
    for number, values in enumerate(COMPLETE):
        study.report(f"complete-{number}", values)
    assert study.forecasts.n_fitted(3) == 0
    assert fits.run_next()
    assert study.forecasts.n_fitted(3) == 6
    assert not fits.run_next()
