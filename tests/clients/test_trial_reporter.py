"""What a trial reporter says about its study before the training begins."""

from __future__ import annotations

import pytest

from curvestop.clients.trial_reporter import TorchProcesses, TrialReporter
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


def test_a_training_on_a_time_budget_is_timed_from_its_beginning_and_on_after_a_resume() -> None:
    now = [1000.0]
    study = Study(StudySettings("s", max_resource=2, resource="hour", metric="accuracy"))
    for begun, ended in ((1000.0, 2800.0), (9000.0, 10_800.0)):  # half an hour, and after a break another
        reporter = TrialReporter(study, "a", clock=lambda: now[0])
        now[0] = begun
        if begun > 1000:
            reporter.resume("a", study.trials()[0].epochs[-1], None)  # type: ignore[index]
        reporter.begin(TorchProcesses(), continues=begun > 1000)
        now[0] = ended
        reporter.report(0.5, TorchProcesses(), at=reporter.place({"step": 7}))
    assert [study.settings.axis.amount(epoch) for epoch in study.trials()[0].epochs or ()] == [0.5, 1]
    assert reporter.summary().startswith("trial 'a' continues after hour 1 of 2: ")


def test_a_study_of_what_the_training_does_not_count() -> None:
    reporter = TrialReporter(Study(StudySettings("s", max_resource=10**6, resource="token")), "a")
    complaint = "study 's' counts tokens, but this training counts only step, second, minute, hour, day"
    with pytest.raises(ValueError, match=complaint):
        reporter.place({"step": 7, "token": None})


def test_steps_beyond_the_end_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    reporter = TrialReporter(Study(StudySettings("s", max_resource=1000, resource="step")), "a")
    reporter.begin(TorchProcesses())
    for step in (0, 1000, 1100, 1200):
        reporter.report(0.5, TorchProcesses(), at=step)
    assert reporter.is_complete
    assert caplog.messages == ["trial 'a': the report at step 1,100 is not stored, as study 's' has max_resource=1000"]
