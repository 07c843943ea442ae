"""The seed noise of a study, and which differences at its top are no more than that."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from curvestop.clients.reports.study_log import StudyView
from curvestop.srm.curve import LearningCurve
from curvestop.srm.plural import plural
from curvestop.srm.seed_noise import SeedNoise, seed_noise


def noise_section(study: StudyView) -> dict[str, Any] | None:
    """Return the seed noise, and what is lost in its units.

    Args:
        study: The study.

    Returns:
        None if the complete trials do not tell the noise; else an object with these keys:

        - `deviation`, `source`, `n`: see `SeedNoise`.
        - `n_ties`: number of complete trials, the best one apart, that are worse than it by no more than the noise.
        - `shadow_regret`: by how much the best complete trial would be worse had shadow stops been carried out, in seed noises;
          null if none would be left. `shadow_lost_best`: whether that is more than one, or none would be left.
        - `sentence`: all that in words.
    """
    complete = list(study.complete())
    curves = (LearningCurve(trial.name, trial.configuration, tuple(trial.values)) for trial in complete)
    noise = seed_noise(curves, study.settings.direction)
    if noise is None:
        return None
    best = max(study.sign * trial.final for trial in complete)
    left = [study.sign * trial.final for trial in complete if trial.shadow_stop is None]
    shadow_regret = (best - max(left)) / noise.deviation if left else None
    n_ties = sum(best - study.sign * trial.final <= noise.deviation for trial in complete) - 1
    sentence = _sentence(noise, n_ties, shadow_regret, n_shadow=len(complete) - len(left))
    lost = {"shadow_regret": shadow_regret, "shadow_lost_best": shadow_regret is None or shadow_regret > 1}
    return {**asdict(noise), "n_ties": n_ties, **lost, "sentence": sentence}


def _sentence(noise: SeedNoise, n_ties: int, shadow_regret: float | None, *, n_shadow: int) -> str:
    ties = f"seed noise {noise}: {plural(n_ties, 'other complete trial')} within it of the best"
    if not n_shadow:
        return ties
    if shadow_regret is None:
        return f"{ties}; every complete trial would have been stopped"
    verdict = "a loss" if shadow_regret > 1 else "not a loss"
    return f"{ties}; without the trials that would have been stopped, the best is {shadow_regret:.2g} of it worse: {verdict}"
