"""Second chances: stopped trials that are worth going on with, now that the study knows more than when it stopped them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from curvestop.srm.curve import Configuration
from curvestop.srm.policies.evidence import StatesChances
from curvestop.srm.settings import StudySettings
from curvestop.srm.validation import whole_number


@dataclass(frozen=True)
class SecondChance:
    """A stopped trial and its chance to end as the best after all.

    Attributes:
        trial: Name of the trial.
        configuration: Its hyper-parameters and architecture numbers.
        next_epoch: Epoch that a resumed training begins with; where a program cannot resume, it trains from epoch 1.
        chance: Chance in (0, 1], by what the study knows now, that it ends as the best.
    """

    trial: str
    configuration: Configuration
    next_epoch: int
    chance: float


def policy_of_chances(settings: StudySettings, n: int) -> StatesChances:
    """Return the policy that states the chances, after the checks of `Study.second_chances`.

    Args:
        settings: Settings of the study.
        n: Most second chances to return.

    Raises:
        ValueError: If n < 1, or the policy states no chances.
    """
    whole_number("n", n)
    policy = settings.stopping
    if not isinstance(policy, StatesChances):
        raise ValueError(f"second chances need policy 'learned', but the study has {settings.policy!r}")
    return policy


def most_promising(chances: Iterable[SecondChance], n: int) -> list[SecondChance]:
    """Return the n second chances with the highest chance, in that order.

    Args:
        chances: Of all stopped trials, in the order of their first report, in which equal chances stay.
        n: Most to return, >= 1.
    """
    return sorted(chances, key=lambda one: -one.chance)[:n]
