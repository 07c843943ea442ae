"""The worker protocol survives JSON, and a worker loads nothing but the standard library."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest

from curvestop.hyperband.executors.messages import (
    CommandStarted,
    Died,
    Ended,
    Failed,
    Message,
    NextEpoch,
    Ready,
    Request,
    StartJob,
    StopJob,
    Unusable,
    Value,
    decode,
    encode,
)


@pytest.mark.parametrize(
    "message",
    [
        StartJob(
            "a", {"lr": 0.1, "n": 3, "flag": True, "kind": "sgd"}, "/run/checkpoints/a", 2, 9, "/run/values/a", "/run/a.log"
        ),
        NextEpoch(),
        StopJob(),
        Ready(),
        Unusable("ImportError: no"),
        CommandStarted(4711),
        Value(1e-300, seconds=0.25),
        Value(-math.inf),
        Ended(),
        Failed("ValueError: no", "Traceback ...", killed=True),
        Died("the worker was killed by SIGKILL", killed=True),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_is_decoded_is_what_was_encoded(message: Request | Message) -> None:
    assert decode(encode(message)) == message


def test_nan_stays_nan() -> None:
    assert math.isnan(decode(encode(Value(math.nan))).value)


def test_a_worker_imports_only_the_standard_library() -> None:
    code = (
        "import sys; before = set(sys.modules); import curvestop.hyperband.executors.worker_main;"
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names - {'__mp_main__'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["curvestop"]
