"""What `hyperband plan` prints, and what `hyperband run` says before it begins: the brackets, their cost, what can be saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from curvestop.hyperband.scheduler.brackets import Bracket, fewest_epochs, total_epochs
from curvestop.srm.plural import plural
from curvestop.srm.policies.stopping_rule import LEAST_CURVES


@dataclass(frozen=True)
class PlanReport:
    """A plan and the settings that say what can be stopped in it.

    Attributes:
        plan: The brackets of one iteration.
        n_iterations: Consecutive runs of Hyperband.
        kappa: See `BracketScheduler`.
        min_curves: Curves that must have reached an epoch before it is predicted.

    Examples:
        >>> from curvestop.hyperband.scheduler.brackets import brackets
        >>> PlanReport(brackets(9), kappa=0.5, min_curves=6).most_saved > 0
        True
    """

    plan: Sequence[Bracket]
    n_iterations: int = 1
    kappa: float = 1.0
    min_curves: int = 20

    @property
    def n_configurations(self) -> int:
        """Number of configurations of all iterations."""
        return self.n_iterations * sum(bracket.n_configurations for bracket in self.plan)

    @property
    def n_epochs(self) -> int:
        """Epochs of all iterations without stops inside the rungs."""
        return self.n_iterations * total_epochs(self.plan)

    @property
    def fewest_epochs(self) -> int:
        """Epochs with perfect predictions as soon as there may be any: a lower bound."""
        return fewest_epochs(self.plan, kappa=self.kappa, min_curves=self.min_curves, n_iterations=self.n_iterations)

    @property
    def most_saved(self) -> float:
        """Share of the epochs that stops inside the rungs may save, in [0, 1]."""
        return 1 - self.fewest_epochs / self.n_epochs

    @property
    def nothing_to_stop(self) -> str | None:
        """Why no trial can be stopped inside a rung, and what to change; None if some can."""
        if self.most_saved > 0:
            return None
        none = f"None of the {plural(self.n_configurations, 'configuration')} can be stopped inside a rung: "
        if fewest_epochs(self.plan, kappa=self.kappa) == total_epochs(self.plan):
            return f"{none}with kappa {self.kappa:g}, all train to the ends of their rungs; lower --kappa or raise --max-epochs."
        more = "--iterations" if len(self.plan) > 1 else "--budget"
        return (
            f"{none}an epoch is predicted only after min-curves ({self.min_curves}) curves have reached it, and no rung has so "
            f"many before it is over; lower --min-curves (at least {LEAST_CURVES}) or raise {more}."
        )

    def show(self, console: Console) -> None:
        """Print the brackets rung by rung, what they cost, and how much of that f-Hyperband may save.

        Args:
            console: Where to print.
        """
        console.print(self._table())
        n, epochs = sum(bracket.n_configurations for bracket in self.plan), total_epochs(self.plan)
        console.print(
            f"{plural(self.n_iterations, 'iteration')} x {plural(n, 'configuration')}, {plural(epochs, 'epoch')} "
            f"= {plural(self.n_configurations, 'configuration')}, {plural(self.n_epochs, 'epoch')}.",
            soft_wrap=True,
        )
        # An upper bound: real predictions are not perfect.
        console.print(
            self.nothing_to_stop
            or f"f-Hyperband may save up to {self.most_saved:.0%} of them: Algorithm 2 with perfect predictions, kappa "
            f"{self.kappa:g}, trains {self.fewest_epochs}. It saves nothing in a rung until min-curves ({self.min_curves}) "
            "configurations have reached its end.",
            soft_wrap=True,
        )

    def _table(self) -> Table:
        table = Table(title="Brackets: configurations @ epochs", title_justify="left")
        table.add_column("bracket")
        for index in range(max(len(bracket.rungs) for bracket in self.plan)):
            table.add_column(f"rung {index + 1}", justify="right")
        table.add_column("epochs", justify="right")
        for bracket in self.plan:
            rungs = [f"{rung.n_configurations} @ {rung.epochs}" for rung in bracket.rungs]
            empty_cells = [""] * (len(table.columns) - len(rungs) - 2)  # 2: the first and the last column
            table.add_row(f"s = {bracket.s}", *rungs, *empty_cells, str(bracket.n_epochs))
        return table
