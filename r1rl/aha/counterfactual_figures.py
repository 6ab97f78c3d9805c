"""What the counterfactual probe's rows say: accuracy by arm, gains between arms, what became of falsified values.

Everything is a ratio of sums over continuations; intervals come from draws of prompts, the same for every arm, so
that gains are paired. p-values are adjusted for the number of gains of a step (Holm).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from r1rl.aha import bootstrap
from r1rl.aha.bootstrap import Array, Estimate
from r1rl.aha.corruption import ARMS as CORRUPTION_ARMS
from r1rl.aha.corruption import noticed
from r1rl.aha.counterfactual import ARMS

LABELS: Final[Mapping[str, str]] = {
    "answer_before": "A  answer forced before the marker",
    "answer_after": "B  answer forced after the reflection",
    "banned": "C  goes on, markers banned",
    "free": "D  goes on freely",
    "inject": "E  word injected at a matched boundary",
    "no_inject": "   nothing injected there",
    "placebo_answer_before": "A  at a random boundary",
    "placebo_answer_after": "B  after a stretch without markers",
    "placebo_banned": "C  at a random boundary",
    "placebo_free": "D  at a random boundary",
}
GAINS: Final[Mapping[str, tuple[tuple[str, int], ...]]] = {
    "reflection": (("answer_after", 1), ("answer_before", -1)),
    "reflection_placebo": (("placebo_answer_after", 1), ("placebo_answer_before", -1)),
    "reflection_beyond_placebo": (("answer_after", 1), ("answer_before", -1), ("placebo_answer_after", -1),
                                  ("placebo_answer_before", 1)),
    "freedom": (("free", 1), ("banned", -1)),
    "freedom_placebo": (("placebo_free", 1), ("placebo_banned", -1)),
    "freedom_beyond_placebo": (("free", 1), ("banned", -1), ("placebo_free", -1), ("placebo_banned", 1)),
    "injection": (("inject", 1), ("no_inject", -1)),
}  # fmt: skip
GAIN_LABELS: Final[Mapping[str, str]] = {
    "reflection": "B − A: the text of a reflection",
    "reflection_placebo": "   a stretch without markers",
    "reflection_beyond_placebo": "   beyond that",
    "freedom": "D − C: being free to reflect",
    "freedom_placebo": "   the same at a random boundary",
    "freedom_beyond_placebo": "   beyond that",
    "injection": "E − nothing: an injected word",
}
_RESAMPLES: Final = 10_000
_FALLS_APART: Final = 0.1
_WITH: Final = {"banned": "with markers banned", "inject": "with the word"}


@dataclass(frozen=True, slots=True)
class Arm:
    """One arm's continuations; shares of all of them, `tokens` and `stretch` (of the source) a continuation."""

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
    """One step's figures; an arm, gain or corruption that has no rows is not in them.

    `corruption` has the keys (arm, whether the true value hits), and (arm, None) for both.
    """

    run: str
    step: int
    points: int
    prompts: int
    arms: dict[str, Arm]
    gains: dict[str, Gain]
    corruption: dict[tuple[str, bool | None], Corrupted]


def measure(run: str, step: int, rows: Sequence[Mapping[str, Any]], *, seed: int = 0) -> Result:
    """The figures of one step's rows. Raises ValueError for none."""
    if not rows:
        raise ValueError(f"step={step}: no marker and no claimed value in its rollouts, so there is nothing to probe")
    names = sorted({row["prompt_id"] for row in rows})
    place = {name: i for i, name in enumerate(names)}
    drawn = bootstrap.draws(len(names), _RESAMPLES, seed)
    by_arm: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        by_arm[row["arm"]].append(row)
    present = [arm for arm in ARMS if by_arm[arm]]
    sums = np.zeros((len(names), len(present), 2))
    for column, arm in enumerate(present):
        for row in by_arm[arm]:
            if row["verdict"] != "bad_gold":
                sums[place[row["prompt_id"]], column] += row["verdict"] == "correct", 1
    values, draws = np.zeros(0), np.zeros((len(drawn), 0))
    if present:
        values, draws = bootstrap.values(sums), bootstrap.ratios(sums, drawn)
    arms = {
        arm: _arm(by_arm[arm], bootstrap.estimate(values[column], draws[:, column]))
        for column, arm in enumerate(present)
    }
    points = {row["point"] for arm in present for row in by_arm[arm]}
    return Result(run, step, len(points), len(names), arms, _gains(present, values, draws),
                  _corruption(by_arm, place, drawn))  # fmt: skip


def _arm(rows: Sequence[Mapping[str, Any]], right: Estimate) -> Arm:
    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    return Arm(
        right,
        mean([row["verdict"] != "unparseable" for row in rows]),
        mean([row["marked"] for row in rows]),
        mean([row["n_tokens"] for row in rows]),
        mean([row["stretch_tokens"] for row in rows]),
        len(rows),
    )


def _gains(present: Sequence[str], values: Array, draws: Array) -> dict[str, Gain]:
    found: dict[str, Estimate] = {}
    plain: dict[str, float | None] = {}
    for name, terms in GAINS.items():
        if all(arm in present for arm, _ in terms):
            at = [(present.index(arm), sign) for arm, sign in terms]
            value = float(sum(sign * values[column] for column, sign in at))
            drawn: Array = np.sum([sign * draws[:, column] for column, sign in at], axis=0)
            found[name] = bootstrap.estimate(value, drawn)
            plain[name] = bootstrap.p_value(drawn)
    adjusted = bootstrap.holm(plain)
    return {name: Gain(change, adjusted[name]) for name, change in found.items()}


def _corruption(
    by_arm: Mapping[str, Sequence[Mapping[str, Any]]], place: Mapping[str, int], drawn: Any
) -> dict[tuple[str, bool | None], Corrupted]:
    found: dict[tuple[str, bool | None], Corrupted] = {}
    for arm in CORRUPTION_ARMS:
        for hits in (None, True, False):
            rows = [row for row in by_arm.get(arm, ()) if hits is None or row["hits"] == hits]
            if not rows:
                continue
            sums = np.zeros((len(place), 1, 2))
            silent = 0
            for row in rows:
                said = noticed(row)
                silent += said is None
                if said is not None:
                    sums[place[row["prompt_id"]], 0] += said, 1
            share = bootstrap.estimate(bootstrap.values(sums)[0], bootstrap.ratios(sums, drawn)[:, 0])
            right = sum(row["verdict"] == "correct" for row in rows) / len(rows)
            found[arm, hits] = Corrupted(share, silent / len(rows), right, len(rows))
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
        said.append(f"An injected word changes accuracy by {_points(injection.change)} points{_clear(injection)}."
                    f"{_unparsed(result, 'inject', 'no_inject')}")  # fmt: skip
    false, true = (result.corruption.get((arm, None)) for arm in ("corrupted", "intact"))
    if false is not None and true is not None and false.noticed.value is not None:
        baseline = "–" if true.noticed.value is None else f"{100 * true.noticed.value:.0f} %"
        said.append(
            f"A falsified value: {100 * false.noticed.value:.0f} % of the goal tests behind it go by the true value "
            f"({baseline} where nothing was falsified); {100 * false.silent:.0f} % of the continuations do not test."
        )
    return [sentence for sentence in said if sentence]


def _gain_words(result: Result, key: str, what: str, whom: str, placebo: str) -> str:
    gain, other, beyond = (result.gains.get(name) for name in (key, f"{key}_placebo", f"{key}_beyond_placebo"))
    if gain is None or gain.change.value is None:
        return ""
    text = f"{what} is worth {_points(gain.change)} points to {whom}{_clear(gain)}"
    if other is None or beyond is None or other.change.value is None:
        return text + "."
    return f"{text}; {placebo}: {_points(other.change)}, so {_points(beyond.change)} beyond it{_clear(beyond)}."


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


def _clear(gain: Gain) -> str:
    if gain.change.low is None:
        return ", of too few prompts for an interval"
    return "" if gain.p is not None and gain.p < 0.05 else ", not clearly different from 0"
