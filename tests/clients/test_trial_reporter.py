"""What a trial reporter says about its study before the training begins."""

from __future__ import annotations

import pytest

from curvestop.clients.trial_reporter import TrialReporter
from curvestop.srm.settings import StudySettings
from curvestop.srm.study import Study


@pytest.mark.parametrize(
    ("metric", "direction", "better"),
    [
        ("val_loss", "maximize", "lower"),
        ("brier_score", "maximize", "lower"),
        ("val_acc", "minimize", "higher"),
        ("neg_mean_squared_error", "maximize", None),
        ("objective", "minimize", None),
    ],
)
def test_a_direction_that_the_metric_contradicts_is_a_warning(
    metric: str, direction: str, better: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    study = Study(StudySettings("s", 3, metric="m", direction=direction))  # type: ignore[arg-type]
    caplog.clear()
    TrialReporter(study, "a", monitor=metric)
    assert any(f"if {better} is better, set direction" in message for message in caplog.messages) == (better is not None)
