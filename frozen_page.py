"""Pages of one HTML file: a page of the dashboard's folder with its style, its scripts and its data inside."""

from __future__ import annotations

import json
import re
from importlib.resources import files
from typing import Any

# Read as data: the dashboard's Python modules, which need starlette, are not imported.
_STATIC = files("curvestop") / "clients" / "dashboard" / "static"


def page_with(report: dict[str, Any], *, template: str = "index.html") -> str:
    """Return a page with a report in it: one self-contained file, which loads nothing.

    Args:
        report: What the page's script shows, as JSON can hold it. `page.js`: `study`, `summary`, `calibration`, `stops`, `trials`
            and the `caption`; `backtest.js`: see `curvestop.clients.backtest.html_report.content`.
        template: Name of the page in the dashboard's folder `static`.
    """
    # Style and scripts go into the page in place of the tags that load them, so there is one page to maintain, not two.
    page = _read(template).replace('<link rel="icon" href="/static/icon.svg" type="image/svg+xml">\n', "")
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
