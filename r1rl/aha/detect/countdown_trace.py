"""Countdown: every expression in the reasoning, traced back to the given numbers, and which of them are candidates.

Intermediate results are resolved to source numbers, so that a chain "3 * 5 = 15 , 15 + 7 = 22" is one tree. Work is
bounded and linear in the text, and no text raises.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import zip_longest
from typing import Final, NamedTuple

from r1rl.aha.detect.countdown_sources import Reading, Step, Tracer
from r1rl.aha.detect.equations import Equation, Side, Value, equations
from r1rl.aha.detect.goal_tests import said_after
from r1rl.aha.detect.notation import normalise

MAX_STEPS: Final = 2_000  # expressions looked at in one completion


class Piece(NamedTuple):
    """Where a stretch of reasoning ends, and its equations, with spans in the completion."""

    end: int
    equations: list[Equation]


def pieces(completion: str, spans: Sequence[tuple[int, int]], *, numbers: bool = False) -> list[Piece]:
    """The equations of each stretch of reasoning; `spans` are `reasoning_spans`. `numbers`: also lone numbers."""
    return [Piece(end, equations(normalise(completion[start:end]), start, numbers=numbers)) for start, end in spans]


def trace(folded: str, numbers: Sequence[int], target: Value, of_reasoning: Sequence[Piece]) -> list[Step]:
    """Every expression in the reasoning, in order, as a Step; not many more than MAX_STEPS.

    `folded` is `markers.fold(completion)`, `of_reasoning` its `pieces`.
    """
    tracer = Tracer(numbers)
    traced: list[Step] = []
    done = 0  # where the last attempt ends
    for piece in of_reasoning:
        shown = _with_expressions(piece.equations, tracer)
        for equation, following in zip_longest(shown, shown[1:]):
            steps = _steps(equation, tracer)
            if not steps:
                continue
            last = steps[-1]
            until = piece.end if following is None else following.start
            last.says, offered = said_after(folded, max(last.end, equation.end), until, target)
            at_end = following is None and piece is of_reasoning[-1]
            last.committed = last.status == "complete" or _committed(
                last, equation, following, tracer, target, offered=offered, at_end=at_end
            )
            if last.committed:
                last.start = max(last.start, done)
                done = last.end
                tracer.finish_attempt()
            traced += steps
            if len(traced) >= MAX_STEPS:
                return traced
    return traced


def _with_expressions(found: Sequence[Equation], tracer: Tracer) -> list[Equation]:
    """The equations with an expression: not "15", nor "22 = 22", nor a result said again, "That is 7/3, not 2"."""
    kept = []
    claim: Value | None = None  # of the equation before
    for equation in found:
        if equation.worked is None:
            continue
        first = equation.sides[0]
        restated = first.template == "{} / {}" and _is_written(first, claim)
        if restated and not all(value in tracer.primes for value in first.values):
            continue
        kept.append(equation)
        claim = equation.result.claim if equation.result else None
    return kept


def _is_written(side: Side, value: Value | None) -> bool:
    """Whether a ratio of two numbers is `value` as it is written down, 7/3 and not 14/6."""
    return isinstance(value, Fraction) and side.values == (value.numerator, value.denominator)


def _committed(
    step: Step,
    equation: Equation,
    following: Equation | None,
    tracer: Tracer,
    target: Value,
    *,
    offered: bool,
    at_end: bool,
) -> bool:
    """Whether a step that is not complete is a candidate answer, by what the text says after it and goes on with.

    `offered`: the text puts it forward, "target 22 got"; `at_end`: no expression follows in the reasoning.
    """
    if not tracer.knows(target) and any(target in side.values for side in equation.sides if side.claim is None):
        return False  # "22 - 7 = 15" works backwards from the target
    if offered or any(said.names_target_and_value for said in step.says):
        return True
    if step.claimed == target and at_end and all(same for _, _, same in equation.checks):
        return True
    if following is None or not step.says:
        return bool(step.says)
    # "3 * 5 = 15, too low, 15 + 7 = 22": on the way, unless the number could be a given one.
    result = step.value if step.claimed is None else step.claimed
    side = following.worked
    return result is None or side is None or result in tracer.primes or result not in side.values


def _steps(equation: Equation, tracer: Tracer) -> list[Step]:
    """A step for each side of an equation that is an expression, up to the first that is complete."""
    steps: list[Step] = []
    before = 0  # numbers in the side before
    for side, following in zip_longest(equation.sides, equation.sides[1:]):
        if side.claim is not None:
            continue
        readings, resumed = tracer.read(side)
        if not readings and len(side.values) < before:
            continue  # "9 - (2 + 3) = 9 - 5 = 4": the side before, one operation worked out
        before = len(side.values)
        step = _step(side, equation.result, readings, tracer)
        step.resumed = resumed
        steps.append(step)
        if step.status == "complete":
            break
        if following is not None and following.claim is None and _runs_on(step, side, following, tracer):
            step.claimed, step.end = following.values[0], following.start
        tracer.remember(step)
    return steps


def _step(side: Side, result: Side | None, readings: tuple[Reading, ...], tracer: Tracer) -> Step:
    """The step that a side is. `result`, the last plain number of the equation, is what is claimed for it."""
    claimed = None if result is None else result.claim
    end = side.end if result is None else max(side.end, result.end)  # "22 = 3*5 + 7" ends with the side
    if not readings:
        loose = tracer.read_illegal(side)
        if loose is None:
            return Step("illegal", side.start, end, claimed)
        return Step("illegal", loose.start, end, claimed, (loose,))
    if readings[0].used == tracer.all:
        return Step("complete", readings[0].start, end, claimed, readings)
    return Step("partial", side.start, end, claimed, readings)


def _runs_on(step: Step, side: Side, following: Side, tracer: Tracer) -> bool:
    """Whether "3*5 = 15 + 7" goes on from the result; "3*5 + 7 = 15 + 7" claims the same of both sides."""
    result = following.values[0]
    if result == step.value:
        return True
    # Worked out wrongly, "3*5 = 16 + 7": a number that comes from nowhere else.
    return (
        following.template.startswith("{}") and len(following.values) >= len(side.values) and not tracer.knows(result)
    )
