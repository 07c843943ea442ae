"""Lists that come in pages, read whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from curvestop.proto import early_stopping_pb2 as pb

Page = TypeVar("Page", pb.ListStudiesResponse, pb.ListTrialsResponse, pb.SecondChancesResponse)


def listed_studies(call: Callable[[pb.ListStudiesRequest], pb.ListStudiesResponse]) -> Iterator[pb.StudySettings]:
    """Yield the settings of all studies that the caller may see, by name.

    Args:
        call: Calls `ListStudies` of a server; one that knows no pages sends all at once.

    Examples:
        >>> page, last_page = pb.ListStudiesResponse(next=2), pb.ListStudiesResponse()
        >>> page.studies.add(name="a"), page.studies.add(name="b"), last_page.studies.add(name="c")
        (name: "a"
        , name: "b"
        , name: "c"
        )
        >>> [study.name for study in listed_studies(lambda request: last_page if request.first else page)]
        ['a', 'b', 'c']
    """
    for page in _pages(lambda first: call(pb.ListStudiesRequest(first=first))):
        yield from page.studies


def listed_trials(call: Callable[[pb.ListTrialsRequest], pb.ListTrialsResponse], study: str) -> Iterator[pb.Trial]:
    """Yield all trials of a study, in the order of their first report.

    Args:
        call: Calls `ListTrials` of a server.
        study: Name of the study.
    """
    for page in _pages(lambda first: call(pb.ListTrialsRequest(study=study, first=first))):
        yield from page.trials


def listed_chances(
    call: Callable[[pb.SecondChancesRequest], pb.SecondChancesResponse], study: str, n: int
) -> Iterator[pb.SecondChance]:
    """Yield the second chances of a study, the most promising first.

    Args:
        call: Calls `SecondChances` of a server.
        study: Name of the study.
        n: Most chances, >= 1.
    """
    for page in _pages(lambda first: call(pb.SecondChancesRequest(study=study, n=n, first=first))):
        yield from page.chances


def _pages(page_from: Callable[[int], Page]) -> Iterator[Page]:
    page = page_from(0)
    yield page
    while page.next:  # the last page has no next
        page = page_from(page.next)
        yield page
