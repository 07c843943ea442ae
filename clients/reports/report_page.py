"""A study's report as one HTML file that needs nothing else: the dashboard's page, frozen with what it shows."""

from __future__ import annotations

import json
from datetime import datetime
from importlib.resources import files
from typing import Any

from curvestop.clients.reports.study_log import StudyView
from curvestop.clients.reports.trial_rows import changed_rows

_STATIC = files("curvestop.clients.dashboard") / "static"


def html_of(report: dict[str, Any], study: StudyView, *, written: datetime) -> str:
    """report: of `study_report.report_of`."""
    told = f"report of {written:%Y-%m-%d %H:%M}, after {study.last:,} entries of the log"
    frozen = {**report, "told": told, "trials": changed_rows(study, after=0)}
    page = _read("index.html")
    page = page.replace('<link rel="icon" href="/static/icon.svg" type="image/svg+xml">\n', "")
    page = page.replace('<link rel="stylesheet" href="/static/style.css">', f"<style>\n{_read('style.css')}</style>")
    page = page.replace(
        '<script src="/static/charts.js"></script>',
        f'<script type="application/json" id="frozen">{_embedded(frozen)}</script>\n<script>\n{_read("charts.js")}</script>',
    )
    return page.replace('<script src="/static/page.js"></script>', f"<script>\n{_read('page.js')}</script>")


def _embedded(content: Any) -> str:
    """JSON that no text in it can end: names come from trainers."""
    return json.dumps(content, allow_nan=False).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _read(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")
