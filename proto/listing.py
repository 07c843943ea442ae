"""A list that comes in pages, read whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from curvestop.proto import early_stopping_pb2 as pb


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
    first = 0
    while True:
        page = call(pb.ListStudiesRequest(first=first))
        yield from page.studies
        if not page.next:
            return
        first = page.next
