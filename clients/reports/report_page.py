"""A study's report as one self-contained HTML file: the dashboard's page with the report's data embedded in it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from curvestop.clients.reports.sources import Source, view_of
from curvestop.clients.reports.study_log import StudyView
from curvestop.clients.reports.study_report import report_of
from curvestop.clients.reports.trial_rows import changed_rows
from curvestop.frozen_page import page_with


def write_report(study: Source, path: str | Path) -> None:
    """Write the report of a study as one HTML file that loads nothing else: what `curvestop report` writes, without a server.

    Args:
        study: A study in this process or on a server, an Optuna study, or a backtest.
        path: The file; an existing one is replaced.

    Raises:
        TypeError: If it is none of these.
        OSError: If the file cannot be written.
        ConnectionError: If the study is on a server that does not answer.

    Examples:
        >>> import tempfile
        >>> from curvestop import Study, StudySettings, write_report
        >>> study = Study(StudySettings("demo", max_epochs=2))
        >>> decision = study.report("a", [0.5, 0.7])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_report(study, f"{folder}/demo.html")
    """
    view = view_of(study)
    Path(path).write_text(html_of(report_of(view), view, written=datetime.now()), encoding="utf-8")


def html_of(report: dict[str, Any], study: StudyView, *, written: datetime) -> str:
    """Return the report as an HTML page that loads nothing else.

    Args:
        report: The study's report, as `study_report.report_of` returns it.
        study: The study.
        written: Time shown as the report's time of writing.
    """
    caption = f"report of {written:%Y-%m-%d %H:%M}, after {study.n_entries:,} entries of the log"
    return page_with({**report, "caption": caption, "trials": changed_rows(study, after=0)})
