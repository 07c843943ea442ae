"""A study as a notebook shows it: a few lines and a small chart of the curves, without scripts, in light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from curvestop.srm.settings import StudySettings
from curvestop.srm.trial import Trial

WIDTH, HEIGHT, MARGIN = 420, 130, 6
"""Size of the chart and its empty border, in pixels."""
MOST_CURVES, MOST_POINTS = 60, 40
"""Number of curves that are drawn, and of points of each: the picture stays below 40 kB."""
STOPPED, OTHERS, BEST = "#d55e00", "#0072b2", "currentColor"
"""Colors that everyone can tell apart (Okabe and Ito), on white as on black; the best trial has that of the text."""


def html_of(settings: StudySettings, lines: Iterable[tuple[str, str]], trials: Sequence[Trial], *, best: str | None) -> str:
    """Return a study as HTML.

    Args:
        settings: Settings of the study.
        lines: What is said of it, as `(label, text)`.
        trials: Its trials.
        best: Name of the best one.
    """
    rows = "".join(
        f'<tr><td style="text-align:left;vertical-align:top;opacity:.65">{escape(label)}</td>'
        f'<td style="text-align:left">{escape(text)}</td></tr>'
        for label, text in lines
    )
    return (
        f'<div style="font:13px/1.5 system-ui,sans-serif;max-width:60em"><b>study {escape(settings.name)}</b>'
        f'<table style="border:0;background:none">{rows}</table>{_chart(settings, trials, best)}</div>'
    )


def _chart(settings: StudySettings, trials: Sequence[Trial], best: str | None) -> str:
    drawn = [trial for trial in _some(trials, best) if len(trial.values) > 1]
    if not drawn:
        return ""
    last = max(trial.last_epoch for trial in drawn)
    low, high = _range([value for trial in drawn for value in trial.values])
    x_scale, y_scale = (WIDTH - 2 * MARGIN) / max(1, last - 1), (HEIGHT - 2 * MARGIN) / (high - low)
    lines = []
    for trial in drawn:
        points = " ".join(
            f"{MARGIN + (epoch - 1) * x_scale:.0f},{MARGIN + (high - min(max(value, low), high)) * y_scale:.1f}"
            for epoch, value in _thinned(list(zip(trial.epochs or range(1, len(trial.values) + 1), trial.values, strict=True)))
        )
        color = BEST if trial.trial == best else STOPPED if trial.is_stopped else OTHERS
        style = 'stroke-width="2"' if trial.trial == best else 'stroke-opacity=".55"'
        lines.append(f'<polyline points="{points}" stroke="{color}" {style}><title>{escape(trial.trial)}</title></polyline>')
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}"'
    caption = f"{settings.metric} {low:.4g} to {high:.4g}, {settings.axis.span(last)}"
    return (
        f'<svg {size} style="max-width:100%" role="img" fill="none">{"".join(lines)}</svg>'
        f'<div style="opacity:.8">{escape(caption)}: '
        f'<span style="color:{STOPPED}">stopped</span>, <span style="color:{OTHERS}">others</span>, <b>best</b></div>'
    )


def _some(trials: Sequence[Trial], best: str | None) -> list[Trial]:
    """Return an even selection of the trials, and the best one, which is drawn last."""
    others = [trial for trial in trials if trial.trial != best]
    step = max(1, math.ceil(len(others) / MOST_CURVES))
    return [*others[::step], *(trial for trial in trials if trial.trial == best)]


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    step = max(1, math.ceil(len(points) / MOST_POINTS))
    return [*points[:-1:step], points[-1]]


def _range(values: list[float]) -> tuple[float, float]:
    """Return the range of most values: one wild value must not flatten all curves."""
    ordered = sorted(values)
    cut = len(ordered) // 50
    low, high = ordered[cut], ordered[-1 - cut]
    return (low, high) if high > low else (low - 0.5, low + 0.5)
