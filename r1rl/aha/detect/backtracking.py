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

from r1rl.aha.detect.countdown_trace import PRIMES, Step
from r1rl.aha.detect.equations import Value, whole

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
    """What the steps of `r1rl.aha.detect.countdown_trace.trace` show.

    `closed`: the reasoning ends by itself, so a state that nothing follows was given up; else its fate is not known.
    """
    result = Backtracking()
    given = tuple(numbers)
    everything = _product(given)
    roots: list[Step] = []  # partial results not used yet in this branch
    branch: list[Step] = []  # all partial steps since the last attempt
    waiting: bool | None = None  # whether the state of the step before is live; None: no such state
    pending = ""  # how this branch began, until it is known not to be a restated conclusion
    tried: dict[Value | None, list[Step]] = {}  # attempts so far, by value
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
        others = roots and [root for root in roots if not _uses(inside, root)]
        consumed = len(others) < len(roots)
        gone = False
        if others:
            together = step.readings[0].used if step.readings else 0
            for root in others:
                together *= root.readings[0].used
            gone = not together or everything % together != 0
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
            of_value = tried.setdefault(step.value, [])
            again = _among(step, of_value[-_BRANCH:])
            if not (again and previous is not None and not previous.rejected and step.same_form(previous)):
                count(pending)
                result.duplicate_retries += again
            pending = ""
            if not again:
                of_value.append(step)
            previous, roots, branch, fresh = step, [], [], True
            continue
        branch.append(step)
        if not step.slip:
            waiting = _live(tuple([(root.value, root.readings[0].used) for root in roots]), given, target)
    if waiting is not None and closed:
        left(waiting, True)
    count(pending)
    return result


def _uses(expression: str, step: Step, *, again: bool = True) -> bool:
    """Whether an expression holds a step's; `again`: or is the same one, written again."""
    if len(step.readings) == 1:
        inside = step.readings[0].expression
        return inside in expression and (again or inside != expression)
    return any(reading.expression in expression for reading in step.readings) and (
        again or all(reading.expression != expression for reading in step.readings)
    )


def _among(step: Step, tried: Sequence[Step]) -> bool:
    """Whether one of `tried`, all of the step's value, has its form."""
    if step.expression in [other.expression for other in tried]:  # the commonest, and quicker than a form
        return bool(step.expression)
    return any(step.same_form(other) for other in tried)


@lru_cache(maxsize=4_096)
def _primes(numbers: tuple[int, ...]) -> dict[int, int]:
    return dict(zip(sorted(set(numbers)), PRIMES, strict=False))


@lru_cache(maxsize=4_096)
def _product(numbers: tuple[int, ...]) -> int:
    primes = _primes(numbers)
    product = 1
    for number in numbers:
        product *= primes[number]
    return product


@lru_cache(maxsize=16_384)
def _live(roots: tuple[tuple[Value | None, int], ...], numbers: tuple[int, ...], target: Value) -> bool | None:
    """Whether a state is live: `roots` are its partial results' values and products of primes.

    None where a value is unknown, a number used too often, or too much is left to search.
    """
    rest = _product(numbers)
    values: list[Value] = []
    for value, used in roots:
        if value is None or rest % used:
            return None
        rest //= used
        values.append(value)
    values += _unused(rest, numbers)
    return reachable(tuple(sorted(values)), target) if len(values) <= MAX_SEARCHED else None


def _unused(rest: int, numbers: tuple[int, ...]) -> tuple[int, ...]:
    """The numbers whose primes make up `rest`."""
    values = []
    for number, prime in _primes(numbers).items():
        while rest % prime == 0:
            rest //= prime
            values.append(number)
    return tuple(values)


@lru_cache(maxsize=16_384)
def reachable(values: tuple[Value, ...], target: Value) -> bool:
    """Whether some expression over `values`, each used exactly once, is `target`. Exact and exhaustive."""
    if len(values) == 1:
        return values[0] == target
    if len(values) == 2:
        return _reach_two(values[0], values[1], target)
    for i, first in enumerate(values):
        for j in range(i + 1, len(values)):
            second = values[j]
            rest = values[:i] + values[i + 1 : j] + values[j + 1 :]
            if len(rest) == 1:  # the commonest, without a fraction being made of the two
                if _reach_three(first, second, rest[0], target):
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


def _reach_three(first: Value, second: Value, other: Value, target: Value) -> bool:
    """Whether some expression makes `target` of `other` and a result of `first` and `second`; makes no fraction."""
    if not other and not target:
        return True
    # What makes the target with the other value; ratios apart, as numerator and denominator.
    goals: list[Value] = [target - other, target + other, other - target]
    ratios: list[tuple[Value, Value]] = []
    if other:
        goals.append(target * other)
        ratios.append((target, other))
        if target:
            ratios.append((other, target))
    made = (first + second, first - second, second - first, first * second)
    if not set(goals).isdisjoint(made):
        return True
    for up, down in ratios:
        if up in [value * down for value in made]:
            return True
        if (second and first * down == up * second) or (first and second * down == up * first):
            return True
    return bool(
        (second and first in [goal * second for goal in goals])
        or (first and second in [goal * first for goal in goals])
    )


def _reach_two(first: Value, second: Value, target: Value) -> bool:
    return (
        first + second == target
        or first - second == target
        or second - first == target
        or first * second == target
        or (second != 0 and first == target * second)
        or (first != 0 and second == target * first)
    )
