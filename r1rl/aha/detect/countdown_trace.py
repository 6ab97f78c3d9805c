"""Countdown: every expression in the reasoning, traced back to the given numbers, and which of them are candidates.

Intermediate results are resolved to source numbers, so that a chain "3 * 5 = 15 , 15 + 7 = 22" is one tree. Work is
bounded and linear in the text, and no text raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Final, TypeAlias

from r1rl.aha.detect.countdown_sources import MAX_NUMBERS, PRIMES, Reading, Step, Tracer, grade
from r1rl.aha.detect.equations import Equation, Side, Value, equations
from r1rl.aha.detect.goal_tests import said_after
from r1rl.aha.detect.markers import fold
from r1rl.aha.detect.notation import normalise
from r1rl.aha.detect.reasoning import reasoning_spans

__all__ = ["MAX_NUMBERS", "MAX_STEPS", "PRIMES", "Piece", "Reading", "Step", "grade", "trace", "trace_pieces"]

MAX_STEPS: Final = 2_000  # expressions looked at in one completion

Piece: TypeAlias = "tuple[int, list[tuple[int, Equation]]]"
"""Where a stretch of reasoning ends, and its equations with their offsets in the completion."""


def trace(completion: str, numbers: list[int], *, prefill: str = "", target: Value | None = None) -> Iterator[Step]:
    """Every expression in the reasoning, in order, as a Step; at most MAX_STEPS.

    Without `target` no step but a complete one is `committed`, and none has `says`.
    """
    pieces = [
        (end, equations(normalise(completion[start:end]), start, numbers=False))
        for start, end in reasoning_spans(completion, prefill)
    ]
    return trace_pieces(completion, numbers, pieces, target=target)


def trace_pieces(
    completion: str,
    numbers: Sequence[int],
    pieces: Sequence[Piece],
    *,
    target: Value | None = None,
    folded: str | None = None,
) -> Iterator[Step]:
    """`trace` on equations that are already read.

    `folded`: `markers.fold(completion)`, where that is already known.
    """
    tracer = Tracer(numbers)
    if folded is None:
        folded = "" if target is None else fold(completion)
    seen = done = 0
    for place, (piece_end, found) in enumerate(pieces):
        shown = _with_expressions(found, tracer)
        for index, (offset, equation) in enumerate(shown):
            steps = _steps(equation, offset, tracer)
            if not steps:
                continue
            last = steps[-1]
            complete = last.status == "complete"
            if target is None:
                last.committed = complete
            else:
                following = shown[index + 1] if index + 1 < len(shown) else None
                until = piece_end if following is None else following[0] + following[1].sides[0].start
                after, written = last.end, offset + equation.sides[-1].end
                last.says, offered = said_after(folded, after if after > written else written, until, target)
                if complete:
                    last.committed = True
                elif last.says or offered or last.claimed == target:
                    at_end = following is None and place + 1 == len(pieces)
                    last.committed = _committed(
                        last, equation, following, tracer, target, offered=offered, at_end=at_end
                    )
            if last.committed:
                last.start = max(last.start, done)
                done = last.end
                tracer.finish_attempt()
            yield from steps
            seen += len(steps)
            if seen >= MAX_STEPS:
                return


def _with_expressions(found: Sequence[tuple[int, Equation]], tracer: Tracer) -> list[tuple[int, Equation]]:
    """Those that hold an expression: not "15", nor "22 = 22", nor a result said again, "That is 7/3, not 2"."""
    kept = []
    claim: Value | None = None
    for offset, equation in found:
        if equation.worked is None:
            continue
        first = equation.sides[0]
        restated = first.template == "{} / {}" and _is_written(first, claim)
        if restated and not all(value in tracer.primes for value in first.values):
            continue
        kept.append((offset, equation))
        claim = None if equation.final is None else equation.sides[equation.final].claim
    return kept


def _is_written(side: Side, value: Value | None) -> bool:
    """Whether a ratio of two numbers is `value` as it is written down, 7/3 and not 14/6."""
    return isinstance(value, Fraction) and side.values == (value.numerator, value.denominator)


def _committed(
    step: Step,
    equation: Equation,
    following: tuple[int, Equation] | None,
    tracer: Tracer,
    target: Value,
    *,
    offered: bool,
    at_end: bool,
) -> bool:
    """Whether a step is a candidate answer, by what the text says after it and goes on with.

    For a step that is not complete, and that the text puts forward, says something about, or claims the target for.
    """
    if not tracer.knows(target) and any(target in side.values for side in equation.sides if side.claim is None):
        return False  # "22 - 7 = 15" works backwards from the target
    if offered or any(said.names_target_and_value for said in step.says):
        return True
    if step.claimed == target and at_end and all(same for _, _, same in equation.checks):
        return True
    if not step.says:
        return False
    if following is None:
        return True
    # "3 * 5 = 15, too low, 15 + 7 = 22": on the way, unless the number could be a given one.
    result = step.value if step.claimed is None else step.claimed
    side = following[1].worked
    return result is None or side is None or result in tracer.primes or result not in side.values


def _steps(equation: Equation, offset: int, tracer: Tracer) -> list[Step]:
    sides, final, _, only, _ = equation
    count = len(sides)
    # What was claimed for a side: the last plain number after it, else one written before it ("22 = 3*5 + 7").
    claimed = None if final is None else sides[final].claim
    if only is not None:
        start = only.start + offset
        if readings := tracer.take(only, claimed, start):
            end = only.end if final is None else max(only.end, sides[final].end)
            step = Step("partial", start, end + offset, claimed, readings[0].expression, readings[0].value, readings)
            if readings[0].used == tracer.all:
                step.status, step.start = "complete", tracer.start_of(readings[0].first, start)
            return [step]
    steps: list[Step] = []
    state = tracer.state
    before = 0  # numbers in the side before
    for index, side in enumerate(sides):
        if side.claim is not None:
            continue
        end = sides[final if final is not None and final > index else index].end
        step = Step("illegal", side.start + offset, end + offset, claimed)
        loose = None
        readings, step.resumed = tracer.read(side)
        if readings:
            step.status, step.readings = "partial", readings
            step.expression, step.value = readings[0].expression, readings[0].value
        elif len(side.values) < before:
            continue  # "9 - (2 + 3) = 9 - 5 = 4": the side before, one operation worked out
        else:
            loose = tracer.read_illegal(side, step)
        before = len(side.values)
        complete = bool(readings) and readings[0].used == tracer.all
        if complete:
            step.status, step.start = "complete", tracer.start_of(readings[0].first, step.start)
        else:
            following = sides[index + 1] if index + 1 < count else None
            if following is not None and following.claim is None and _runs_on(step, side, following, tracer):
                step.claimed = following.values[0]
                step.end = following.start + offset
            tracer.remember(step, step.value if step.claimed is None else step.claimed, loose)
        steps.append(step)
        if side is only and readings and not step.resumed:
            tracer.learn(state, side, claimed, readings)
        if complete:
            return steps
    return steps


def _runs_on(step: Step, side: Side, following: Side, tracer: Tracer) -> bool:
    """Whether "3*5 = 15 + 7" goes on from the result; "3*5 + 7 = 15 + 7" claims the same of both sides."""
    result = following.values[0]
    if result == step.value:
        return True
    # Worked out wrongly, "3*5 = 16 + 7": a number that comes from nowhere else.
    return (
        following.template.startswith("{}") and len(following.values) >= len(side.values) and not tracer.knows(result)
    )
