"""`Watcher`: reports what is new in logs to a study, and acts on its decisions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from curvestop.clients.driver import flat_configuration
from curvestop.clients.watch.growing_log import GrowingLog, Growth, Point
from curvestop.clients.watch.log_files import LogFile, LogFiles
from curvestop.clients.watch.stop_command import StopCommand
from curvestop.srm.curve import Configuration, Decision
from curvestop.srm.report import reports_of
from curvestop.srm.study_like import StudyOfMany
from curvestop.srm.trial import EndState, UnknownTrial
from curvestop.srm.validation import LARGEST_VALUE


@dataclass
class _Followed:
    """A log and what was reported of it.

    Attributes:
        file: The log and its trial.
        log: Reads it.
        is_catching_up: Whether it was there when the watch began, and was not read yet.
        grown_at: Time of the last growth, on the clock of `time.time`.
        last_epoch: The last epoch that was reported; 0 before the first.
        counts_from_zero: Whether its first step is 0, so that epochs are steps + 1; None before its first value.
        has_ended: Whether it is followed no more.
        told: Kinds of lines that were told, each once.
    """

    file: LogFile
    log: GrowingLog
    is_catching_up: bool
    grown_at: float
    last_epoch: int = 0
    counts_from_zero: bool | None = None
    has_ended: bool = False
    told: set[str] = field(default_factory=set)


class Watcher:
    """Follow logs and report each as a trial of one study.

    What a log has when the watch begins is reported without a question: its run may have ended long ago, and after a restart
    of the watch it may have been stopped already. The next value asks.

    Args:
        study: The study.
        files: Finds the logs.
        open_log: Makes the reader of a log.
        tell: Takes a line for people.
        on_stop: Run once for each trial that is to be stopped. Default: nothing is run.
        idle_s: A run whose log has not grown for so long has failed. Default: no run has.
        clock: Returns the time in seconds since 1970, as modification times of files have it.
    """

    def __init__(
        self,
        study: StudyOfMany,
        files: LogFiles,
        open_log: Callable[[LogFile], GrowingLog],
        tell: Callable[[str], None],
        *,
        on_stop: StopCommand | None = None,
        idle_s: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._study, self._files, self._open_log, self._tell = study, files, open_log, tell
        self._on_stop, self._idle_s, self._clock = on_stop, idle_s, clock
        self._followed: dict[str, _Followed] = {}  # by trial
        self._has_looked = False
        self._left_out: set[Path] = set()

    def look(self) -> bool:
        """Read what is new in all logs and report it; return whether there may be more.

        Raises:
            ValueError: If the study refuses the settings, or the folder has logs that cannot be followed.
        """
        for file in self._files_by_trial():
            known = self._followed.get(file.trial)
            if known is None:
                self._follow(file)
            else:  # its file may be another one now: the last checkpoint's has the whole history
                known.file, known.log.path = file, file.path
        for followed in self._followed.values():
            if not followed.has_ended:
                self._look_at(followed)
        self._has_looked = True
        return self._files.may_grow or len(self._followed) < len(self._files.names) or self.n_running > 0

    @property
    def n_running(self) -> int:
        """Number of logs whose runs have not ended."""
        return sum(not followed.has_ended for followed in self._followed.values())

    def _files_by_trial(self) -> Iterable[LogFile]:
        found: dict[str, LogFile] = {}
        for file in self._files.find():
            first = found.setdefault(file.trial, file)
            if first.path.absolute() != file.path.absolute() and file.path not in self._left_out:
                self._left_out.add(file.path)
                self._tell(
                    f"{file.path} is not followed, as {first.path} is trial {file.trial!r} already: name the folder or the "
                    "pattern, in quotes, that has both"
                )
        return found.values()

    def _follow(self, file: LogFile) -> None:
        with suppress(FileNotFoundError):  # it was renamed or deleted meanwhile
            grown_at = self._clock() if self._has_looked else file.path.stat().st_mtime
            self._followed[file.trial] = _Followed(file, self._open_log(file), not self._has_looked, grown_at)

    def _look_at(self, followed: _Followed) -> None:
        try:
            growth = followed.log.read()
        except OSError as error:  # such as a file that is being rotated, or a folder that is away for a while
            growth = Growth(problem=f"cannot be read now: {error}")
        if growth.has_grown and not followed.is_catching_up:
            followed.grown_at = self._clock()
        if growth.has_restarted and followed.last_epoch:
            what = f"the log began again; what the study has of it up to epoch {followed.last_epoch} stays"
            self._tell_once(followed, "restart", f"{what}. A new run needs a log with another name")
        if growth.problem is not None:
            self._tell_once(followed, "problem", growth.problem)
        self._report(followed, growth)
        followed.is_catching_up = False
        if not followed.has_ended:
            self._end_if_over(followed, growth)

    def _report(self, followed: _Followed, growth: Growth) -> None:
        values = self._new_epochs(followed, growth.points)
        if not values:
            return
        configuration = self._configuration(followed) if followed.last_epoch == 0 else None
        reports = list(reports_of(followed.file.trial, values, configuration))
        followed.last_epoch = values[-1][0]
        is_over = followed.last_epoch == self._study.settings.max_epochs or growth.has_ended
        asks = not (followed.is_catching_up or is_over) or not math.isfinite(values[-1][1])
        reports[-1] = replace(reports[-1], ask=asks)
        answers = self._study.report_many(reports)
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        if errors:
            self._end(followed, f"is not followed: {errors[0]}", None)
            return
        last = answers[-1]
        assert isinstance(last, Decision)
        self._act_on(followed, last)

    def _configuration(self, followed: _Followed) -> Configuration | None:
        try:
            return flat_configuration(followed.log.configuration())
        except (OSError, ValueError) as error:  # the run is followed without it
            self._tell_once(followed, "configuration", f"its configuration is not known: {error}")
            return None

    def _new_epochs(self, followed: _Followed, points: list[Point]) -> list[tuple[int, float]]:
        """Return the epochs and values that come after those reported; a value that is not finite is the last one."""
        values: list[tuple[int, float]] = []
        last, max_epochs = followed.last_epoch, self._study.settings.max_epochs
        for step, value in points:
            if followed.counts_from_zero is None:
                followed.counts_from_zero = step < 1
            epoch = math.floor(step) + followed.counts_from_zero
            if epoch > max_epochs:
                self._tell_once(followed, "beyond", f"epoch {epoch} is not reported, as --max-epochs is {max_epochs}")
            elif epoch > last:
                last = epoch
                values.append((epoch, value if abs(value) <= LARGEST_VALUE else math.nan))
                if not math.isfinite(values[-1][1]):
                    break
        return values

    def _act_on(self, followed: _Followed, decision: Decision) -> None:
        trial, epoch = followed.file.trial, followed.last_epoch
        if decision.ended_as is not None:
            self._end(followed, f"had ended as {decision.ended_as} in the study", None)
        elif decision.would_stop:
            self._tell_once(followed, "stop", f"would stop after epoch {epoch}: {decision.reason}")
        elif decision.stop:
            # First the command: a watch that is killed in between runs it again, rather than never.
            failure = None if self._on_stop is None else self._on_stop.run(followed.file)
            self._end(followed, f"stop after epoch {epoch}: {decision.reason}", "stopped")
            if failure is not None:
                self._tell(f"{trial}: the command of --on-stop failed, and the run may go on: {failure}")

    def _end_if_over(self, followed: _Followed, growth: Growth) -> None:
        idle_s = self._clock() - followed.grown_at
        if followed.last_epoch == self._study.settings.max_epochs or (growth.has_ended and followed.last_epoch):
            self._end(followed, f"finished after epoch {followed.last_epoch}", "finished")
        elif self._idle_s is not None and idle_s >= self._idle_s:
            self._end(followed, f"ended at epoch {followed.last_epoch}: nothing was written for {idle_s:.0f} s", "failed")

    def _end(self, followed: _Followed, what: str, state: EndState | None) -> None:
        followed.has_ended = True
        self._tell(f"{followed.file.trial}: {what}")
        if state is not None and followed.last_epoch:
            with suppress(UnknownTrial):  # the server was given a new store
                self._study.finish(followed.file.trial, state)

    def _tell_once(self, followed: _Followed, kind: str, what: str) -> None:
        if kind not in followed.told:
            followed.told.add(kind)
            self._tell(f"{followed.file.trial}: {what}")
