"""Countdown as a search: restarts, resumptions, duplicate retries, and whether what was given up was dead.

A partial step, "3 * 5 = 15" of 3, 5, 7, leaves a state: the values still to be combined, {15, 7}. It is *live* if some
expression over all of them hits the target, else *dead*; an exact solver tells. The next step either goes on (uses the
result, or combines other numbers next to it) or leaves the state. A policy that searches well leaves dead states and
keeps live ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final

from r1rl.aha.countdown_trace import PRIMES, Step
from r1rl.aha.equations import Value, whole

_BRANCH: Final = 32  # steps looked back for a result that is taken up again
MAX_SEARCHED: Final = 4
"""States of more values are not judged: the search is exponential."""


@dataclass(slots=True)
class Backtracking:
    """Counts of one rollout.

    `restarts`: a branch left and another begun from the given numbers. `resumes`: from a result found earlier. A
    restated conclusion is neither. `duplicate_retries`: attempts whose canonical form was tried before in the rollout,
    unless it only restates the attempt right before that was not rejected. `dead_seen`, `live_seen`: states whose fate
    the text shows; `dead_left`, `live_left`: those given up at once. States after an arithmetic slip are not counted.
    """

    restarts: int = 0
    resumes: int = 0
    duplicate_retries: int = 0
    dead_left: int = 0
    dead_seen: int = 0
    live_left: int = 0
    live_seen: int = 0


def backtracking(steps: Sequence[Step], numbers: Sequence[int], target: Value, *, closed: bool) -> Backtracking:
    """What the steps of `r1rl.aha.countdown_trace.trace` show.

    `closed`: the reasoning ends by itself, so a state that nothing follows was given up; else its fate is not known.
    """
    result = Backtracking()
    everything = _product(numbers)
    roots: list[Step] = []  # partial results not used yet in this branch
    branch: list[Step] = []  # all partial steps since the last attempt
    waiting: bool | None = None  # whether the state of the step before is live; None: no such state
    pending = ""  # how this branch began, until it is known not to be a restated conclusion
    forms: set[str] = set()
    previous: Step | None = None  # the last attempt
    fresh = True  # no branch under way

    def left(live: bool, gone: bool) -> None:
        if live:
            result.live_seen += 1
            result.live_left += gone
        else:
            result.dead_seen += 1
            result.dead_left += gone

    def count(kind: str) -> None:
        result.restarts += kind == "restart"
        result.resumes += kind == "resume"

    for step in steps:
        if step.status == "illegal" and not step.committed:
            continue
        inside = step.expression
        consumed = [root for root in roots if _uses(inside, root)]
        used = step.readings[0].used if step.readings else 0
        others = [root for root in roots if root not in consumed]
        together = used
        for root in others:
            together *= root.readings[0].used
        parallel = bool(used) and everything % together == 0
        gone = bool(others) and not parallel
        if waiting is not None:
            left(waiting, gone and not consumed)
            waiting = None
        if fresh and previous is not None:
            pending = "resume" if step.resumed else "restart"
        elif gone:
            count(pending)
            again = step.resumed or any(_uses(inside, other, again=False) for other in branch[-_BRANCH:])
            pending = "resume" if again else "restart"
        fresh = False
        roots = ([] if gone else others) + ([step] if step.status == "partial" else [])
        if step.committed:
            restated = (
                previous is not None
                and bool(step.form)
                and step.form == previous.form
                and not (previous.says and not previous.says[-1].says)
            )
            if not restated:
                count(pending)
                result.duplicate_retries += step.form in forms
            pending = ""
            if step.form:
                forms.add(step.form)
            previous, roots, branch, fresh = step, [], [], True
            continue
        branch.append(step)
        if not step.slip:
            values = _state(roots, numbers)
            if values is not None and len(values) <= MAX_SEARCHED:
                waiting = reachable(values, target)
    if waiting is not None and closed:
        left(waiting, True)
    count(pending)
    return result


def _uses(expression: str, step: Step, *, again: bool = True) -> bool:
    """Whether an expression holds a step's; `again`: or is the same one, written again."""
    return any(reading.expression in expression for reading in step.readings) and (
        again or all(reading.expression != expression for reading in step.readings)
    )


@lru_cache(maxsize=4096)
def _primes(numbers: tuple[int, ...]) -> dict[int, int]:
    return dict(zip(sorted(set(numbers)), PRIMES, strict=False))


def _product(numbers: Sequence[int]) -> int:
    primes = _primes(tuple(numbers))
    product = 1
    for number in numbers:
        product *= primes[number]
    return product


def _state(roots: Sequence[Step], numbers: Sequence[int]) -> tuple[Value, ...] | None:
    """The values still to be combined, None where one is unknown."""
    rest = _product(numbers)
    values: list[Value] = []
    for root in roots:
        if root.value is None or rest % root.readings[0].used:
            return None
        rest //= root.readings[0].used
        values.append(root.value)
    for number, prime in _primes(tuple(numbers)).items():
        while rest % prime == 0:
            rest //= prime
            values.append(number)
    return tuple(sorted(values))


@lru_cache(maxsize=65_536)
def reachable(values: tuple[Value, ...], target: Value) -> bool:
    """Whether some expression over `values`, each used exactly once, is `target`. Exact and exhaustive."""
    if len(values) == 1:
        return values[0] == target
    if len(values) == 2:
        return _reach_two(values[0], 1, values[1], target)
    for i, first in enumerate(values):
        for j in range(i + 1, len(values)):
            second = values[j]
            rest = values[:i] + values[i + 1 : j] + values[j + 1 :]
            if len(rest) == 1:  # the commonest, without a fraction being made
                last = rest[0]
                if (
                    _reach_two(first + second, 1, last, target)
                    or _reach_two(first - second, 1, last, target)
                    or _reach_two(second - first, 1, last, target)
                    or _reach_two(first * second, 1, last, target)
                    or (second and _reach_two(first, second, last, target))
                    or (first and _reach_two(second, first, last, target))
                ):
                    return True
                continue
            results = {first + second, first - second, second - first, first * second}
            if second:
                results.add(whole(Fraction(first) / second))
            if first:
                results.add(whole(Fraction(second) / first))
            if any(reachable(tuple(sorted((*rest, result))), target) for result in results):
                return True
    return False


def _reach_two(top: Value, bottom: Value, other: Value, target: Value) -> bool:
    """Whether top/bottom and `other` make `target`."""
    scaled, goal = other * bottom, target * bottom
    return (
        top + scaled == goal
        or top - scaled == goal
        or scaled - top == goal
        or top * other == goal
        or (other != 0 and top == target * scaled)
        or (top != 0 and scaled == target * top)
    )
