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

_RESAMPLES: Final = 10_000
_FALLS_APART: Final = 0.1
_WITH: Final = {"banned": "with markers banned", "inject": "with the word"}


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm's continuations; shares of all of them, `tokens` and `stretch` (of the source) a continuation.

    Of several runs, all but `count` are means over those that have the arm.
    """

    right: Estimate
    parsed: float
    marked: float
    tokens: float
    stretch: float
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

    `corruption` has the keys (arm, whether the true value hits), and (arm, None) for both.
    """

    runs: tuple[str, ...]
    step: int
    points: int
    prompts: int
    arms: dict[str, Arm]
    gains: dict[str, Gain]
    corruption: dict[tuple[str, bool | None], Corrupted]


def measure(run: str, step: int, rows: Sequence[Row], *, seed: int = 0) -> Result:
    """The figures of one run's rows of one step. Raises ValueError for none."""
    return together([run], step, [rows], seed=seed)


def together(runs: Sequence[str], step: int, rows_of_runs: Sequence[Sequence[Row]], *, seed: int = 0) -> Result:
    """The figures of one step over runs of one recipe. Raises ValueError where one has no rows."""
    for run, rows in zip(runs, rows_of_runs, strict=True):
        if not rows:
            raise ValueError(
                f"run={run!r}, step={step}: no marker and no claimed value in its rollouts, so there is nothing to "
                "go on from"
            )
    names = sorted({row["prompt_id"] for rows in rows_of_runs for row in rows})
    place = {name: i for i, name in enumerate(names)}
    drawn = bootstrap.draws(len(names), _RESAMPLES, seed)
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
        arm: _arm([by_arm[arm] for by_arm in every], _put_together([share[:, i] for share in shares])[0])
        for i, arm in enumerate(present)
    }
    points = sum(len({row["point"] for arm in present for row in by_arm[arm]}) for by_arm in every)
    return Result(tuple(runs), step, points, len(names), arms, _gains(present, shares),
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


def _arm(rows_of_runs: Sequence[Sequence[Row]], right: Estimate) -> Arm:
    return Arm(
        right,
        parsed=_mean_over_runs(rows_of_runs, lambda row: row["verdict"] != "unparseable"),
        marked=_mean_over_runs(rows_of_runs, lambda row: row["marked"]),
        tokens=_mean_over_runs(rows_of_runs, lambda row: row["n_tokens"]),
        stretch=_mean_over_runs(rows_of_runs, lambda row: row["stretch_tokens"]),
        count=sum(map(len, rows_of_runs)),
    )


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
) -> dict[tuple[str, bool | None], Corrupted]:
    found: dict[tuple[str, bool | None], Corrupted] = {}
    for arm in CORRUPTION_ARMS:
        for hits in (None, True, False):
            rows_of_runs = [
                [row for row in by_arm.get(arm, ()) if hits is None or row["hits"] == hits] for by_arm in every
            ]
            if not any(rows_of_runs):
                continue
            shares = [_shares([_sums(rows, place, noticed)], drawn)[:, 0] for rows in rows_of_runs]
            found[arm, hits] = Corrupted(
                _put_together(shares)[0],
                _mean_over_runs(rows_of_runs, lambda row: noticed(row) is None),
                _mean_over_runs(rows_of_runs, lambda row: row["verdict"] == "correct"),
                sum(map(len, rows_of_runs)),
            )
    return found


def words(result: Result) -> list[str]:
    """What the gains allow to be said, a sentence each."""
    said = [_gain_words(result, *texts) for texts in (
        ("reflection", "The text of a reflection", "a forced answer", "any stretch without markers"),
        ("freedom", "Being free to reflect", "the final answer", "the same freedom at a random boundary"),
    )]  # fmt: skip
    said[1] += _unparsed(result, "banned", "free") if said[1] else ""
    injection = result.gains.get("injection")
    if injection is not None and injection.change.value is not None:
        said.append(f"An injected word changes accuracy by {_points(injection.change)} points"
                    f"{_clear(result, injection)}.{_unparsed(result, 'inject', 'no_inject')}")  # fmt: skip
    false, true = (result.corruption.get((arm, None)) for arm in ("corrupted", "intact"))
    if false is not None and true is not None and false.noticed.value is not None:
        baseline = "–" if true.noticed.value is None else f"{100 * true.noticed.value:.0f} %"
        said.append(
            f"A falsified value: {100 * false.noticed.value:.0f} % of the goal tests behind it go by the true value "
            f"({baseline} where nothing was falsified); {100 * false.silent:.0f} % of the continuations do not test."
        )
    if len(result.runs) > 1:
        said.append(f"{len(result.runs)} runs: intervals are for new seeds and new problems ({result.prompts} seen).")
    return [sentence for sentence in said if sentence]


def _gain_words(result: Result, key: str, what: str, whom: str, placebo: str) -> str:
    gain, other, beyond = (result.gains.get(name) for name in (key, f"{key}_placebo", f"{key}_beyond_placebo"))
    if gain is None or gain.change.value is None:
        return ""
    text = f"{what} is worth {_points(gain.change)} points to {whom}{_clear(result, gain)}"
    if other is None or beyond is None or other.change.value is None:
        return text + "."
    return f"{text}; {placebo}: {_points(other.change)}, so {_points(beyond.change)} beyond it{_clear(result, beyond)}."


def _unparsed(result: Result, arm: str, other: str) -> str:
    """What must be said where an arm's text falls apart much more often than the other's."""
    first, second = result.arms[arm].parsed, result.arms[other].parsed
    if second - first < _FALLS_APART:
        return ""
    return f" Only {first:.0%} of the continuations {_WITH[arm]} ({second:.0%} of the others) end in a readable answer."


def _points(estimate: Estimate) -> str:
    if estimate.value is None:
        return "–"
    shown = f"{100 * estimate.value:+.0f}"
    if estimate.low is None or estimate.high is None:
        return shown
    return f"{shown} ({100 * estimate.low:+.0f} to {100 * estimate.high:+.0f})"


def _clear(result: Result, gain: Gain) -> str:
    if gain.change.low is None:
        return f", of too few prompts{' or runs' if len(result.runs) > 1 else ''} for an interval"
    return "" if gain.p is not None and gain.p < 0.05 else ", not clearly different from 0"
