"""The pruners that are compared, with several settings each: Optuna's, and ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from optuna import pruners
from optuna.pruners import BasePruner

from curvestop.clients.optuna import FHyperbandPruner, SRMPruner

Make = Callable[[int], BasePruner]
"""A pruner for a horizon of epochs that are steps 1..horizon."""
MakeRule = Callable[[int], dict[str, Any]]
"""A rule of a policy, for a horizon."""

DEFAULT = "default"
WARM_UPS = (0.0, 0.1, 0.25, 0.5)
"""Shares of the horizon before which nothing is pruned."""
DOUBLING = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
"""Shares of the horizon at which the bolder settings look."""
EVERYWHERE = [k / 40 for k in range(1, 40)]
"""Shares of the horizon at which a guard looks."""


@dataclass(frozen=True)
class Setting:
    """family: whose settings make one curve."""

    family: str
    label: str
    make: Make


def ours() -> Iterator[Setting]:
    """SRMPruner from the cautious to the bold: all its settings."""
    yield from predicting()
    yield from guarded()


def predicting() -> Iterator[Setting]:
    """By predicted places: the learnt share of the trials goes on, times a margin, or a fixed one."""
    yield Setting("SRMPruner", DEFAULT, lambda horizon: SRMPruner(horizon, first_step=1))
    for margin in (1.0, 1.5, 2.0):
        yield _srm(f"margin {margin:g}", margin=margin)
    for begin, margin in ((0.25, 1.5), (0.25, 5.0)):
        yield _srm(f"margin {margin:g}, warm-up {begin:.0%}", begin=begin, margin=margin)
    for begin, share in ((0.5, 0.6), (0.25, 0.5), (0.05, 0.4), (0.05, 0.6)):
        yield _srm(f"the best {share:.0%}, warm-up {begin:.0%}", begin=begin, **_fixed(share))
    for looks, share in (((0.25,), 0.25), ((0.25, 0.5), 0.5), ((0.02, 0.08, 0.32), 0.25), ((0.01, 0.04, 0.16, 0.64), 0.25)):
        at = ", ".join(f"{look:.0%}" for look in looks)
        yield _srm(f"the best {share:.0%} at {at}", n_startup_trials=0, shares=looks, **_fixed(share))
    for patience, margin in ((0.05, 1.0), (0.1, 1.5)):
        rules = [{"name": "patience", "share": patience}, {"name": "predictive-rank", "margin": margin}]
        yield _srm(f"margin {margin:g} after {patience:.0%} without a better value", policy="all", rules=rules)
    bold: dict[str, Any] = {"keep": [0.02, 0.9], "slack": 0.02, "start": 0.4, "min_completed": 5, "min_arrivals": 3}
    for margin in (0.3, 0.7, 1.5):
        yield _srm(f"margin {margin:g}, from the start", n_startup_trials=0, shares=DOUBLING, margin=margin, **bold)
    for share in (0.3, 0.4, 0.5, 0.6):
        yield _srm(f"the best {share:.0%}, from the start", n_startup_trials=0, shares=DOUBLING, **_fixed(share))


def guarded() -> Iterator[Setting]:
    """The field's own rules as policies of SRMPruner, alone or guarded: what is predicted among the best share goes on."""
    for least in (0.0, 0.02, 0.1, 0.25):
        for eta, guard in ((2, None), (4, None), (4, 0.2)):
            yield _guarded(f"ASHA from {least:.0%}, eta {eta}", guard, _asha(least, eta))
    for warm_up in (0.0, 0.1):
        yield _guarded(f"median, warm-up {warm_up:.0%}", 0.3, _rule("median", warm_up=warm_up))
    for share in (0.05, 0.1):
        waits = f"{share:.0%} without a better value, then median"
        yield _guarded(waits, 0.3, _rule("patience", share=share), _rule("median"))


def hyperbands() -> Iterator[Setting]:
    """FHyperbandPruner, at some of Hyperband's settings."""
    for least, eta in ((0.0, 3), (0.1, 4), (0.25, 4)):
        yield Setting("FHyperbandPruner", f"from {least:.0%}, eta {eta}", _f_hyperband(least, eta))


def peers() -> Iterator[Setting]:
    """Optuna's pruners at their defaults and at settings that their documentation speaks of."""
    for warm_up in WARM_UPS:
        for percentile in (25.0, 50.0, 75.0):
            family, which = ("Median", "") if percentile == 50 else ("Percentile", f"{percentile:g}, ")
            yield Setting(family, f"{which}warm-up {warm_up:.0%}", _percentile(percentile, warm_up))
    yield Setting("SuccessiveHalving", DEFAULT, lambda horizon: pruners.SuccessiveHalvingPruner())
    for least in (0.02, 0.1, 0.25):
        for eta in (2, 4):
            yield Setting("SuccessiveHalving", f"from {least:.0%}, eta {eta}", _halving(least, eta))
    for least in (0.0, 0.1, 0.25):
        for eta in (3, 4):
            yield Setting("Hyperband", f"from {least:.0%}, eta {eta}", _hyperband(least, eta))
    for share in (0.05, 0.1, 0.2):
        yield Setting("Patient", f"{share:.0%}, then Median", _patient(pruners.MedianPruner(), share))
    yield Setting("Patient", "10%, alone", _patient(None, 0.1))


def wilcoxon() -> Iterator[Setting]:
    yield Setting("Wilcoxon", DEFAULT, lambda horizon: pruners.WilcoxonPruner())


def _epochs(share: float, horizon: int) -> int:
    return max(1, round(share * horizon))


def _srm(
    label: str, *, policy: str = "predictive-rank", begin: float = 0.0, n_startup_trials: int = 5, **settings: Any
) -> Setting:
    """begin: the share of the horizon before which nothing is pruned. settings: of the policy."""

    def make(horizon: int) -> BasePruner:
        return SRMPruner(
            horizon,
            policy=policy,
            policy_settings=settings,
            n_startup_trials=n_startup_trials,
            min_resource=_epochs(begin, horizon),
            first_step=1,
        )

    return Setting("SRMPruner", label, make)


def _guarded(label: str, guard: float | None, *rules: MakeRule) -> Setting:
    """A trial ends when all of the rules would stop it. guard: the share that is predicted too good for that."""
    if guard is not None:
        label = f"{label}, but for the best {guard:.0%}"
        rules = (*rules, _rule("predictive-rank", shares=EVERYWHERE, protected=1, **_fixed(guard)))

    def make(horizon: int) -> BasePruner:
        settings = {"rules": [rule(horizon) for rule in rules]}
        return SRMPruner(horizon, policy="all", policy_settings=settings, n_startup_trials=0, first_step=1)

    return Setting("SRMPruner", label, make)


def _rule(name: str, **settings: Any) -> MakeRule:
    return lambda horizon: {"name": name, **settings}


def _asha(least: float, eta: int) -> MakeRule:
    return lambda horizon: {"name": "asha", "first_share": _epochs(least, horizon) / horizon, "eta": eta}


def _fixed(share: float) -> dict[str, Any]:
    return {"keep": [share, share], "start": share, "min_arrivals": 1}


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
