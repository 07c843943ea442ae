"""The numbers that earlier versions gave, of `python -m tests.golden_numbers`."""

from __future__ import annotations

import json

import pytest

from tests.golden_numbers import FILE, Golden, numbers


def test_predictions_and_features_are_those_of_earlier_versions() -> None:
    """To six digits: a sum in another order, or by another BLAS, may differ in the last."""
    golden: Golden = json.loads(FILE.read_text())
    found = numbers()
    assert found.keys() == golden.keys()
    for name, rows in golden.items():
        assert len(found[name]) == len(rows)
        for number, (ours, theirs) in enumerate(zip(found[name], rows, strict=True)):
            assert (ours is None) == (theirs is None), (name, number)
            if ours is not None:
                assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-9), (name, number)
