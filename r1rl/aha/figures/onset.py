"""Onset: the first upward, sustained departure of a figure from its value at step 0.

1. *Is there one?* An evaluation departs where a one-sided lower bound on its difference from step 0 is above zero. The
   bounds hold for all evaluations at once (sup-t band: the multiplier is a quantile of the largest studentised error
   over the evaluations), so a series that never changes departs anywhere with 5 % at most. Sustained: the next
   evaluation departs as well. A fall never is an onset, and a later fall takes none back.
2. *Where, and how?* Only up to the peak of that departure, so that no decline can decide. A step and a ramp (level,
   rise, level) are fitted by generalised least squares with the covariance of the draws; BIC chooses. The onset is
   the first evaluation above the old level, at the latest the first one that departs.
3. *How sure?* The same fit for every draw of prompts. The interval begins at the evaluation before the earliest onset,
   as nothing is known of what happens between two evaluations.

Sources: Montiel Olea and Plagborg-Moller, Simultaneous Confidence Bands (2019); Schwarz, Estimating the Dimension of
a Model (1978); Ledoit and Wolf, A Well-Conditioned Estimator for Large-Dimensional Covariance Matrices (2004), for the
shrinkage, here by a fixed share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from r1rl.aha.figures.bootstrap import Array

SUSTAINED_EVALUATIONS: Final = 2
_FIT_DRAWS: Final = 2_000
_SHRINKAGE: Final = 0.1
_LEAST_VARIANCE: Final = 1 / 16  # of the largest one: a rate of exactly 0 has no variance in any draw
_LEAST_MULTIPLIER: Final = 1.645
_PARAMETERS: Final = {"step": 3, "ramp": 4}  # two levels, and one or two places


@dataclass(frozen=True, slots=True)
class Onset:
    """`after` < onset <= `high` in 95 % of the draws; `step` is the first evaluation above the old level.

    `peak`: the highest evaluation of the departure; `lasting`: every later evaluation departs too.
    """

    step: int
    after: int
    high: int
    shape: Literal["step", "ramp"]
    peak: int
    lasting: bool


def find(
    steps: Sequence[int], values: Array, draws: Array, *, alpha: float = 0.05, level: float = 0.95
) -> Onset | None:
    """The onset of a series, None where there is none.

    Args:
        steps: the evaluations' steps, ascending; the first is the one to compare with.
        values: the figure at each, [steps]; NaN where not defined.
        draws: the same for each draw of prompts, [resamples, steps].
        alpha: how often a series that never changes may get an onset; divide it by the number of series looked at.
        level: of the interval.
    """
    usable = np.isfinite(values) & (np.isfinite(draws).mean(axis=0) > 0.5)
    if len(values) < 1 + SUSTAINED_EVALUATIONS or not usable[0]:
        return None
    at = np.flatnonzero(usable)
    values, draws = values[at], draws[:, at]
    draws = draws[np.isfinite(draws).all(axis=1)]
    if len(values) < 1 + SUSTAINED_EVALUATIONS or len(draws) < 2:
        return None
    departed = departures(values, draws, alpha)
    first = next((i for i in range(len(departed) - 1) if departed[i : i + SUSTAINED_EVALUATIONS].all()), None)
    if first is None:
        return None
    first += 1  # index into `values`
    end = first
    while end < len(departed) and departed[end]:
        end += 1
    peak = first + int(np.argmax(values[first : end + 1]))
    window = slice(0, peak + 1)
    x = np.array([steps[i] for i in at[window]], dtype=np.float64)
    places, shapes = _fit(x, np.vstack([values[window], draws[:_FIT_DRAWS, window]]), latest=first)
    order = np.sort(places[1:][places[1:] > 0])
    tail = (1 - level) / 2
    low, high = places[0], places[0]
    if len(order):
        low = min(low, order[int(tail * (len(order) - 1))])
        high = max(high, order[int(np.ceil((1 - tail) * (len(order) - 1)))])
    return Onset(
        step=int(steps[at[places[0]]]),
        after=int(steps[at[low - 1]]),
        high=int(steps[at[high]]),
        shape="step" if shapes[0] == 0 else "ramp",
        peak=int(steps[at[peak]]),
        lasting=bool(departed[first - 1 :].all()),
    )


def departures(values: Array, draws: Array, alpha: float) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which evaluations after the first are above it, with error `alpha` over all of them: [steps - 1] of bool."""
    difference = values[1:] - values[0]
    resampled = draws[:, 1:] - draws[:, :1]
    error = resampled.std(axis=0, ddof=1)
    moving = error > 1e-12
    multiplier = _LEAST_MULTIPLIER
    if moving.any():
        largest = ((resampled - difference)[:, moving] / error[moving]).max(axis=1)
        multiplier = max(multiplier, float(np.quantile(largest, 1 - alpha)))
    departed: np.ndarray[tuple[int], np.dtype[np.bool_]] = difference > multiplier * error + 1e-12
    return departed


def _fit(x: Array, series: Array, latest: int) -> tuple[np.ndarray, np.ndarray]:
    """For each row of `series` ([rows, steps], values first, then draws): index of the first evaluation above the old
    level, 0 where no rise fits better than none; and 0 for a step, 1 for a ramp.
    """
    count = len(x)
    firsts, shapes, bases = [], [], []
    for first in range(1, min(latest, count - 1) + 1):
        firsts.append(first)
        shapes.append(0)
        bases.append((np.arange(count) >= first).astype(np.float64))
        for end in range(first + 1, count):
            firsts.append(first)
            shapes.append(1)
            bases.append(np.clip((x - x[first - 1]) / (x[end] - x[first - 1]), 0, 1))
    whitener = np.linalg.inv(np.linalg.cholesky(_covariance(series[1:])))
    white = series @ whitener.T
    best = np.full(len(series), np.inf)
    chosen = np.zeros(len(series), dtype=int)
    penalty = np.log(count)
    for index, basis in enumerate(bases):
        q, r = np.linalg.qr(whitener @ np.stack([np.ones(count), basis], axis=1))
        along = white @ q
        left = (white**2).sum(axis=1) - (along**2).sum(axis=1)
        bic = left + penalty * _PARAMETERS["ramp" if shapes[index] else "step"]
        better = (along[:, 1] / r[1, 1] > 0) & (bic < best - 1e-9)
        best[better], chosen[better] = bic[better], index
    places = np.where(np.isfinite(best), np.array(firsts)[chosen], 0)
    places[0] = places[0] or min(latest, count - 1)
    return places, np.array(shapes)[chosen]


def _covariance(draws: Array) -> Array:
    covariance = np.atleast_2d(np.cov(draws, rowvar=False))
    variances = np.diag(covariance)
    least = max(_LEAST_VARIANCE * variances.max(), 1e-18)
    shrunk: Array = (1 - _SHRINKAGE) * covariance
    np.fill_diagonal(shrunk, np.maximum(variances, least))
    return shrunk
