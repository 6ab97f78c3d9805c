"""What the rows of a counterfactual say: accuracy by arm, gains between arms, what became of falsified values.

Everything is a ratio of sums over continuations; intervals come from draws of prompts, the same for every arm and
run, so that gains are paired. Of several runs, seeds of one recipe, it is the mean over them, with an interval for new
seeds and new prompts. p-values are adjusted for the number of gains of a step (Holm).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from r1rl.aha.counterfactual.arms import ARMS
from r1rl.aha.counterfactual.corruption import ARMS as CORRUPTION_ARMS
from r1rl.aha.counterfactual.corruption import noticed
from r1rl.aha.figures import bootstrap
from r1rl.aha.figures.bootstrap import Array, Estimate

Row: TypeAlias = Mapping[str, Any]

_REFLECTION: Final = {"answer_after": 1, "answer_before": -1}
_FREEDOM: Final = {"free": 1, "banned": -1}


def _placebo(terms: Mapping[str, int], sign: int = 1) -> dict[str, int]:
    return {f"placebo_{arm}": sign * weight for arm, weight in terms.items()}


GAINS: Final[Mapping[str, tuple[str, Mapping[str, int]]]] = {
    "reflection": ("B − A: the text of a reflection", _REFLECTION),
    "reflection_placebo": ("   a stretch without markers", _placebo(_REFLECTION)),
    "reflection_beyond_placebo": ("   beyond that", _REFLECTION | _placebo(_REFLECTION, -1)),
    "freedom": ("D − C: being free to reflect", _FREEDOM),
    "freedom_placebo": ("   the same at a random boundary", _placebo(_FREEDOM)),
    "freedom_beyond_placebo": ("   beyond that", _FREEDOM | _placebo(_FREEDOM, -1)),
    "injection": ("E − nothing: an injected word", {"inject": 1, "no_inject": -1}),
}
"""Gain -> its name for readers, and the weights of the arms' accuracies whose sum it is."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm's continuations; shares of all of them, `tokens` a continuation.

    Of several runs, all but `count` are means over those that have the arm.
    """

    right: Estimate
    parsed: float
    marked: float
    tokens: float
    count: int


@dataclass(frozen=True, slots=True)
class Gain:
    """A difference of arms' accuracies; `p` is adjusted for the number of gains."""

    change: Estimate
    p: float | None


@dataclass(frozen=True, slots=True)
class Corrupted:
    """Continuations of one corruption arm, of hits or of misses.

    `noticed`: of those that say anything, the share that goes by the true value; `silent`: the share that does not.
    """

    noticed: Estimate
    silent: float
    right: float
    count: int


@dataclass(frozen=True)
class Result:
    """One step's figures, of one run or of several put together; an arm, gain or corruption without rows is not there.

    `markers` counts the points; `corruption` has the keys `corrupted`, and `corrupted_hits` and `corrupted_misses` by
    what the true value is; `intact` likewise.
    """

    runs: tuple[str, ...]
    step: int
    markers: int
    prompts: int
    arms: dict[str, Arm]
    gains: dict[str, Gain]
    corruption: dict[str, Corrupted]


def measure(runs: Sequence[str], step: int, rows_of_runs: Sequence[Sequence[Row]], *, seed: int = 0) -> Result:
    """The figures of one step, of a run or over runs of one recipe. Raises ValueError where one has no rows."""
    for run, rows in zip(runs, rows_of_runs, strict=True):
        if not rows:
            raise ValueError(
                f"run={run!r}, step={step}: no marker and no claimed value in its rollouts, so there is nothing to "
                "go on from"
            )
    names = sorted({row["prompt_id"] for rows in rows_of_runs for row in rows})
    place = {name: i for i, name in enumerate(names)}
    drawn = bootstrap.draws(len(names), bootstrap.RESAMPLES, seed)
    every = []
    for rows in rows_of_runs:
        by_arm: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_arm[row["arm"]].append(row)
        every.append(by_arm)
    present = [arm for arm in ARMS if any(by_arm[arm] for by_arm in every)]
    # A run without an arm has zero sums there, so a value that is not defined, and the mean has no interval.
    shares = (
        [_shares([_sums(by_arm[arm], place, _right) for arm in present], drawn) for by_arm in every] if present else []
    )
    arms = {
        arm: Arm(
            _put_together([share[:, i] for share in shares])[0],
            parsed=_mean_over_runs([by_arm[arm] for by_arm in every], lambda row: row["verdict"] != "unparseable"),
            marked=_mean_over_runs([by_arm[arm] for by_arm in every], lambda row: row["marked"]),
            tokens=_mean_over_runs([by_arm[arm] for by_arm in every], lambda row: row["n_tokens"]),
            count=sum(len(by_arm[arm]) for by_arm in every),
        )
        for i, arm in enumerate(present)
    }
    markers = sum(len({row["point"] for arm in present for row in by_arm[arm]}) for by_arm in every)
    return Result(tuple(runs), step, markers, len(names), arms, _gains(present, shares),
                  _corruption(every, place, drawn))  # fmt: skip


def _shares(sums: Sequence[Array], drawn: Any) -> Array:
    """Sums [prompts, 2] a column -> [1 + resamples, columns]: the values, then those of the draws."""
    stacked = np.stack(sums, axis=1)
    return np.vstack([bootstrap.values(stacked), bootstrap.ratios(stacked, drawn)])


def _put_together(per_run: Sequence[Array]) -> tuple[Estimate, float | None]:
    """A value with its draws behind it, [1 + resamples] a run -> the estimate over the runs, and its p."""
    if len(per_run) == 1:
        (one,) = per_run
        return bootstrap.estimate(float(one[0]), one[1:]), bootstrap.p_value(one[1:])
    return bootstrap.over_seeds([float(one[0]) for one in per_run], np.mean(per_run, axis=0)[1:])


def _sums(rows: Sequence[Row], place: Mapping[str, int], says: Callable[[Row], bool | None]) -> Array:
    """[prompts, 2]: by prompt the rows of which something holds, and those of which it can be said."""
    sums = np.zeros((len(place), 2))
    for row in rows:
        if (holds := says(row)) is not None:
            sums[place[row["prompt_id"]]] += holds, 1
    return sums


def _right(row: Row) -> bool | None:
    return None if row["verdict"] == "bad_gold" else row["verdict"] == "correct"


def _mean_over_runs(rows_of_runs: Sequence[Sequence[Row]], value: Callable[[Row], float]) -> float:
    means = [sum(map(value, rows)) / len(rows) for rows in rows_of_runs if rows]
    return sum(means) / len(means)


def _gains(present: Sequence[str], shares: Sequence[Array]) -> dict[str, Gain]:
    found: dict[str, Estimate] = {}
    plain: dict[str, float | None] = {}
    for name, (_, terms) in GAINS.items():
        if terms.keys() <= set(present):
            weights = np.array([terms.get(arm, 0) for arm in present])
            at = weights != 0  # a share that is not defined counts where it has weight alone
            found[name], plain[name] = _put_together([share[:, at] @ weights[at] for share in shares])
    adjusted = bootstrap.holm(plain)
    return {name: Gain(change, adjusted[name]) for name, change in found.items()}


def _corruption(
    every: Sequence[Mapping[str, Sequence[Row]]], place: Mapping[str, int], drawn: Any
) -> dict[str, Corrupted]:
    found: dict[str, Corrupted] = {}
    for arm in CORRUPTION_ARMS:
        for name, hits in ((arm, None), (f"{arm}_hits", True), (f"{arm}_misses", False)):
            rows_of_runs = [
                [row for row in by_arm.get(arm, ()) if hits is None or row["hits"] == hits] for by_arm in every
            ]
            if not any(rows_of_runs):
                continue
            shares = [_shares([_sums(rows, place, noticed)], drawn)[:, 0] for rows in rows_of_runs]
            found[name] = Corrupted(
                _put_together(shares)[0],
                _mean_over_runs(rows_of_runs, lambda row: noticed(row) is None),
                _mean_over_runs(rows_of_runs, lambda row: row["verdict"] == "correct"),
                sum(map(len, rows_of_runs)),
            )
    return found
