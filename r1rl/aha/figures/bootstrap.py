"""Prompts drawn anew, for many figures and steps at once: the paired cluster bootstrap as matrix products.

A draw is a number of times each prompt is taken. The same draws serve every step and figure, so differences between
steps are paired, and figures of one run can be compared.
Sources: Efron and Tibshirani, An Introduction to the Bootstrap (1993), percentile interval; Cameron, Gelbach and
Miller (2008), clusters; Holm, A Simple Sequentially Rejective Multiple Test Procedure (1979), correction;
Satterthwaite (1946), degrees of freedom of a sum of variances.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.float64]

RESAMPLES: Final = 10_000
"""Enough for p-values that stay below 5 % when multiplied by the number of figures."""

LEVEL: Final = 0.95
LEAST_PROMPTS: Final = 10
"""With fewer prompts that say anything, draws of them are too much alike: there is no interval."""

_CELLS_AT_ONCE: Final = 4_000_000
_DIGITS: Final = 12  # so that an interval never excludes zero by a rounding error
_MAX_DF: Final = 400  # the t distribution is normal from here on, to three digits


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its interval; None: not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None

    @property
    def above_zero(self) -> bool:
        """Whether the whole interval is above zero."""
        return self.low is not None and self.low > 0

    @property
    def below_zero(self) -> bool:
        """Whether the whole interval is below zero."""
        return self.high is not None and self.high < 0


def draws(prompts: int, resamples: int, seed: int) -> npt.NDArray[np.uint16]:
    """How often each prompt is drawn: [resamples, prompts], each row sums to `prompts`. Raises ValueError for none."""
    if resamples < 1:
        raise ValueError(f"resamples={resamples}: need >= 1; try {RESAMPLES}")
    if prompts < 1:
        raise ValueError("prompts=0: nothing to draw from")
    generator = np.random.default_rng(seed)
    shares = np.full(prompts, 1 / prompts)
    rows = max(1, _CELLS_AT_ONCE // prompts)
    parts = [
        generator.multinomial(prompts, shares, size=min(rows, resamples - done)).astype(np.uint16)
        for done in range(0, resamples, rows)
    ]
    return np.concatenate(parts)


def ratios(counts: Array, drawn: npt.NDArray[np.uint16], *, least_prompts: int = LEAST_PROMPTS) -> Array:
    """Ratio of sums per draw and step: counts [prompts, steps, 2] -> [resamples, steps].

    NaN over a zero sum, and at a step at which fewer than `least_prompts` prompts have a denominator.
    """
    prompts, steps, _ = counts.shape
    flat = counts.reshape(prompts, 2 * steps)
    rows = max(1, _CELLS_AT_ONCE // prompts)
    sums = np.concatenate([drawn[i : i + rows].astype(np.float64) @ flat for i in range(0, len(drawn), rows)])
    found = _divide(sums.reshape(-1, steps, 2))
    found[:, (counts[..., 1] > 0).sum(axis=0) < least_prompts] = np.nan
    return found


def values(counts: Array) -> Array:
    """Ratio of sums per step: counts [prompts, steps, 2] -> [steps], NaN over a zero sum."""
    return _divide(counts.sum(axis=0))


def estimate(value: float, resampled: Array, level: float = LEVEL) -> Estimate:
    """A value with the percentile interval of its draws; no interval where over half of them are not defined."""
    if not math.isfinite(value):
        return Estimate(None)
    value = round(float(value), _DIGITS)
    kept = resampled[np.isfinite(resampled)]
    if 2 * len(kept) < len(resampled) or len(kept) == 0:
        return Estimate(value)
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, round(float(low), _DIGITS), round(float(high), _DIGITS))


def p_value(differences: Array) -> float | None:
    """Two-sided p of "no difference": the level at which the percentile interval begins to hold zero, at least
    2 / (draws + 1). None where over half of the draws are not defined.
    """
    kept = np.round(differences[np.isfinite(differences)], _DIGITS)
    if 2 * len(kept) < len(differences) or len(kept) == 0:
        return None
    tail = min(int((kept <= 0).sum()), int((kept >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(kept) + 1))


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """p-values adjusted for their number: rejecting those below 5 % rejects any true one with 5 % at most.

    None stays None and is no part of the family.
    """
    family = sorted((p, name) for name, p in p_values.items() if p is not None)
    adjusted: dict[str, float | None] = dict.fromkeys(p_values)
    highest = 0.0
    for rank, (p, name) in enumerate(family):
        highest = max(highest, min(1.0, p * (len(family) - rank)))
        adjusted[name] = highest
    return adjusted


def over_seeds(per_run: Sequence[float], of_mean: Array, level: float = LEVEL) -> tuple[Estimate, float | None]:
    """Mean over runs with an interval that covers new seeds and new prompts, and the p of "zero".

    Args:
        per_run: one value a run.
        of_mean: draws of the mean over the runs, the same prompts drawn in each: the prompts' share of the error.

    The variance is that of the mean between runs plus that between draws, whose sum is on the safe side, as runs
    differ by their sampling too. t distribution with Satterthwaite's degrees of freedom (runs - 1 and infinity). With
    one run there is no variance between runs, and so no interval.
    """
    known = np.array([value for value in per_run if math.isfinite(value)], dtype=np.float64)
    if len(known) == 0:
        return Estimate(None), None
    mean = round(float(known.mean()), _DIGITS)
    kept = of_mean[np.isfinite(of_mean)]
    if len(known) < 2 or len(known) < len(per_run) or 2 * len(kept) < len(of_mean):
        return Estimate(mean), None
    between, within = float(known.var(ddof=1)) / len(known), float(kept.var(ddof=1))
    error = math.sqrt(between + within)
    if error < 10.0**-_DIGITS:
        return Estimate(mean, mean, mean), 1.0 if mean == 0 else 0.0
    degrees = _MAX_DF if between == 0 else (between + within) ** 2 / (between**2 / (len(known) - 1))
    degrees = max(1, min(_MAX_DF, math.floor(degrees)))
    reach = t_quantile((1 + level) / 2, degrees) * error
    p = 2 * (1 - t_cdf(abs(mean) / error, degrees))
    return Estimate(mean, round(mean - reach, _DIGITS), round(mean + reach, _DIGITS)), max(p, 0.0)


def t_cdf(t: float, degrees: int) -> float:
    """Student's t distribution function; Abramowitz and Stegun 26.7.3 and 26.7.4 (whole degrees of freedom)."""
    angle = math.atan2(t, math.sqrt(degrees))
    cosine = math.cos(angle)
    term, total = 1.0, 1.0
    if degrees % 2:
        term = total = cosine if degrees > 1 else 0.0
        for k in range(3, degrees - 1, 2):
            term *= cosine**2 * (k - 1) / k
            total += term
        area = 2 / math.pi * (angle + math.sin(angle) * total)
    else:
        for k in range(2, degrees - 1, 2):
            term *= cosine**2 * (k - 1) / k
            total += term
        area = math.sin(angle) * total
    return (1 + area) / 2


def t_quantile(probability: float, degrees: int) -> float:
    """The inverse of `t_cdf` above the median, by bisection."""
    low, high = 0.0, 1.0
    while t_cdf(high, degrees) < probability:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, degrees) < probability else (low, middle)
    return (low + high) / 2


def _divide(sums: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(sums[..., 1] > 0, sums[..., 0] / sums[..., 1], np.nan)
