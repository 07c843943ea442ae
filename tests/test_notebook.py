"""The notebook of the documentation runs, cell by cell, and ends with forecasts that came true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from curvestop.clients.reports.calibration import resolved_forecasts
from curvestop.clients.reports.sources import view_of

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebooks" / "study.ipynb"


def test_the_notebook_runs() -> None:
    pytest.importorskip("plotly")
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), names)
    study = names["study"]
    found = resolved_forecasts(view_of(study))
    assert study.summary().n_stopped > 0
    assert len(found) >= 20
    # The stated intervals hold nearly always.
    assert sum(forecast.covered for forecast in found) / len(found) > 0.8
