"""The numbers that earlier versions gave, of `python -m tests.golden_numbers`."""

from __future__ import annotations

import json

import pytest

from tests.golden_numbers import FILE, SETS, Golden, numbers


@pytest.mark.parametrize("name", SETS)
def test_predictions_and_features_are_those_of_earlier_versions(name: str) -> None:
    """To six digits: a sum in another order, or by another BLAS, may differ in the last."""
    golden: Golden = json.loads(FILE.read_text())
    found = numbers(name)
    assert found.keys() == {what for what in golden if what.endswith(f": {name}")}
    for what, rows in found.items():
        for number, (ours, theirs) in enumerate(zip(rows, golden[what], strict=True)):
            assert (ours is None) == (theirs is None), (what, number)
            if ours is not None:
                assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-9), (what, number)
