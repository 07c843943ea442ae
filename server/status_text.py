"""The text of `curvestop status`: a server's studies, their trials and the state of their models."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from curvestop.command_line import printable
from curvestop.proto import codec
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.listing import listed_studies
from curvestop.proto.status import StudyStatus

CallMethod = Callable[[str, Any], Any]
"""Sends a request message to the method of a name and returns the answer."""


def lines(call: CallMethod, *, unavailable: type[Exception]) -> Iterator[str]:
    """Ask a server for its status.

    Args:
        call: Calls the server.
        unavailable: What `call` raises for a study that the server cannot load.

    Yields:
        One line for the server, then one for each study that the caller may see.
    """
    studies = list(listed_studies(partial(call, "ListStudies")))
    yield f"serving, {len(studies)} {'study' if len(studies) == 1 else 'studies'}"
    # One call per study: studies are few, and the list itself does not wait for any of them.
    for study in studies:
        try:
            yield _line(codec.status_from_proto(call("GetStudy", pb.GetStudyRequest(study=study.name))))
        except unavailable as error:
            yield f"  {study.name}: {error}"


def _line(status: StudyStatus) -> str:
    trials = ", ".join(f"{n} {state}" for state, n in status.n_trials.items()) or "no trials"
    # A study may have models for several target epochs: the most advanced ones speak for it.
    n_curves = max((model.n_fitted for model in status.models), default=0)
    models = f"models fitted on {n_curves} curves" if n_curves else "no models yet"
    return f"  {printable(status.settings.name)}: {trials}; {models}{'' if status.fitted else ', fitting'}"
