"""How far two readers of the same texts agree: counts, raw agreement, and kappa with an interval clustered by prompt.

Source: Cohen, A Coefficient of Agreement for Nominal Scales (1960), kappa = (p_o - p_e) / (1 - p_e). Where nearly all
texts are alike, kappa is low or undefined although the readers agree: it is to be read beside the counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from r1rl.aha.figures import bootstrap
from r1rl.aha.figures.bootstrap import Array, Estimate


@dataclass(frozen=True, slots=True)
class Agreement:
    """Texts by what the judge and another reader said; `agree` and `kappa` are undefined without any, kappa too where
    both said one thing.
    """

    both: int
    judge_only: int
    other_only: int
    neither: int
    prompts: int
    agree: float | None
    kappa: Estimate


def agree(pairs: Sequence[tuple[str, bool, bool]], *, seed: int = 0) -> Agreement:
    """Agreement over (prompt, what the judge says, what the other says)."""
    if not pairs:
        return Agreement(0, 0, 0, 0, 0, None, Estimate(None))
    place = {name: i for i, name in enumerate(sorted({prompt for prompt, _, _ in pairs}))}
    counts = np.zeros((len(place), 4))
    for prompt, judge, other in pairs:
        counts[place[prompt], 2 * (not judge) + (not other)] += 1
    resampled = np.full(1, np.nan)
    if len(counts) >= bootstrap.LEAST_PROMPTS:
        resampled = kappa(bootstrap.draws(len(counts), bootstrap.RESAMPLES, seed) @ counts)
    total = counts.sum(axis=0)
    both, judge_only, other_only, neither = map(int, total)
    interval = bootstrap.estimate(float(kappa(total)), resampled)
    return Agreement(both, judge_only, other_only, neither, len(counts), (both + neither) / len(pairs), interval)


def kappa(counts: Array) -> Array:
    """Cohen's kappa of counts [..., 4] (both, first alone, second alone, neither); NaN where chance alone agrees."""
    share = counts / counts.sum(axis=-1, keepdims=True)
    observed = share[..., 0] + share[..., 3]
    first, second = share[..., 0] + share[..., 1], share[..., 0] + share[..., 2]
    chance = first * second + (1 - first) * (1 - second)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = np.where(1 - chance > 1e-12, (observed - chance) / (1 - chance), np.nan)
    return found
