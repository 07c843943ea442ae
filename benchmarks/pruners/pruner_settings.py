"""The pruners that are compared, with several settings each: ours, and Optuna's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from optuna import pruners
from optuna.pruners import BasePruner

from benchmarks.replay.compared_rules import DEFAULT_RISK, OURS, RISKS
from curvestop.clients.optuna import FHyperbandPruner, SRMPruner

Make = Callable[[int], BasePruner]
"""A pruner for a horizon of epochs that are steps 1..horizon."""

WARM_UPS = (0.0, 0.1, 0.25, 0.5)
"""Shares of the horizon before which nothing is pruned."""
AS_IT_COMES = f"SRMPruner, risk {DEFAULT_RISK:g}"
"""Label of SRMPruner at its defaults."""


@dataclass(frozen=True)
class Setting:
    """A pruner with settings.

    Attributes:
        family: Settings of one family have one color in the chart.
        label: Name in the tables.
        make: Makes the pruner.
    """

    family: str
    label: str
    make: Make


def ours() -> Iterator[Setting]:
    """Return SRMPruner from the careful to the bold: our curve."""
    for risk in RISKS[1:]:  # the most careful one saves less than what is compared
        yield Setting(OURS, f"SRMPruner, risk {risk:g}", partial(SRMPruner, policy_settings={"risk": risk}, first_step=1))


def others_of_ours() -> Iterator[Setting]:
    """Return what else we have: the rank policy, bold rungs for a budget, and Hyperband with predictions inside its rungs."""
    for margin in (2.5, 1.5):
        make = partial(SRMPruner, policy="predictive-rank", policy_settings={"margin": margin}, first_step=1)
        yield Setting("predictive-rank", f"SRMPruner, predictive-rank, margin {margin:g}", make)
    yield Setting('goal="budget"', 'SRMPruner, goal="budget"', partial(SRMPruner, goal="budget", first_step=1))
    yield Setting("FHyperbandPruner", "FHyperbandPruner, from 10%, eta 4", _f_hyperband(0.1, 4))


def peers() -> Iterator[Setting]:
    """Return Optuna's pruners as they come and at settings that their documentation speaks of.

    WilcoxonPruner is not among them: it compares values at steps of equal standing, such as folds, which epochs are not.
    """
    for warm_up in WARM_UPS:
        for percentile in (25.0, 50.0, 75.0):
            name = "MedianPruner" if percentile == 50 else f"PercentilePruner({percentile:g})"
            label = f"{name}, warm-up {warm_up:.0%}" if warm_up else name
            yield Setting("Median, Percentile", label, _percentile(percentile, warm_up))
    yield Setting("SuccessiveHalving", "SuccessiveHalvingPruner", lambda horizon: pruners.SuccessiveHalvingPruner())
    for least in (0.02, 0.1, 0.25, 0.5):
        for eta in (2, 4):
            yield Setting("SuccessiveHalving", f"SuccessiveHalvingPruner, from {least:.0%}, eta {eta}", _halving(least, eta))
    for least in (0.0, 0.1, 0.25):
        for eta in (3, 4):
            yield Setting("Hyperband", f"HyperbandPruner, from {least:.0%}, eta {eta}", _hyperband(least, eta))
    for share in (0.0, 0.05, 0.1, 0.2):
        waits = f"{share:.0%}" if share else "1 step"
        yield Setting("Patient", f"PatientPruner of {waits}, median", _patient(pruners.MedianPruner(), share))
    yield Setting("Patient", "PatientPruner of 10%, alone", _patient(None, 0.1))


def _epochs(share: float, horizon: int) -> int:
    return max(1, round(share * horizon))


def _f_hyperband(least: float, eta: int) -> Make:
    return lambda horizon: FHyperbandPruner(horizon, min_resource=_epochs(least, horizon), reduction_factor=eta, first_step=1)


def _hyperband(least: float, eta: int) -> Make:
    return lambda horizon: pruners.HyperbandPruner(_epochs(least, horizon), horizon, eta)


def _percentile(percentile: float, warm_up: float) -> Make:
    return lambda horizon: pruners.PercentilePruner(percentile, n_warmup_steps=round(warm_up * horizon))


def _halving(least: float, eta: int) -> Make:
    return lambda horizon: pruners.SuccessiveHalvingPruner(_epochs(least, horizon), reduction_factor=eta)


def _patient(pruner: BasePruner | None, share: float) -> Make:
    return lambda horizon: pruners.PatientPruner(pruner, patience=_epochs(share, horizon))
