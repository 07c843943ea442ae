"""The colors that tell trials apart are told apart by everyone, in the light and in the dark.

Deuteranopia and protanopia are simulated by the matrices of Machado, Oliveira and Fernandes (2009) at severity 1, on linear RGB;
distances are Euclidean in CIELAB, where 2.3 is just noticeable (Sharma 2003).
"""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

import curvestop

STYLE = (Path(curvestop.__file__).parent / "clients/dashboard/static/style.css").read_text()
KINDS = ("running", "finished", "stopped", "failed", "shadow", "dropped")
LEAST_DISTANCE = 25.0
LEAST_CONTRAST = 4.5  # of text, WCAG 2.1 AA; "dropped" is never the color of a text
SIGHT = {
    "normal": np.eye(3),
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
}
TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])


def linear(color: str) -> np.ndarray:
    """`(3,)` linear RGB in [0, 1] of "#rrggbb"."""
    share = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    share = TO_XYZ @ rgb.clip(0, 1) / (TO_XYZ @ np.ones(3))
    x, y, z = np.where(share > (6 / 29) ** 3, np.cbrt(share), share / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one: str, other: str) -> float:
    low, high = sorted(float(TO_XYZ[1] @ linear(color)) for color in (one, other))
    return (high + 0.05) / (low + 0.05)


def colors(theme: str) -> dict[str, str]:
    """Of a theme, by the names of their variables: the dark ones are those that the second `:root` sets."""
    block = STYLE.split(":root {")[{"light": 1, "dark": 2}[theme]].partition("}")[0]
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))


def test_the_measure_is_that_of_the_books() -> None:
    assert lab(linear("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    assert contrast("#ffffff", "#777777") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_any_two_kinds_of_trials_are_told_apart(theme: str, sight: str) -> None:
    seen = {kind: lab(np.array(SIGHT[sight]) @ linear(colors(theme)[kind])) for kind in KINDS}
    near = {pair: float(np.linalg.norm(seen[pair[0]] - seen[pair[1]])) for pair in combinations(KINDS, 2)}
    assert {pair: distance for pair, distance in near.items() if distance < LEAST_DISTANCE} == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", [*KINDS[:-1], "muted", "focus", "bad"])
def test_texts_are_read_on_their_ground(theme: str, name: str) -> None:
    of = colors(theme)
    assert contrast(of[name], of["panel"]) >= LEAST_CONTRAST
