"""Do the late epochs of single runs tell the seed noise? Compared on the sets whose repeated configurations tell it.

The estimate from late epochs is a residual times `LATE_FACTOR`, which was learnt here. So each set is also judged by the factor
that the other domains alone would have given.

    python -m benchmarks.predict.seed_noise --data ../shared/data
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks import benchmark_cli
from benchmarks.curves import CurveFile, load_all
from benchmarks.replay.search_set import domain_of
from curvestop.srm.seed_noise import LATE_FACTOR, SeedNoise


@dataclass(frozen=True)
class Estimates:
    """Both estimates of one set.

    Attributes:
        name: Name of the set.
        domain: What is left out together with it.
        repeats: From repeated configurations.
        late: From late epochs of one run of each configuration; None if its curves are too short.
    """

    name: str
    domain: str
    repeats: SeedNoise
    late: SeedNoise | None

    @property
    def log_ratio(self) -> float | None:
        """Logarithm of the noise over the estimate from late epochs; 0 is right."""
        return None if self.late is None else float(np.log(self.repeats.deviation / self.late.deviation))


def estimates(curve_file: CurveFile) -> Estimates | None:
    """Return both estimates of a set; None without groups, or with too few repeats."""
    repeats = curve_file.seed_noise()
    if curve_file.groups is None or repeats is None or repeats.source != "repeated configurations":
        return None
    # A run for each configuration: one that was repeated often must not count as often.
    rows = np.unique(curve_file.groups, return_index=True)[1]
    alone = replace(curve_file, curves=curve_file.curves[rows], configurations=curve_file.configurations[rows], groups=None)
    return Estimates(curve_file.name, domain_of(curve_file.name), repeats, alone.seed_noise())


def mean_of_domains(of_sets: Sequence[Estimates], *, without: str | None = None) -> float:
    """Return the mean log ratio over the domains, which weigh the same."""
    ratios: dict[str, list[float]] = {}
    for its in of_sets:
        if its.domain != without and its.log_ratio is not None:
            ratios.setdefault(its.domain, []).append(its.log_ratio)
    return float(np.mean([np.mean(domain) for domain in ratios.values()]))


def left_out_errors(of_sets: Sequence[Estimates]) -> dict[str, float]:
    """Return the log error of each set's estimate from late epochs, with the factor that the other domains give.

    Examples:
        >>> noise = SeedNoise(2.0, "repeated configurations", 3)
        >>> found = [Estimates(name, name, noise, SeedNoise(late, "late epochs", 9)) for name, late in (("a", 1.0), ("b", 4.0))]
        >>> {name: round(float(np.exp(error)), 3) for name, error in left_out_errors(found).items()}  # ratios 2 and 1/2
        {'a': 4.0, 'b': 0.25}
    """
    return {
        its.name: its.log_ratio - mean_of_domains(of_sets, without=its.domain) for its in of_sets if its.log_ratio is not None
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the comparison."""
    options = benchmark_cli.parser(__doc__).parse_args(argv)
    found = [its for curve_file in load_all(options.data) if (its := estimates(curve_file)) is not None]
    if len({its.domain for its in found if its.late is not None}) < 2:
        print("skipped: needs sets of two domains with repeated configurations (`group`) and 17 epochs")
        return
    errors = left_out_errors(found)
    rows: list[list[object]] = []
    for its in found:
        late = "too short" if its.late is None or its.log_ratio is None else f"{its.late.deviation:.4g}"
        ratio = "" if its.log_ratio is None else float(np.exp(its.log_ratio))
        rows.append([its.name, its.repeats.n, f"{its.repeats.deviation:.4g}", late, ratio, _factor(errors.get(its.name))])
    heads = ["set", "repeated", "seed noise", "by late epochs", "seed noise / that", "the same, domain left out"]
    benchmark_cli.show("Standard deviation of final values from seed to seed, in the metric", heads, rows)
    log_errors = np.array(list(errors.values()))
    headline = {
        "factor": round(LATE_FACTOR * float(np.exp(mean_of_domains(found))), 3),
        "typical_error": round(float(np.exp(np.sqrt(np.square(log_errors).mean()))), 3),
        "worst_error": round(float(np.exp(np.abs(log_errors).max())), 3),
    }
    benchmark_cli.conclude(options.out, "seed_noise", headline, {its.name: errors.get(its.name) for its in found})


def _factor(log_error: float | None) -> object:
    return "" if log_error is None else float(np.exp(log_error))


if __name__ == "__main__":
    main()
