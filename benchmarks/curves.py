"""Load the public sets of real learning curves that the benchmarks run on, and say where each comes from.

A set is `NAME.npz` with `curves` `(n, T)` (NaN where a run broke off), `hparams` `(n, F)`, `hparam_names` and `meta` (JSON with
source, licence, goal), sometimes `group` `(n,)`. "metaqnn-cifar10" is `baker_metaqnn_cifar10.npz`: the file's name without
"baker_", with hyphens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curvestop.srm.curve import LearningCurve
from curvestop.srm.policies.stopping_rule import Direction
from curvestop.srm.regression.features import group_of
from curvestop.srm.seed_noise import SeedNoise, seed_noise

Array = npt.NDArray[np.float64]

ORIGINALS = """The public originals: github.com/MITAutoML/accelerating_nas (metaqnn-cifar10, resnet-*, lstm-ptb; MIT),
github.com/talcs/NAAP-440 (naap440-*; MIT), github.com/fsschneider/DeepOBS_Baselines (deepobs-*; MIT),
github.com/releaunifreiburg/DyHPO, data/taskset (taskset-*; Apache-2.0)."""

GROUPS = {"metaqnn-cifar10": {"ap:": ("num_params", "depth"), "": ("lr",)}}
"""The thesis's groups of configuration columns (Table 4.1), as prefixes of their names.

See `curvestop.srm.regression.features.group_of`. Columns of such a set in no group are bag of words, "bow:". A set without groups
has all in "HP".
"""


@dataclass(frozen=True)
class CurveFile:
    """One set of learning curves.

    curves: `(n, T)` after epochs 1..T, NaN where a run broke off. configurations: `(n, F)`, columns named by `names`.
    log_scaled: the columns that span two decades or more. meta: source, licence, metric, goal.
    groups: `(n,)` names; rows of one name are one configuration, trained with other seeds. None where the file does not say.
    """

    name: str
    curves: Array
    configurations: Array
    names: tuple[str, ...]
    direction: Direction
    meta: dict[str, Any]
    groups: npt.NDArray[np.str_] | None = None

    @property
    def n_epochs(self) -> int:
        return int(self.curves.shape[1])

    @property
    def log_scaled(self) -> tuple[str, ...]:
        lowest, highest = self.configurations.min(axis=0), self.configurations.max(axis=0)
        return tuple(n for n, a, b in zip(self.names, lowest, highest, strict=True) if a > 0 and b / a >= 100)

    def seed_noise(self) -> SeedNoise | None:
        """From the file's groups, else from late epochs: equal columns need not be one configuration."""
        names = np.arange(len(self.curves)).astype(str) if self.groups is None else self.groups
        complete = np.flatnonzero(np.isfinite(self.curves).all(axis=1)).tolist()
        curves = [LearningCurve(str(i), {"group": str(names[i])}, tuple(self.curves[i].tolist())) for i in complete]
        return seed_noise(curves, self.direction)

    @cached_property
    def finite(self) -> CurveFile:
        """The set with every value finite and nothing clipped.

        A row without a finite value is left out, with a line that says so. A run that broke off keeps its last value; any other
        value that is not finite becomes the worst one of the set.
        """
        known = np.isfinite(self.curves).any(axis=1)
        if not known.all():
            print(f"{self.name}: {np.sum(~known)} of {known.size} runs have no finite value and are left out")
        sign = 1.0 if self.direction == "maximize" else -1.0
        return replace(
            self,
            curves=sign * made_finite(sign * self.curves[known]),
            configurations=self.configurations[known],
            groups=None if self.groups is None else self.groups[known],
        )

    def scored(self) -> Array:
        """`(n, T)` all finite, so that one run at 1e17 does not make every R2 equal 1 or -1e9.

        Broken-off epochs get the worst value seen, and nothing is worse than the median final value by more than 20 times
        the distance from that to the best one.
        """
        sign = 1.0 if self.direction == "maximize" else -1.0
        curves = sign * self.curves
        curves = np.where(np.isfinite(curves), curves, np.nanmin(np.where(np.isfinite(curves), curves, np.nan)))
        final = curves[:, -1]
        floor = np.median(final) - 20 * (final.max() - np.median(final) + 1e-12)
        scored: Array = sign * np.maximum(curves, floor)
        return scored

    def learning_curves(
        self, groups: Collection[str] = ("AP", "HP"), *, values: Array | None = None
    ) -> tuple[LearningCurve, ...]:
        """The curves, named by row, with these groups of their configurations. values: `(n, T)`; default: the scored ones."""
        kept = [(j, name) for j, name in enumerate(self.names) if group_of(name) in groups]
        width, rows = len(str(len(self.curves))), self.scored() if values is None else values
        return tuple(
            LearningCurve(f"{i:0{width}}", {name: float(row[j]) for j, name in kept}, tuple(curve.tolist()))
            for i, (row, curve) in enumerate(zip(self.configurations, rows, strict=True))
        )


def made_finite(scores: Array) -> Array:
    """Return scores `(n, T)`, a finite one in every row, with every value made finite: higher is better.

    Examples:
        >>> made_finite(np.array([[1.0, 2.0, np.nan], [np.nan, 4.0, 5.0]])).tolist()
        [[1.0, 2.0, 2.0], [1.0, 4.0, 5.0]]
    """
    is_finite = np.isfinite(scores)
    scores, worst = scores.copy(), scores[is_finite].min()
    for row in np.flatnonzero(~is_finite[:, -1]):
        last = int(np.flatnonzero(is_finite[row])[-1])
        scores[row, last + 1 :] = scores[row, last]
    return np.where(np.isfinite(scores), scores, worst)


def names(folder: Path) -> tuple[str, ...]:
    """Names of the sets in a folder; empty (after a line that says so) when there are none."""
    found = tuple(sorted(_name_of(path) for path in _files(folder)))
    if not found:
        print(f"skipped: no curve sets (NAME.npz or curves/NAME.npz) in {folder}\n{ORIGINALS}")
    return found


def load(folder: Path, name: str) -> CurveFile | None:
    """A set by name; None (after a line that says so) when the folder does not have it."""
    path = next((path for path in _files(folder) if _name_of(path) == name), None)
    if path is None:
        print(f"skipped: {folder} has no curve set {name!r}\n{ORIGINALS}")
        return None
    with np.load(path, allow_pickle=False) as arrays:
        meta = json.loads(str(arrays["meta"]))
        meta["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        direction: Direction = "maximize" if meta["goal"].lower().startswith("max") else "minimize"
        columns = tuple(_grouped(name, str(n)) for n in arrays["hparam_names"])
        curves, configurations = arrays["curves"].astype(float), arrays["hparams"].astype(float)
        return CurveFile(name, curves, configurations, columns, direction, meta, arrays.get("group"))


def load_all(folder: Path, wanted: Iterable[str] | None = None) -> tuple[CurveFile, ...]:
    """The wanted sets (default: all) that the folder has."""
    loaded = (load(folder, name) for name in (names(folder) if wanted is None else wanted))
    return tuple(s for s in loaded if s is not None)


def _grouped(set_name: str, column: str) -> str:
    known = GROUPS.get(set_name, {"": (column,)})
    return next((prefix for prefix, names in known.items() if column in names), "bow:") + column


def _files(folder: Path) -> list[Path]:
    inner = folder / "curves"
    return sorted((inner if inner.is_dir() else folder).glob("*.npz"))


def _name_of(path: Path) -> str:
    return path.stem.removeprefix("baker_").replace("_", "-")
