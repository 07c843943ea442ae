"""A study's report as one self-contained HTML file: the dashboard's page with the report's data embedded in it."""

from __future__ import annotations

import json
import re
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from curvestop.clients.reports.sources import Source, view_of
from curvestop.clients.reports.study_log import StudyView
from curvestop.clients.reports.study_report import report_of
from curvestop.clients.reports.trial_rows import changed_rows

# The dashboard's page is read as data; its Python modules, which need starlette, are not imported.
_STATIC = files("curvestop.clients.dashboard") / "static"


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


def page_with(report: dict[str, Any]) -> str:
    """Return the dashboard's page with a report in it: one self-contained file.

    Args:
        report: What `page.js` shows, as JSON can hold it: `study`, `summary`, `calibration`, `stops`, `trials` and the `caption`.
    """
    # Style and scripts go into the page in place of the tags that load them, so there is one page to maintain, not two.
    page = _read("index.html").replace('<link rel="icon" href="/static/icon.svg" type="image/svg+xml">\n', "")
    page = re.sub(r'<link rel="stylesheet" href="/static/([\w.]+)">', lambda tag: f"<style>\n{_read(tag[1])}</style>", page)
    data = f'<script type="application/json" id="report">{_script_safe(report)}</script>\n'
    scripts = re.compile(r'<script src="/static/([\w.]+)"></script>')
    first = page.index("<script src=")
    return page[:first] + data + scripts.sub(lambda tag: f"<script>\n{_read(tag[1])}</script>", page[first:])


def _script_safe(content: Any) -> str:
    """Return JSON in which no text can end the script element; names of trials come from untrusted programs."""
    return json.dumps(content, allow_nan=False).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _read(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")
