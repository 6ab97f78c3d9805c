r"""L2: attempts, the committed candidate answers inside the reasoning. Exact for Countdown.

A Countdown attempt is
- complete: an expression that uses every given number exactly once, written whole, "(3*5)+7 = 22", or as a chain,
  "3 * 5 = 15 , 15 + 7 = 22", whose intermediate results are traced back to the given numbers; or
- illegal (some number is not given, or used too often) or partial (a number is left out), and put forward all the
  same: the text after it says that it hits the target or misses it, "target 22 got 21 no", and does not go on from it,
  or the reasoning ends with its coming to the target. A step on the way, a side sum and working backwards from the
  target ("22 - 7 = 15") are no attempts.

Equations are not attempts: a chain is one attempt. Other tasks: `r1rl.aha.detect.math_attempts`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple

from r1rl.aha.detect.countdown_sources import MAX_NUMBERS, Step
from r1rl.aha.detect.equations import Value, whole
from r1rl.verify.expression import plain_value

Status = Literal["complete", "partial", "illegal"]


class Attempt(NamedTuple):
    """One candidate answer; `text == completion[start:end]`, in characters.

    `expression` is over the given numbers only (of an illegal one: as written). `value` is its true value as a
    fraction ("22", "7/2"), None where it divides by zero or cannot be read. `claimed` is the last value the model wrote
    for it, as a fraction, None if it wrote none. `right`: complete, and the true value is the target, whatever was
    claimed. `repeat`: the previous attempt over again up to commutativity and associativity, not rejected
    in between, or its value again as "the answer is ..."; no retry. `slip`: the claimed value is not the true one.
    """

    start: int
    end: int
    text: str
    expression: str | None
    value: str | None
    claimed: str | None
    complete: bool
    right: bool
    repeat: bool = False
    status: Status = "complete"
    slip: bool = False


def countdown_problem(gold: object, meta: dict[str, Any]) -> tuple[list[int], Value] | None:
    """The given numbers and the target, None where `gold` or `meta` cannot be used."""
    numbers = meta.get("numbers")
    target = plain_value(gold) if isinstance(gold, str) else None
    if target is None or not isinstance(numbers, (list, tuple)) or not 2 <= len(numbers) <= MAX_NUMBERS:
        return None
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        return None
    return list(numbers), whole(target)


def from_steps(completion: str, steps: Sequence[Step], target: Value) -> list[Attempt]:
    """The attempts among the steps of `trace`, in order."""
    attempts: list[Attempt] = []
    previous: Step | None = None
    for step in steps:
        if not step.committed:
            continue
        complete = step.status == "complete"
        repeats = False
        if previous is not None and previous.value == step.value:
            # Worded as a conclusion it is one, though an intermediate may have been traced another way.
            repeats = (not previous.rejected and step.same_form(previous)) or (
                _CONCLUDES.search(completion, max(0, step.start - _CONCLUSION_CHARS), step.start) is not None
            )
        attempts.append(
            Attempt(
                start=step.start,
                end=step.end,
                text=completion[step.start : step.end],
                expression=step.expression or None,
                value=None if step.value is None else str(step.value),
                claimed=None if step.claimed is None else str(step.claimed),
                complete=complete,
                right=complete and step.value == target,
                repeat=repeats,
                status=step.status,
                slip=step.slip,
            )
        )
        previous = step
    return attempts


_CONCLUSION_CHARS: Final = 48
_CONCLUDES: Final = re.compile(
    r"\b(?:answer|solution|expression|equation)(?: (?:is|would be|will be))?\s?[:=]?[\s$*(\\\[{a-z]{0,10}$",
    re.IGNORECASE,
)


def transitions(attempts: Sequence[Attempt]) -> list[str]:
    """Transition between each attempt and the next, one that only repeats its predecessor left out.

    `wrong_same`: two wrong attempts of the same true value; `wrong_different`: of two values. Attempts that come to 7,
    7 again, and 22, where 22 is the target: `["wrong_right"]`, as the second only repeats the first.
    """
    return [_transition(*pair) for pair in pairwise(attempt for attempt in attempts if not attempt.repeat)]


def _transition(before: Attempt, after: Attempt) -> str:
    if before.right:
        return "right_right" if after.right else "right_wrong"
    if after.right:
        return "wrong_right"
    return "wrong_same" if before.value == after.value else "wrong_different"
