"""What follows an attempt: from a right or a wrong one to the next."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from r1rl.aha.detect.attempts import Attempt

Transition = Literal["right_right", "wrong_same", "wrong_different", "wrong_right", "right_wrong"]


def transitions(attempts: Sequence[Attempt]) -> list[Transition]:
    """Transition between each attempt and the next, one that only repeats its predecessor left out.

    `wrong_same`: two wrong attempts of the same true value; `wrong_different`: of two values. Attempts that come to 7,
    7 again, and 22, where 22 is the target: `["wrong_right"]`, as the second only repeats the first.
    """
    distinct = [attempt for attempt in attempts if not attempt.repeat]
    return [_transition(before, after) for before, after in pairwise(distinct)]


def _transition(before: Attempt, after: Attempt) -> Transition:
    if before.right:
        return "right_right" if after.right else "right_wrong"
    if after.right:
        return "wrong_right"
    return "wrong_same" if before.value == after.value else "wrong_different"
