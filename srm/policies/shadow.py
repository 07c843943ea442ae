"""Shadow mode and held-out trials: another policy runs, but some or all of its stops are only noted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

from curvestop.srm.curve import Decision
from curvestop.srm.policies.evidence import Evidence, Rule


@dataclass(frozen=True)
class Shadow:
    """Another policy, of which some or all stops are only noted: those trials continue and show what it would have lost.

    Attributes:
        rule: The policy.
        shadow: Whether nothing is stopped.
        hold_out: Share of the trials in [0, 1), chosen by name and seed, that is never stopped. Their final values are an
            unbiased sample to calibrate on.
        seed: Chooses which trials are held out.

    Examples:
        >>> from curvestop.srm.policies.rules import Rank
        >>> Shadow(Rank(), hold_out=0.5).is_held_out("a")
        False
    """

    rule: Rule
    shadow: bool = False
    hold_out: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.hold_out < 1:
            raise ValueError(f"hold_out must be in [0, 1), but got {self.hold_out!r}")

    @property
    def reads_neighbors(self) -> bool:
        """Whether the policy does."""
        return self.rule.reads_neighbors

    def decision_points(self, max_epochs: int) -> Sequence[int]:
        """Return those of the policy."""
        return self.rule.decision_points(max_epochs)

    def ranked_epochs(self, tau: int, previous: int, max_epochs: int) -> Sequence[int]:
        """Return those of the policy."""
        return self.rule.ranked_epochs(tau, previous, max_epochs)

    def decide(self, evidence: Evidence) -> Decision:
        """Decide as the policy does; turn a stop that is only noted into a shadow stop."""
        # The policy is always asked, so that shadowed decisions are those of a study without a shadow.
        decision = self.rule.decide(evidence)
        if decision.stop and (self.shadow or self.is_held_out(evidence.trial)):
            return decision.as_shadow_stop("shadow mode" if self.shadow else "held out")
        return decision

    def is_held_out(self, trial: str) -> bool:
        """Return whether the trial is one of the share that is never stopped.

        Args:
            trial: Name of the trial; with the seed it decides alone, so each process makes the same choice.
        """
        # Not `hash`, which Python salts anew in every process. Uniform in 0..2^32 - 1.
        return crc32(f"{self.seed}/{trial}".encode()) < self.hold_out * 2**32
