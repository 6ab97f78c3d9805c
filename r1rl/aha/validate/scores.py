"""Hits, false alarms and misses of a detector, and what they say of its precision and recall, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

_Z: Final = 1.959963984540054  # 97.5 % point of the normal distribution
_SEED: Final = 0
_RESAMPLES: Final = 2_000


@dataclass(frozen=True, slots=True)
class Score:
    """Hits (`tp`), false alarms (`fp`) and misses (`fn`) of one detector on one set of rollouts.

    `texts`: how many it was measured on. `clusters`: the counts of each, where intervals are to draw texts.
    """

    detector: str
    corpus: str
    tp: int = 0
    fp: int = 0
    fn: int = 0
    texts: int = 0
    clusters: tuple[tuple[int, int, int], ...] = ()

    @property
    def precision(self) -> float | None:
        """Share of what was found that is right; None where nothing was found."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else None

    @property
    def recall(self) -> float | None:
        """Share of what is there that was found; None where nothing is there."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else None

    def as_dict(self) -> dict[str, Any]:
        return {
            "detector": self.detector,
            "corpus": self.corpus,
            **{"texts": self.texts, "tp": self.tp, "fp": self.fp, "fn": self.fn},
            "precision": _rounded(self.precision),
            "precision_ci": [_rounded(bound) for bound in self._interval(1)],
            "recall": _rounded(self.recall),
            "recall_ci": [_rounded(bound) for bound in self._interval(2)],
        }

    def _interval(self, against: int) -> tuple[float, float]:
        """Of hits among hits and false alarms (1), or hits and misses (2)."""
        low, high = wilson(self.tp, self.tp + (self.tp, self.fp, self.fn)[against])
        drawn = _drawn(self.clusters, against)
        return (min(low, drawn[0]), max(high, drawn[1])) if drawn else (low, high)


def _drawn(clusters: Sequence[tuple[int, int, int]], against: int) -> tuple[float, float] | None:
    """95 % percentile interval over texts drawn with replacement; None for fewer than two texts with anything."""
    if sum(map(any, clusters)) < 2:
        return None
    counts = np.array(clusters, float)
    picks = np.random.default_rng(_SEED).integers(len(counts), size=(_RESAMPLES, len(counts)))
    sums = counts[picks].sum(axis=1)
    of = sums[:, 0] + sums[:, against]
    shares = sums[of > 0, 0] / of[of > 0]
    if not shares.size:
        return None
    low, high = np.quantile(shares, [0.025, 0.975])
    return float(low), float(high)


def wilson(hits: int, of: int) -> tuple[float, float]:
    """95 % interval of the share hits / of; (0, 1) where `of` is zero."""
    if not of:
        return 0.0, 1.0
    share, square = hits / of, _Z * _Z / of
    middle = (share + square / 2) / (1 + square)
    half = _Z * math.sqrt(share * (1 - share) / of + square / (4 * of)) / (1 + square)
    return max(0.0, middle - half), min(1.0, middle + half)


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)


def shown(row: Mapping[str, Any], name: str) -> str:
    """`precision` or `recall` of `Score.as_dict` with its interval: "0.970 (0.92 to 0.99)"."""
    if row[name] is None:
        return "none"
    low, high = row[f"{name}_ci"]
    return f"{row[name]:.3f} ({low:.2f} to {high:.2f})"
