"""Second chances: stopped trials that are worth going on with, now that the study knows more than when it stopped them."""

from __future__ import annotations

from dataclasses import dataclass

from curvestop.srm.curve import Configuration


@dataclass(frozen=True)
class SecondChance:
    """A stopped trial and its chance to end among the best after all.

    Attributes:
        trial: Name of the trial.
        configuration: Its hyper-parameters and architecture numbers.
        next_epoch: Epoch that a resumed training begins with; where a program cannot resume, it trains from epoch 1.
        chance: Chance in (0, 1], by what the study knows now, that it ends among the best.
    """

    trial: str
    configuration: Configuration
    next_epoch: int
    chance: float
