"""Where a change of accuracy comes from: better first attempts, more retries, better ones, or keeping what is right.

The claim: what reinforcement learning improves is the decision whether an attempt stands, more than the sampling of
attempts. Source: Zhao et al., The Two-Stage Decision-Sampling Hypothesis, arXiv 2601.01580. It splits a policy into
one that samples attempts and one that decides, stop or sample again, by gradients and on arithmetic given in turns.
Here both are read off the stored rollouts of one policy, and a change of accuracy is divided among them exactly.

The algebra. Of all judged rollouts at a step, a share `m` makes an attempt, and of these a share `f` hits at once.
Follow each rollout up to its first hit. Let `M` be its misses until then and `R` its retries, each a rollout's mean.
Every miss is retried or not, with share `r = R / M`; every retry hits or misses, with share `q` of hits. So by counting
    M = m (1 - f) + R (1 - q)   and   R = r M,   hence   R = r m (1 - f) / (1 - r (1 - q)),
and the share of rollouts with a hit is h = m f + q R. These are identities of the counts and not a model: nothing is
assumed to be independent. With `k` of those that hit answering right at the end, and `u` of those that never did,
    accuracy = h k + (1 - h) u.
A hit is not kept where a later attempt replaces it, and also where the answer never comes, is cut off or has the wrong
form. `u` is what attempts do not explain: a guess, or an attempt that the detector missed; on clean Countdown it is
zero.

The change between two steps is divided by Shapley's value over these six: attempting (m), first (f), decision (r),
sampling (q), keeping (k), rest (u). A part's term is what swapping it adds to the accuracy, averaged over all orders
in which the parts can be swapped. So no order is preferred, and the terms add up to the change exactly. A share that
is not defined at one of the steps (no retry at all, so no hits per retry) is taken from the other one, where it then
explains nothing; the mixed policies in between retry without a length limit.

Source of the division: Shapley, A Value for n-Person Games (1953); of its use here: Shorrocks, Decomposition
Procedures for Distributional Analysis (2013).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from r1rl.aha.figures import bootstrap, gate
from r1rl.aha.figures.bootstrap import Array, Estimate
from r1rl.aha.figures.figures import Counts, Figure, Selection, counts
from r1rl.aha.figures.suite import all_kinds, pick, run_names

_KNOWN: Final = "correct IS NOT NULL AND attempts IS NOT NULL"
_PATH: Final = "[x.right for x in attempts if NOT x.repeat]"
_HIT: Final = f"coalesce(list_position({_PATH}, true), 0)"  # the number of the attempt that hits first, from 1
_MISSES: Final = f"CASE WHEN {_HIT} > 0 THEN {_HIT} - 1 ELSE len({_PATH}) END"
_RETRIES: Final = f"CASE WHEN {_HIT} > 0 THEN {_HIT} - 1 ELSE greatest(len({_PATH}) - 1, 0) END"


def _factor(key: str, label: str, above: str, below: str, definition: str) -> Figure:
    above, below = (f"CASE WHEN {_KNOWN} THEN ({part})::DOUBLE ELSE 0 END" for part in (above, below))
    return Figure(key, label, above, below, definition, detector="attempts", section="where the gain comes from")


TOTAL: Final = replace(
    _factor("judged_accuracy", "right answers", "correct::INT", "1",
            "right answers / judged rollouts of tasks with an attempt detector"),
    detector=None,
)  # fmt: skip
FACTORS: Final = (
    _factor("attempted", "makes an attempt", f"(len({_PATH}) > 0)::INT", "1", "rollouts with an attempt / rollouts"),
    _factor("first_hit", "first attempt hits", f"({_HIT} = 1)::INT", f"(len({_PATH}) > 0)::INT",
            "rollouts whose first attempt hits / rollouts with an attempt"),
    _factor("retry_per_miss", "retries a miss", _RETRIES, _MISSES, "retries before the first hit / misses before it"),
    _factor("hit_per_retry", "a retry hits", f"({_HIT} > 1)::INT", _RETRIES,
            "first hits that are retries / retries before the first hit"),
    _factor("right_kept", "keeps a hit", f"({_HIT} > 0 AND correct)::INT", f"({_HIT} > 0)::INT",
            "right answers of rollouts with a hit / rollouts with a hit"),
    _factor("right_unseen", "right without a hit", f"({_HIT} = 0 AND correct)::INT", f"({_HIT} = 0)::INT",
            "right answers of rollouts without a hit / rollouts without a hit"),
)  # fmt: skip
PARTS: Final[Mapping[str, tuple[str, str]]] = {
    "attempting": ("an attempt is made", "attempted"),
    "first": ("first attempts hit", "first_hit"),
    "decision": ("misses are retried", "retry_per_miss"),
    "sampling": ("retries hit", "hit_per_retry"),
    "keeping": ("hits are kept", "right_kept"),
    "rest": ("right without a hit", "right_unseen"),
}
"""Part -> its name for readers, and its factor."""

_KEYS: Final = [figure.key for figure in FACTORS]


@dataclass(frozen=True, slots=True)
class Part:
    """A part's share of the change of accuracy.

    Args:
        factor: the key of what is swapped.
        series: its term from the first step to each step.
        p: that the last is zero, adjusted for the number of parts (Holm).
        with_detector: the last with the detector's errors carried through, where attempts are read from free text.
    """

    key: str
    label: str
    factor: str
    series: tuple[Estimate, ...]
    p: float | None = None
    with_detector: Estimate | None = None

    @property
    def change(self) -> Estimate:
        """Its term of the change from the first to the last step."""
        return self.series[-1]


@dataclass(frozen=True)
class Decomposition:
    """The change of accuracy of a run, or of several put together, by parts.

    Args:
        factors: accuracy (TOTAL) and every factor at each step, of several runs the mean; None: not defined.
        total: the change of accuracy from the first step to each.
    """

    runs: tuple[str, ...]
    steps: tuple[int, ...]
    factors: Mapping[str, tuple[float | None, ...]]
    total: tuple[Estimate, ...]
    parts: tuple[Part, ...]


def accuracy(factors: Array) -> Array:
    """[..., factors in the order of FACTORS] -> the accuracy that they make."""
    attempted, first, retry, hit, kept, unseen = np.moveaxis(factors, -1, 0)
    rest = 1 - retry * (1 - hit)
    # Zero where every miss is retried and no retry hits: such a policy never comes to a hit.
    retries = np.where(rest > 0, retry * attempted * (1 - first) / np.where(rest > 0, rest, 1), 0)
    found: Array = attempted * first + hit * retries
    return found * kept + (1 - found) * unseen


def divide(before: Array, after: Array) -> Array:
    """Factors at two steps, [..., factors] each -> the terms of the change, [..., parts]; they add up to it."""
    before, after = np.where(np.isnan(before), after, before), np.where(np.isnan(after), before, after)
    before, after = np.nan_to_num(before), np.nan_to_num(after)
    parts = [_KEYS.index(key) for _, key in PARTS.values()]
    worth = {}
    for swapped in range(1 << len(parts)):
        mixed = before.copy()
        for i, factor in enumerate(parts):
            if swapped >> i & 1:
                mixed[..., factor] = after[..., factor]
        worth[swapped] = accuracy(mixed)
    terms = np.zeros((*before.shape[:-1], len(parts)))
    for i in range(len(parts)):
        for swapped in worth:
            if not swapped >> i & 1:
                size = swapped.bit_count()
                weight = math.factorial(size) * math.factorial(len(parts) - 1 - size) / math.factorial(len(parts))
                terms[..., i] += weight * (worth[swapped | 1 << i] - worth[swapped])
    return terms


def measure(
    runs: Sequence[Path | str], selection: Selection | None = None, *, resamples: int | None = None, seed: int = 0
) -> list[Decomposition | None]:
    """The decomposition of each annotated run, and after them, for two or more, of all together.

    None where no two steps can be compared, where verdicts or attempts are not known, or where the detector of attempts
    was not measured on such text. Raises ValueError as `suite.measure`.
    """
    selection = selection or Selection()
    names = run_names(runs)
    if not selection.compared or not gate.measured(FACTORS, all_kinds(runs, selection))[0]:
        return [None] * (len(runs) + (len(runs) > 1))
    every = [counts(run, selection, [TOTAL, *FACTORS]) for run in runs]
    prompts = sorted({prompt for one in every for prompt in one.prompts})
    drawn = bootstrap.draws(len(prompts), resamples or bootstrap.RESAMPLES, seed)
    known = [_usable(one) for one in every]
    terms = [
        _terms(one, one.steps, pick(drawn, prompts, one)) if usable else None
        for one, usable in zip(every, known, strict=True)
    ]
    found: list[Decomposition | None] = [
        None if one is None else _decomposition((name,), counted.steps, [counted], [one])
        for name, counted, one in zip(names, every, terms, strict=True)
    ]
    if len(runs) > 1:
        steps = sorted(set.intersection(*(set(one.steps) for one in every)))
        if len(steps) < 2 or not all(known):
            found.append(None)
        else:
            together = [_terms(one, steps, pick(drawn, prompts, one)) for one in every]
            found.append(_decomposition(tuple(names), steps, every, together))
    return found


def pair(one: Counts, first: int, last: int) -> tuple[float, dict[str, float]]:
    """The change of accuracy between two counted steps, and its terms."""
    at = [one.steps.index(first), one.steps.index(last)]
    total = bootstrap.values(one.sums[TOTAL.key])[at]
    factors = np.stack([bootstrap.values(one.sums[key])[at] for key in _KEYS], axis=-1)
    return float(total[1] - total[0]), dict(zip(PARTS, divide(factors[0], factors[1]).tolist(), strict=True))


def _usable(one: Counts) -> bool:
    return len(one.steps) > 1 and bool((one.sums[TOTAL.key][..., 1].sum(axis=0) > 0).all())


def _terms(one: Counts, steps: Sequence[int], drawn: Any) -> Array:
    """[1 + resamples, steps, 1 + parts]: the change from the first step and its terms, then those of the draws."""
    at = [one.steps.index(step) for step in steps]
    stacked = []
    for key in (TOTAL.key, *_KEYS):
        sums = one.sums[key][:, at]
        stacked.append(np.vstack([bootstrap.values(sums), bootstrap.ratios(sums, drawn, least_prompts=1)]))
    total, factors = stacked[0], np.stack(stacked[1:], axis=-1)
    found = np.stack([divide(factors[:, 0], factors[:, i]) for i in range(len(steps))], axis=1)
    return np.concatenate([(total - total[:, :1])[..., None], found], axis=-1)


def _decomposition(
    names: tuple[str, ...], steps: Sequence[int], every: Sequence[Counts], terms: Sequence[Array]
) -> Decomposition:
    few = min(len(one.prompts) for one in every) < bootstrap.LEAST_PROMPTS
    columns: list[list[tuple[Estimate, float | None]]] = []
    for number in range(1 + len(PARTS)):
        found = [_put_together([one[:, i, number] for one in terms]) for i in range(len(steps))]
        columns.append([(Estimate(one.value), None) if few else (one, p) for one, p in found])
    adjusted = bootstrap.holm(
        {key: column[-1][1] if len(steps) > 1 else None for key, column in zip(PARTS, columns[1:], strict=True)}
    )
    parts = tuple(
        Part(key, label, factor, tuple(one for one, _ in column), adjusted[key])
        for (key, (label, factor)), column in zip(PARTS.items(), columns[1:], strict=True)
    )
    factors = {
        key: tuple(_mean([bootstrap.values(one.sums[key])[one.steps.index(step)] for one in every]) for step in steps)
        for key in (TOTAL.key, *_KEYS)
    }
    return Decomposition(names, tuple(steps), factors, tuple(one for one, _ in columns[0]), parts)


def _put_together(per_run: Sequence[Array]) -> tuple[Estimate, float | None]:
    """A value with its draws behind it, [1 + resamples] a run -> the estimate over the runs, and its p."""
    if len(per_run) == 1:
        (one,) = per_run
        return bootstrap.estimate(float(one[0]), one[1:]), bootstrap.p_value(one[1:])
    return bootstrap.over_seeds([float(one[0]) for one in per_run], np.mean(per_run, axis=0)[1:])


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if math.isfinite(value)]
    return float(np.mean(known)) if known else None


def with_errors(found: Decomposition, intervals: Mapping[str, Estimate]) -> Decomposition:
    """The same with what `detector_errors` makes of each part."""
    return replace(found, parts=tuple(replace(part, with_detector=intervals[part.key]) for part in found.parts))
