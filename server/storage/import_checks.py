"""What an import accepts: every row is checked as the service checks a call, because a file may have been edited."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from curvestop.proto import codec
from curvestop.proto.entries import Decided, Ended, Entry, Observed, Resumed, TrialAdded
from curvestop.server.storage.rows import Row, entry_from_row
from curvestop.server.studies.log_replay import apply
from curvestop.srm.report import Report
from curvestop.srm.study import Study
from curvestop.srm.trial import UnknownTrial
from curvestop.srm.validation import check_bracket, check_name, check_question, plain_configuration, whole_number


def checked_entries(study: Study, rows: Iterator[Row], file: Path) -> Iterator[Entry]:
    """Yield the entries of a table after a study has accepted each: a bad log would stop the server.

    Args:
        study: A new study with the table's settings; it gets the entries.
        rows: The table's rows after the first, which has the settings.
        file: Where they come from, for messages.

    Raises:
        ValueError: If a row is malformed, breaks a rule or contradicts those before it; the message names the row.
    """
    for number, row in enumerate(rows, start=2):
        try:
            entry = entry_from_row(row)
            _add(study, entry)
        # TypeError: a cell has another type than its column; RecursionError: JSON that is nested without end.
        except (ValueError, TypeError, RecursionError, UnknownTrial) as error:
            raise ValueError(f"{file}, row {number}: {error}") from None
        yield entry


def _add(study: Study, entry: Entry) -> None:
    """Add an entry to a study; refuse what `apply` would silently ignore or believe."""
    state = study.book.state_of(entry.trial)
    if isinstance(entry, TrialAdded) != (state is None):
        raise ValueError(f"trial {entry.trial!r} must have exactly one row of kind 'trial', before its other rows")
    match entry:
        case Observed(trial, epoch, value):
            if not study.record(Report(trial, (value,), first_epoch=epoch)).new:
                raise ValueError(f"epoch {epoch} of trial {trial!r} must have one finite value, but got {value!r}")
            return
        case TrialAdded(trial, configuration, bracket):
            check_name("trial", trial)
            check_bracket(bracket)
            if plain_configuration(configuration, log_scaled=study.settings.log_scaled) != configuration:
                raise ValueError(f"a configuration must be flat, without null, lists and objects, but got {configuration!r}")
            codec.configuration_to_proto(configuration)
        case Ended(trial) if state != "running":
            raise ValueError(f"trial {trial!r} must have at most one row of kind 'end' before it is resumed")
        case Ended(_, ended_as, diverged_at) if diverged_at is not None:
            whole_number("the epoch whose value was not finite", diverged_at)
            if ended_as != "failed":
                raise ValueError(f"a trial that diverged has state 'failed', but got {ended_as!r}")
        case Resumed(trial, key):
            check_name("key", key)
            if not study.book.resume(trial, key):
                raise ValueError(f"trial {trial!r} must have one row of kind 'resume' with key {key!r}")
            return
        case Decided():
            _check_decision(study, entry)
    apply(study, entry)


def _check_decision(study: Study, entry: Decided) -> None:
    question, decision = entry.question, entry.decision
    check_question(question.target_epoch, question.value_to_beat, max_epochs=study.settings.max_epochs)
    last = study.book[entry.trial].observed.last_epoch
    if not 0 <= question.tau <= last:
        raise ValueError(
            f"a decision's epoch must be one of the {last} that trial {entry.trial!r} reported, but got {question.tau}"
        )
    for name, share in (("probability", decision.probability), ("chance", decision.chance)):
        if share is not None and not 0 <= share <= 1:  # refuses NaN too
            raise ValueError(f"{name} must be in 0..1, but got {share!r}")
    if decision.prediction is not None:
        mean, sigma = decision.prediction
        if not math.isfinite(mean):
            raise ValueError(f"mean must be finite, but got {mean!r}")
        if not 0 <= sigma < math.inf:
            raise ValueError(f"sigma must be finite and >= 0, but got {sigma!r}")
    for name, number in (("n_curves", decision.n_curves), ("model_epoch", decision.model_epoch)):
        if not 0 <= number < 2**63:
            raise ValueError(f"{name} must be in 0..2^63 - 1, but got {number}")
    codec.entry_to_proto(entry)  # its text too must be one that can be sent
