"""Coefficients of the learned policy that never saw the domain of the set that they are judged on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

from benchmarks.replay.train_policy import LEFT_OUT, left_out_coefficients
from curvestop.srm.policies import learned
from curvestop.srm.policies.learned import Coefficients


def coefficients_by_domain(domains: Iterable[str], path: Path = LEFT_OUT) -> dict[str, Coefficients | None]:
    """Return the coefficients for each domain; None, those of the package, for one that they never saw: a line says so."""
    known, domains = left_out_coefficients(path), list(dict.fromkeys(domains))
    unknown = [domain for domain in domains if domain not in known]
    if unknown:
        print(f"the package's coefficients never saw {', '.join(unknown)}: used as they are")
    return {domain: known.get(domain) for domain in domains}


@contextmanager
def shipped(coefficients: Coefficients | None) -> Iterator[None]:
    """Let policies that are made here and now have these coefficients in place of the package's; None changes nothing.

    A study and a pruner take their policy's settings as JSON, in which coefficients have no place.
    """
    if coefficients is None:
        yield
        return
    with patch.object(learned, "shipped_coefficients", lambda: coefficients):
        yield
