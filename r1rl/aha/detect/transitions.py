"""What follows an attempt, and the reflection figures of a set of rollouts.

Every figure is defined once, in `FIGURES`, as a ratio of two counts of one rollout. A training step's log line sums
them over its rollouts; a comparison of two steps keeps them apart by prompt.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final, Literal

from r1rl.aha.detect import markers
from r1rl.aha.detect.attempts import Attempt, find_attempts, reasoning_spans

Transition = Literal["right_right", "wrong_same", "wrong_different", "wrong_right", "right_wrong"]
WITH_ATTEMPTS: Final = frozenset({"countdown"})
"""Verifiers whose attempts can be found; the other tasks have markers only."""


def transitions(attempts: Sequence[Attempt]) -> list[Transition]:
    """Transition between each attempt and the next, one that only repeats its predecessor left out.

    `wrong_same`: two wrong attempts of the same true value; `wrong_different`: of two values.
    """
    distinct = [attempt for attempt in attempts if not attempt.repeats_previous]
    return [_transition(before, after) for before, after in pairwise(distinct)]


def _transition(before: Attempt, after: Attempt) -> Transition:
    if before.right:
        return "right_right" if after.right else "right_wrong"
    if after.right:
        return "wrong_right"
    return "wrong_same" if before.value == after.value else "wrong_different"


@dataclass(frozen=True, slots=True)
class Reflection:
    """What one rollout holds. `attempts` leaves repeats out, and is None where the task has no attempt detector."""

    markers: int
    tokens: int
    attempts: int | None
    first_right: bool | None
    wrong_to_right: bool
    right_to_wrong: bool


def measure(row: Mapping[str, Any]) -> Reflection:
    """Markers and attempts of one rollout row.

    Reads completion, prefill, gold, meta (JSON), n_tokens, and the verifier's name from `verifier`, or where a row
    lacks it (the store has no such column) from `task`. Broken meta means no attempts; no completion raises.
    """
    completion, prefill = row["completion"], row.get("prefill") or ""
    spans = reasoning_spans(completion, prefill)
    hits = sum(len(markers.find(completion[start:end])) for start, end in spans)
    tokens = row.get("n_tokens") or 0
    verifier = row.get("verifier") or row["task"]
    if verifier not in WITH_ATTEMPTS:
        return Reflection(hits, tokens, None, None, False, False)
    found = find_attempts(
        completion, task_verifier=verifier, gold=row["gold"], meta=_meta(row.get("meta")), prefill=prefill
    )
    followed = transitions(found)
    return Reflection(
        markers=hits,
        tokens=tokens,
        attempts=len(followed) + 1 if found else 0,
        first_right=found[0].right if found else None,
        wrong_to_right="wrong_right" in followed,
        right_to_wrong="right_wrong" in followed,
    )


# Figure -> (numerator, denominator) of one rollout; a figure is the ratio of the sums.
FIGURES: Final[Mapping[str, Callable[[Reflection], tuple[float, float]]]] = MappingProxyType(
    {
        "marker_rate": lambda r: (r.markers > 0, 1),
        "marker_per_1k_tokens": lambda r: (1000 * r.markers, r.tokens),
        "attempts_per_rollout": lambda r: (r.attempts or 0, r.attempts is not None),
        "retry_after_miss": lambda r: (r.first_right is False and (r.attempts or 0) > 1, r.first_right is False),
        "wrong_to_right": lambda r: (r.wrong_to_right, r.attempts is not None),
        "right_to_wrong": lambda r: (r.right_to_wrong, r.attempts is not None),
        "first_attempt_accuracy": lambda r: (r.first_right is True, r.first_right is not None),
    }
)


def summarise(rows: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """The figures of these rollouts under "aha/<figure>"; None where a denominator is zero.

    marker_rate: share of rollouts with a strict marker in the reasoning. marker_per_1k_tokens: per 1,000 completion
    tokens. attempts_per_rollout: repeats left out. retry_after_miss: of the rollouts whose first attempt is wrong,
    the share that makes another. wrong_to_right, right_to_wrong: share of all rollouts with an attempt of the one
    kind directly followed by one of the other. first_attempt_accuracy: of the rollouts with an attempt.
    """
    reflections = [measure(row) for row in rows]
    summary: dict[str, float | None] = {}
    for name, figure in FIGURES.items():
        counts = [figure(reflection) for reflection in reflections]
        below = sum(count[1] for count in counts)
        summary[f"aha/{name}"] = sum(count[0] for count in counts) / below if below else None
    return summary


def by_prompt(rows: Iterable[Mapping[str, Any]], figures: Sequence[str]) -> dict[str, dict[str, tuple[float, float]]]:
    """Figure -> prompt_id -> (numerator, denominator) summed over that prompt's rollouts.

    Input of `statistics.compare`. Raises ValueError for an unknown figure.
    """
    if unknown := [name for name in figures if name not in FIGURES]:
        raise ValueError(f"figure={unknown[0]!r}: need one of {', '.join(FIGURES)}")
    sums: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in figures}
    for row in rows:
        reflection, prompt_id = measure(row), row["prompt_id"]
        for name, of_prompt in sums.items():
            above, below = FIGURES[name](reflection)
            old_above, old_below = of_prompt.get(prompt_id, (0.0, 0.0))
            of_prompt[prompt_id] = (old_above + above, old_below + below)
    return sums


def _meta(meta: object) -> dict[str, Any]:
    if isinstance(meta, str):
        try:
            meta = json.loads(meta)
        except (ValueError, RecursionError):
            return {}
    return meta if isinstance(meta, dict) else {}
