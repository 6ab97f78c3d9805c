"""How far two readers of the same texts agree: counts, raw agreement, and kappa with an interval clustered by prompt.

Source: Cohen, A Coefficient of Agreement for Nominal Scales (1960), kappa = (p_o - p_e) / (1 - p_e). Where nearly all
texts are alike, kappa is low or undefined although the readers agree: it is to be read beside the counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from r1rl.aha.figures import bootstrap
from r1rl.aha.figures.bootstrap import Array, Estimate


@dataclass(frozen=True, slots=True)
class Agreement:
    """Texts by what both said; `raw` and `kappa` are undefined without any, kappa too where both said one thing."""

    both: int
    first_only: int
    second_only: int
    neither: int
    prompts: int
    raw: float | None
    kappa: Estimate


@dataclass(frozen=True, slots=True)
class Rates:
    """The share of texts in which one reader sees something, at two steps, and its change over the same prompts."""

    first: Estimate
    last: Estimate
    change: Estimate


def agree(pairs: Iterable[tuple[str, bool, bool]], *, resamples: int = bootstrap.RESAMPLES, seed: int = 0) -> Agreement:
    """Agreement over (prompt, what the first says, what the second says)."""
    rows = list(pairs)
    if not rows:
        return Agreement(0, 0, 0, 0, 0, None, Estimate(None))
    counts = np.zeros((len({prompt for prompt, _, _ in rows}), 4))
    for place, (_, first, second) in zip(_places(rows), rows, strict=True):
        counts[place, 2 * (not first) + (not second)] += 1
    total = counts.sum(axis=0)
    resampled = np.full(1, np.nan)
    if len(counts) >= bootstrap.LEAST_PROMPTS:
        resampled = kappa(bootstrap.draws(len(counts), resamples, seed) @ counts)
    both, first_only, second_only, neither = map(int, total)
    interval = bootstrap.estimate(float(kappa(total)), resampled)
    return Agreement(both, first_only, second_only, neither, len(counts), (both + neither) / len(rows), interval)


def kappa(counts: Array) -> Array:
    """Cohen's kappa of counts [..., 4] (both, first alone, second alone, neither); NaN where chance alone agrees."""
    share = counts / counts.sum(axis=-1, keepdims=True)
    observed = share[..., 0] + share[..., 3]
    first, second = share[..., 0] + share[..., 1], share[..., 0] + share[..., 2]
    chance = first * second + (1 - first) * (1 - second)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Array = np.where(1 - chance > 1e-12, (observed - chance) / (1 - chance), np.nan)
    return found


def rates(seen: Iterable[tuple[str, bool, bool]], *, resamples: int = bootstrap.RESAMPLES, seed: int = 0) -> Rates:
    """Rates over (prompt, whether at the last step and not at the first, what the reader says)."""
    rows = list(seen)
    if not rows:
        return Rates(Estimate(None), Estimate(None), Estimate(None))
    sums = np.zeros((len({prompt for prompt, _, _ in rows}), 2, 2))
    for place, (_, at_last, says) in zip(_places(rows), rows, strict=True):
        sums[place, int(at_last)] += says, 1
    values: Any = bootstrap.values(sums)
    drawn = bootstrap.ratios(sums, bootstrap.draws(len(sums), resamples, seed))
    return Rates(
        bootstrap.estimate(values[0], drawn[:, 0]),
        bootstrap.estimate(values[1], drawn[:, 1]),
        bootstrap.estimate(values[1] - values[0], drawn[:, 1] - drawn[:, 0]),
    )


def _places(rows: Sequence[tuple[str, bool, bool]]) -> list[int]:
    """The place of each row's prompt among the sorted prompts."""
    place = {name: i for i, name in enumerate(sorted({prompt for prompt, _, _ in rows}))}
    return [place[prompt] for prompt, _, _ in rows]
