"""`OwnRule`: the user's own stopping rule, a function `stop` in a Python file, and its replay."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curvestop.clients.backtest.curve_set import CurveSet
from curvestop.clients.backtest.replay import Replay

Stop = Callable[[Sequence[float], Sequence[Sequence[float]], int], bool]
"""`stop(values, others, max_epochs)`: whether to stop a run.

values are its own after epochs 1..tau, others those of each run that began before, up to where it ended or was stopped, and
max_epochs is the number of epochs of a complete run. It is called after every epoch but a run's last.
"""


@dataclass(frozen=True)
class OwnRule:
    """A rule in a file.

    Attributes:
        path: The file, which defines `stop`; see `Stop`.
    """

    path: Path

    @property
    def label(self) -> str:
        """Name in tables and figures."""
        return self.path.name

    def load(self) -> Stop:
        """Run the file and return its `stop`.

        Raises:
            ValueError: If the file fails, or has no function `stop`; the error names file and line.
            OSError: If the file cannot be read.
        """
        # Not imported: its folder needs no other file, and two rules may have one name.
        names: dict[str, Any] = {"__name__": "own_rule", "__file__": str(self.path)}
        try:
            exec(compile(self.path.read_bytes(), str(self.path), "exec"), names)
        except Exception as error:
            raise self.told(error) from None
        if not callable(names.get("stop")):
            raise ValueError(f"{self.path} must define a function stop(values, others, max_epochs), but does not")
        stop: Stop = names["stop"]
        return stop

    def told(self, error: Exception) -> ValueError:
        """Return what went wrong in the file, with its line, on one line.

        Args:
            error: What the file or its function raised.
        """
        if isinstance(error, SyntaxError):
            line = error.lineno
        else:
            own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(self.path)]
            line = own[-1].lineno if own else None  # None: it was called with arguments that it does not take
        where = f"{self.path}, line {line}" if line else str(self.path)
        return ValueError(f"{where}: {type(error).__name__}: {error}")


class RuleReplay(Replay):
    """A replay whose decisions are those of a user's rule; one run after another.

    Args:
        curves: The curves to replay.
        rule: The rule.

    Raises:
        ValueError: If the rule fails, or returns anything but True and False.

    Examples:
        >>> import tempfile
        >>> import numpy as np
        >>> curves = CurveSet("demo", 0, np.array([[0.5, 0.6, 0.7], [0.4, 0.4, 0.4]]), np.zeros((2, 1)), "maximize")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder) / "rule.py"
        ...     text = "def stop(values, others, max_epochs): return any(values[-1] < its[len(values) - 1] for its in others)"
        ...     _ = file.write_text(text)
        ...     RuleReplay(curves, OwnRule(file)).ended_at.tolist()
        [3.0, 1.0]
    """

    def __init__(self, curves: CurveSet, rule: OwnRule) -> None:
        self._rule, self._stop = rule, rule.load()
        self._shown: dict[int, tuple[float, ...]] = {}  # values by run, as far as it trained
        super().__init__(curves, range(1, curves.max_epochs))

    def _observe(self, trial: int, seen: int, epoch: int) -> None:
        self._shown[trial] = self._shown.get(trial, ()) + tuple(self._curves.curves[trial, seen:epoch].tolist())

    def _stops(self, trial: int, epoch: int, previous: int) -> bool:
        others = [values for other, values in self._shown.items() if other != trial]
        try:
            stops = self._stop(self._shown[trial], others, self._max_epochs)
        except Exception as error:
            raise self._rule.told(error) from None
        if not isinstance(stops, bool | np.bool_):  # such as None, a forgotten return
            raise ValueError(f"{self._rule.path}: stop must return True or False, but returned {stops!r}")
        return bool(stops)
