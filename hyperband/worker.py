"""A worker process: imports the training script once and trains whatever its driver sends, one epoch at a time.

Only the standard library is imported here, so that a worker starts as fast as the script's own imports.
Messages are JSON objects over one pair of sockets. From the driver: {"train": configuration, "checkpoint_dir": path}, then
"go" or "stop" after every value. To the driver: {"kind": "ready" | "refused" | "value" | "ended" | "failed", ...}.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

Train = Callable[[dict[str, Any], Path], Iterator[float]]


def main(script: str, descriptor: str) -> None:
    os.set_inheritable(int(descriptor), False)
    connection = Connection(int(descriptor))
    try:
        train = load_train(Path(script))
    except Exception as error:
        traceback.print_exc()
        _send(connection, kind="refused", reason=one_line(error))
        return
    _send(connection, kind="ready")
    try:
        while True:
            _serve(train, connection)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the driver closed its end, or is gone


def load_train(script: Path) -> Train:
    """Import a script by its path, as if it were run from its folder; raises when it has no `train`."""
    sys.path.insert(0, str(script.resolve().parent))
    name = script.stem if script.stem not in sys.modules else f"_script_{script.stem}"
    spec = importlib.util.spec_from_file_location(name, script)
    if spec is None or spec.loader is None:
        raise ImportError(f"{script} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    train = getattr(module, "train", None)
    if not callable(train):
        raise AttributeError("a training script must define train(configuration, checkpoint_dir)")
    found: Train = train
    return found


def one_line(error: BaseException) -> str:
    """The exception's name and message, as they end a traceback."""
    return " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")


def _serve(train: Train, connection: Connection) -> None:
    """One job: values go out one by one until the driver says stop, the generator ends or fails."""
    job = json.loads(connection.recv_bytes())
    try:
        _train(train, job, connection)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except (Exception, SystemExit) as error:
        _send(connection, kind="failed", reason=one_line(error), traceback=traceback.format_exc())
    else:
        _send(connection, kind="ended")


def _train(train: Train, job: dict[str, Any], connection: Connection) -> None:
    values = train(job["train"], Path(job["checkpoint_dir"]))
    if not hasattr(values, "__next__"):
        raise TypeError(f"train must be a generator that yields a number after each epoch, but returned {values!r}")
    try:
        for value in values:
            _send(connection, kind="value", value=_number(value))
            if json.loads(connection.recv_bytes()) == "stop":
                break
    finally:
        if hasattr(values, "close"):
            values.close()


def _number(value: object) -> float:
    if not isinstance(value, bool) and hasattr(type(value), "__float__"):
        try:
            return float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, RuntimeError):
            pass
    raise TypeError(f"train must yield a number after each epoch, but yielded {str(value)[:80]!r} ({type(value).__name__})")


def _send(connection: Connection, **message: object) -> None:
    connection.send_bytes(json.dumps(message).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
