"""How a server is, in lines for a terminal: its studies, their trials and how far their models are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from curvestop.proto import codec
from curvestop.proto import early_stopping_pb2 as pb
from curvestop.proto.status import StudyStatus

Call = Callable[[str, Any], Any]
"""Sends a request to a method, both by name and message."""


def lines(call: Call) -> Iterator[str]:
    """One line for the server, one for each study that the caller may see."""
    studies = call("ListStudies", pb.ListStudiesRequest()).studies
    yield f"serving, {len(studies)} {'study' if len(studies) == 1 else 'studies'}"
    for study in studies:
        yield _line(codec.status_from_proto(call("GetStudy", pb.GetStudyRequest(study=study.name))))


def _line(status: StudyStatus) -> str:
    trials = ", ".join(f"{n} {state}" for state, n in status.n_trials.items()) or "no trials"
    fitted = max((model.n_fitted for model in status.models), default=0)
    models = f"models of {fitted} curves" if fitted else "no models yet"
    return f"  {status.settings.name}: {trials}; {models}{'' if status.fitted else ', fitting'}"
