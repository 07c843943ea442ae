"""The circuit breaker, on a clock of our own."""

from curvestop.clients.remote.circuit_breaker import CircuitBreaker


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_pauses_double_up_to_a_minute_and_a_success_ends_them() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock=clock)
    assert breaker.lets_pass()
    breaker.failed()
    for pause_s in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
        clock.now_s += pause_s - 0.001
        assert not breaker.lets_pass()
        clock.now_s += 0.001
        assert breaker.lets_pass()
        assert not breaker.lets_pass()  # one try at a time
        breaker.failed()
    breaker.succeeded()
    assert breaker.lets_pass()
    breaker.failed()
    clock.now_s += 0.5
    assert breaker.lets_pass()


def test_the_pause_begins_when_the_try_ends() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock=clock)
    breaker.failed()
    clock.now_s += 0.5
    assert breaker.lets_pass()
    clock.now_s += 1.0  # the try takes its whole deadline
    breaker.failed()
    clock.now_s += 0.999
    assert not breaker.lets_pass()
    clock.now_s += 0.001
    assert breaker.lets_pass()


def test_failures_that_were_under_way_together_count_once() -> None:
    clock = Clock()
    breaker = CircuitBreaker(clock=clock)
    for _ in range(10):
        breaker.failed()
    clock.now_s += 0.5
    assert breaker.lets_pass()
