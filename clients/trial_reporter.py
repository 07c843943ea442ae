"""One trial, watched while it trains: what the plain loop and the callbacks of all frameworks share.

Of processes that train one model together, the first asks the study, and all get its answer: they stop after the same epoch.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, Protocol

from curvestop.clients.driver import plain
from curvestop.clients.remote.remote_study import RemoteStudy, connect
from curvestop.srm.curve import Decision
from curvestop.srm.study import StudyLike, StudySettings, UnknownTrial
from curvestop.srm.validation import LARGEST_VALUE, check_configuration, check_name

LOWER_IS_BETTER = ("loss", "error", "perplexity")

_log = logging.getLogger(__name__)


class Ranks(Protocol):
    """Processes that train one model together. is_first: whether this is the one that asks."""

    @property
    def is_first(self) -> bool: ...

    def share(self, answer: Any) -> Any:
        """What the first process gives, in every one of them; all call it at the same time."""
        ...


class TorchRanks:
    """Those of `torch.distributed`'s default group where a program has made one, otherwise this process alone.

    torch itself is not imported here: without it there is no such group.
    """

    @property
    def is_first(self) -> bool:
        group = self._group()
        return group is None or group.get_rank() == 0

    def share(self, answer: Any) -> Any:
        group, answers = self._group(), [answer]
        if group is not None:
            group.broadcast_object_list(answers, src=0)
        return answers[0]

    def _group(self) -> Any:
        distributed = sys.modules.get("torch.distributed")
        return distributed if distributed is not None and distributed.is_available() and distributed.is_initialized() else None


class TrialReporter:
    """Tells a study of one trial, and remembers what it said.

    study: HOST:PORT of a server, for which settings say what the study is; or a study, which has its own.
    trial: unique in the study; the same one again goes on where it was. configuration: as `plain` makes it.
    monitor: the metric's name; that of the settings unless given.
    Nothing connects before `begin` in the first process. A server that is away costs what `RemoteStudy` says, and never raises.
    Raises ValueError for what makes no sense, at once; in all processes where the study finds it.

    epoch: the last one reported, 0 before. decision: the last one, with its prediction; None before.
    """

    def __init__(
        self,
        study: str | StudyLike,
        trial: str,
        *,
        configuration: Mapping[str, Any] | None = None,
        monitor: str | None = None,
        settings: StudySettings | None = None,
    ) -> None:
        self.settings = _settings_of(study, settings)
        self.monitor = monitor or self.settings.metric
        self._target = study if isinstance(study, str) else None
        self._study = None if isinstance(study, str) else study
        check_name("trial", trial)
        self.trial = trial
        self.configure(configuration)
        self.epoch = 0
        self.decision: Decision | None = None
        if self.settings.direction == "maximize" and any(word in self.monitor.lower() for word in LOWER_IS_BETTER):
            _log.warning("study %r maximises %r; was direction='minimize' meant?", self.settings.name, self.monitor)

    def configure(self, configuration: Mapping[str, Any] | None) -> None:
        """Before it begins. None: a configuration is not known."""
        self.configuration = None if configuration is None else plain(configuration)
        check_configuration(self.configuration or {}, log_scaled=self.settings.log_scaled)

    def begin(self, ranks: Ranks) -> bool:
        """The training begins or goes on; returns whether the trial was stopped before."""
        decision = self._first_asks(ranks, lambda: self._open().report(self.trial, (), configuration=self.configuration))
        self.decision = decision if decision.stop else self.decision
        return self.is_stopped

    def report(self, value: float, ranks: Ranks, *, epoch: int | None = None) -> Decision:
        """The value after an epoch, the next one unless given. After a stop, or the study's last epoch, nothing is asked."""
        if self.is_stopped and self.decision is not None:
            return self.decision
        epoch, last = self.epoch + 1 if epoch is None else epoch, self.settings.max_epochs
        if epoch > last:
            return Decision.carry_on(f"epoch {last} is reached: there is nothing left to predict")
        decision: Decision = self._first_asks(ranks, lambda: self._ask(epoch, value))
        self.decision, self.epoch = decision, epoch
        return decision

    def end(self, ranks: Ranks) -> None:
        """The training came to its end: the trial is stopped or finished. One that crashed is not told: it may be resumed."""
        self._first_asks(ranks, self._finish)

    @property
    def is_stopped(self) -> bool:
        return self.decision is not None and self.decision.stop

    # For people, and for a framework's logs and checkpoints.

    def line(self) -> str:
        """What was decided, and why."""
        if self.decision is None:
            return f"trial {self.trial!r}: nothing was asked yet"
        says = "stops" if self.decision.stop else "goes on"
        return f"trial {self.trial!r} {says} after epoch {self.epoch} of {self.settings.max_epochs}: {self.decision.reason}"

    def figures(self) -> dict[str, float]:
        """The last decision in numbers, those that are known: stop (0 or 1; in shadow mode what would have been one, too),
        probability, predicted final value and its error.
        """
        if self.decision is None:
            return {}
        figures = {"curvestop/stop": float(self.decision.stop or self.decision.would_stop)}
        if self.decision.probability is not None:
            figures["curvestop/probability"] = self.decision.probability
        if self.decision.prediction is not None:
            figures["curvestop/predicted"] = self.decision.prediction.mean
            figures["curvestop/predicted_sigma"] = self.decision.prediction.sigma
        return figures

    def resume(self, trial: str, epoch: int, configuration: Mapping[str, Any] | None) -> None:
        """Be again the trial that a checkpoint is of, after this epoch."""
        if trial != self.trial:
            _log.info("goes on as trial %r of the checkpoint, not as %r", trial, self.trial)
        self.trial, self.epoch, self.decision = trial, epoch, None
        self.configure(configuration)

    def found_in(self, metrics: Collection[str]) -> None:
        """Raises ValueError unless the monitored metric is among these."""
        if self.monitor not in metrics:
            raise ValueError(f"monitor must be one of {', '.join(map(repr, sorted(metrics)))}, but got {self.monitor!r}")

    # In the first process.

    def _open(self) -> StudyLike:
        if self._study is None:
            assert self._target is not None
            self._study = connect(self._target, self.settings)
        return self._study

    def _ask(self, epoch: int, value: float) -> Decision:
        value = float(value) if abs(value) <= LARGEST_VALUE else math.nan
        decision = self._open().report(self.trial, [value], configuration=self.configuration, first_epoch=epoch)
        for _, known in decision.conflicts:
            _log.info("trial %r: the first value of epoch %d stays, %r, not %r", self.trial, epoch, known, value)
        return decision

    def _finish(self) -> None:
        study = self._open()
        with suppress(UnknownTrial):  # a server with a new store
            study.finish(self.trial, "stopped" if self.is_stopped else "finished")
        if self._target is not None and isinstance(study, RemoteStudy):
            study.close()
            self._study = None

    def _first_asks(self, ranks: Ranks, ask: Callable[[], Any]) -> Any:
        """An answer for all processes; what the first one raises, all raise, as none may wait for it in vain."""
        answer: Any = None
        if ranks.is_first:
            try:
                answer = ask()
            except Exception as error:
                answer = error
        answer = ranks.share(answer)
        if isinstance(answer, Exception):
            raise answer
        return answer


def _settings_of(study: str | StudyLike, settings: StudySettings | None) -> StudySettings:
    if isinstance(study, str):
        if settings is None:
            raise ValueError(f"server {study!r} needs to know which study: settings must be given, but got {settings!r}")
        return settings
    if settings is not None:
        raise ValueError(f"a study has its settings, but got {settings!r} too")
    return study.settings
