"""Paired cluster bootstrap: did a ratio change between two steps, given that both saw the same prompts?

Rollouts of one prompt are alike, so prompts are drawn, not rollouts; and as both steps saw the same prompts, each
draw is used on both sides, which takes the prompts' difficulty out of the difference.
Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), percentile interval; Cameron, Gelbach and
Miller, Bootstrap-Based Improvements for Inference with Clustered Errors (2008).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

RatioSample = Mapping[str, tuple[float, float]]
"""prompt_id -> (numerator, denominator), such as right samples and samples of that prompt."""

_DRAWS_AT_ONCE: Final = 2_000_000
_DIGITS: Final = 12  # so that an interval never excludes zero by a rounding error


@dataclass(frozen=True, slots=True)
class Comparison:
    """Ratio at the first and the last step, last minus first, and its confidence interval; None: not defined."""

    first: float | None
    last: float | None
    diff: float | None
    ci_low: float | None
    ci_high: float | None


def compare(
    first: RatioSample, last: RatioSample, *, resamples: int = 2000, seed: int = 0, level: float = 0.95
) -> Comparison:
    """Compare two ratios of sums over the prompts that both samples hold; same arguments, same result.

    A side with denominator zero is None, and so are the difference and the interval. A resample with a zero
    denominator says nothing and is left out; with fewer than two prompts, or with fewer than half of the resamples
    left, there is no interval. Raises ValueError for a value that is not finite or a negative denominator.
    """
    if resamples < 1:
        raise ValueError(f"resamples={resamples}: need >= 1; try 2000")
    if not 0 < level < 1:
        raise ValueError(f"level={level}: need between 0 and 1; try 0.95")
    # [prompts, 4]: numerator and denominator of the first side, then of the last; sorted, so order does not matter.
    prompts = sorted(first.keys() & last.keys())
    counts = np.array([(*first[prompt], *last[prompt]) for prompt in prompts], dtype=np.float64).reshape(-1, 4)
    if not np.isfinite(counts).all() or (counts[:, 1::2] < 0).any():
        raise ValueError("sample: need finite numerators and denominators >= 0")

    sums = counts.sum(axis=0)
    before, after = _ratio(sums[0], sums[1]), _ratio(sums[2], sums[3])
    if before is None or after is None:
        return Comparison(before, after, None, None, None)
    difference = round(after - before, _DIGITS)
    if len(prompts) < 2:
        return Comparison(before, after, difference, None, None)
    differences = _resampled_differences(counts, resamples, seed)
    differences = differences[~np.isnan(differences)]
    if 2 * len(differences) < resamples:
        return Comparison(before, after, difference, None, None)
    low, high = np.quantile(differences, [(1 - level) / 2, (1 + level) / 2])
    return Comparison(before, after, difference, round(float(low), _DIGITS), round(float(high), _DIGITS))


def _resampled_differences(counts: npt.NDArray[np.float64], resamples: int, seed: int) -> npt.NDArray[np.float64]:
    """[prompts, 4] -> [resamples], NaN where a side's denominator is zero."""
    generator = np.random.default_rng(seed)
    prompts = len(counts)
    rows = max(1, _DRAWS_AT_ONCE // prompts)
    parts = []
    for done in range(0, resamples, rows):
        drawn = generator.integers(prompts, size=(min(rows, resamples - done), prompts))
        sums = np.stack([counts[:, column][drawn].sum(axis=1) for column in range(4)], axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = np.where(sums[:, 1::2] > 0, sums[:, 0::2] / sums[:, 1::2], np.nan)
        parts.append(ratios[:, 1] - ratios[:, 0])
    return np.concatenate(parts)


def _ratio(numerator: float, denominator: float) -> float | None:
    return float(numerator / denominator) if denominator > 0 and math.isfinite(numerator) else None
