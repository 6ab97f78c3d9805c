r"""L2: attempts, the committed candidate answers inside the reasoning. Exact for Countdown.

A Countdown attempt is an expression that uses every given number exactly once, written whole, "(3*5)+7 = 22", or as
a chain, "3 * 5 = 15 , 15 + 7 = 22", whose intermediate results are traced back to the given numbers. Equations are
not attempts: a chain is one attempt, and what leaves a number out or uses one twice is none. Values are fractions
from `r1rl.verify.expression`; nothing the model wrote is taken on trust.

Work is bounded and linear in the text, and no text raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from r1rl.aha.equations import Equation, Side, Value, equations, normalise, whole
from r1rl.verify import expression as expressions

MAX_NUMBERS: Final = 12
MAX_STEPS: Final = 2_000  # expressions looked at in one completion
_MAX_VISITS: Final = 128  # choices tried when tracing one expression's operands
_MAX_READINGS: Final = 4  # readings kept of one unfinished step
_MAX_SAME_VALUE: Final = 4  # earlier steps tried for one intermediate result


@dataclass(frozen=True, slots=True)
class Attempt:
    """One candidate answer; `text == completion[start:end]`, in characters.

    `expression` is over the given numbers only. `value` is its true value as a fraction ("22", "7/2"), None where it
    divides by zero. `claimed` is the last value the model wrote for it, as a fraction, None if it wrote none.
    `right`: complete, and the true value is the target, whatever was claimed. `repeats_previous`: the previous
    attempt over again up to commutativity and associativity, such as a conclusion; no retry.
    """

    start: int
    end: int
    text: str
    expression: str | None
    value: str | None
    claimed: str | None
    complete: bool
    right: bool
    repeats_previous: bool = False


def find_attempts(
    completion: str, *, task_verifier: str, gold: str, meta: dict[str, Any], prefill: str = ""
) -> list[Attempt]:
    """Attempts in the reasoning of `completion`, in order, none overlapping.

    Known for the verifier "countdown" with `meta["numbers"]` and an integer or fraction as `gold`; anything else
    has no attempts. `prefill` is what the prompt already opened of the answer; spans index `completion` alone.
    """
    if task_verifier != "countdown":
        return []
    numbers, target = meta.get("numbers"), _fraction(gold)
    if target is None or not isinstance(numbers, (list, tuple)) or not 2 <= len(numbers) <= MAX_NUMBERS:
        return []
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        return []
    attempts: list[Attempt] = []
    previous = ""
    for step in trace(completion, list(numbers), prefill=prefill):
        if step.status != "complete":
            continue
        attempts.append(
            Attempt(
                start=step.start,
                end=step.end,
                text=completion[step.start : step.end],
                expression=step.expression,
                value=None if step.value is None else str(step.value),
                claimed=None if step.claimed is None else str(step.claimed),
                complete=True,
                right=step.value == target,
                repeats_previous=step.form == previous,
            )
        )
        previous = step.form
    return attempts


def reasoning_spans(completion: str, prefill: str = "") -> list[tuple[int, int]]:
    """Where the completion reasons, as (start, end) in characters.

    From <think> (from the start where there is none or `prefill` opens it) to </think>; without </think> to the
    first <answer>, else to the end. Whatever stands between <answer> and </answer> is left out.
    """
    end = completion.find("</think>")
    closed = end >= 0
    if not closed:
        end = len(completion)
    opening = -1 if "<think>" in prefill else completion.find("<think>", 0, end)
    start = 0 if opening < 0 else opening + len("<think>")
    spans = []
    while (answer := completion.find("<answer>", start, end)) >= 0:
        spans.append((start, answer))
        after = completion.find("</answer>", answer, end) if closed else -1
        if after < 0:
            return spans
        start = after + len("</answer>")
    spans.append((start, end))
    return spans


class Reading(NamedTuple):
    """A choice of sources for a side's numbers: product of the used numbers' primes, expression, first character."""

    used: int
    expression: str
    start: int


@dataclass(slots=True)
class Step:
    """One expression the model wrote, traced to the given numbers as far as possible.

    `complete`: over all given numbers, each once; `partial`: over some of them; `illegal`: no such reading.
    `expression` is the preferred reading ("" where there is none), `value` its true value (None where it divides by
    zero), `form` its canonical form.
    """

    status: Literal["complete", "partial", "illegal"]
    start: int
    end: int
    claimed: Value | None
    expression: str = ""
    value: Value | None = None
    form: str = ""
    readings: tuple[Reading, ...] = ()


_PRIMES: Final = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
_NOWHERE: Final = 1 << 62  # later than any character, so that it never is the first

# Product of primes, text, first character in this attempt.
_Source: TypeAlias = tuple[int, str, int]


class _Tracer:
    """Resolves operands to given numbers, or to earlier steps by the value claimed for them."""

    def __init__(self, numbers: list[int]) -> None:
        # A multiset is a product of primes, so "uses no number too often" is divisibility.
        self.primes: dict[Value, int] = dict(zip(sorted(set(numbers)), _PRIMES, strict=False))
        self.all = 1
        for number in numbers:
            self.all *= self.primes[number]
        self.count = len(numbers)
        self.current: dict[Value, list[Step]] = {}  # steps of the attempt under way, by value
        self.earlier: dict[Value, list[Step]] = {}

    def remember(self, step: Step, value: Value | None) -> None:
        if value is not None:
            self.current.setdefault(value, []).append(step)

    def finish_attempt(self) -> None:
        for value, steps in self.current.items():
            self.earlier[value] = [*self.earlier.get(value, ()), *steps][-_MAX_SAME_VALUE:]
        self.current = {}

    def read(self, side: Side, start: int) -> tuple[Reading, ...]:
        """Readings of a side: a complete one alone, else up to _MAX_READINGS partial ones, preferred first."""
        values = side.values
        if not 2 <= len(values) <= self.count or not side.template:
            return ()
        # Going on from an abandoned attempt only where the attempt under way cannot explain a number.
        return self._read(side, start, self.current_sources) or self._read(side, start, self.all_sources)

    def _read(self, side: Side, start: int, sources: Callable[[Value], list[_Source]]) -> tuple[Reading, ...]:
        values = side.values
        found: dict[int, Reading] = {}
        chosen: list[str] = []
        visits = 0

        def search(used: int, first: int) -> bool:
            nonlocal visits
            if len(chosen) == len(values):
                if used not in found:
                    found[used] = Reading(used, side.template.format(*chosen), first)
                return used == self.all
            for more, text, begin in sources(values[len(chosen)]):
                visits += 1
                if visits > _MAX_VISITS:
                    return False
                if self.all % (used * more) == 0:
                    chosen.append(text)
                    if search(used * more, min(first, begin)):
                        return True
                    chosen.pop()
            return False

        if search(1, start):
            return (found[self.all],)
        return tuple(found.values())[:_MAX_READINGS]

    def current_sources(self, value: Value) -> list[_Source]:
        """What `value` may stand for in this attempt, best first: the given number, else the latest result."""
        prime = self.primes.get(value)
        sources: list[_Source] = [] if prime is None else [(prime, str(value), _NOWHERE)]
        for step in reversed(self.current.get(value, ())[-_MAX_SAME_VALUE:]):
            sources += [(reading.used, f"({reading.expression})", reading.start) for reading in step.readings]
        return sources

    def all_sources(self, value: Value) -> list[_Source]:
        """The same, and results of attempts before this one; a given number is a fresh start instead."""
        sources = self.current_sources(value)
        if value not in self.primes:
            for step in reversed(self.earlier.get(value, ())):
                sources += [(reading.used, f"({reading.expression})", _NOWHERE) for reading in step.readings]
        return sources


def trace(completion: str, numbers: list[int], *, prefill: str = "") -> Iterator[Step]:
    """Every expression in the reasoning, in order, as a Step; at most MAX_STEPS."""
    tracer = _Tracer(numbers)
    seen = done = 0
    for span_start, span_end in reasoning_spans(completion, prefill):
        for offset, equation in equations(normalise(completion[span_start:span_end])):
            for step in _steps(equation, span_start + offset, tracer):
                if step.status == "complete":
                    step.start = max(step.start, done)
                    done = step.end
                yield step
                seen += 1
                if seen >= MAX_STEPS:
                    return


def _steps(equation: Equation, offset: int, tracer: _Tracer) -> Iterator[Step]:
    sides, final = equation
    # What was claimed for a side: the last plain number after it, else one written before it ("22 = 3*5 + 7").
    claimed = None if final is None else sides[final].claim
    for index, side in enumerate(sides):
        if side.claim is not None:
            continue
        end = sides[final if final is not None and final > index else index].end
        step = Step("illegal", side.start + offset, end + offset, claimed)
        readings = tracer.read(side, step.start)
        if readings:
            step.value, step.form = _grade(readings[0].expression)
        if not step.form:
            yield step
            continue
        step.expression, step.readings = readings[0].expression, readings
        if readings[0].used == tracer.all:
            step.status, step.start = "complete", readings[0].start
            tracer.finish_attempt()
            yield step
            return
        step.status = "partial"
        # "3*5 = 15 + 7 = 22" runs on from the value; "3*5 + 7 = 15 + 7 = 22" claims 22 for both sides.
        following = sides[index + 1] if index + 1 < len(sides) else None
        running_on = following is not None and following.claim is None and following.values[:1] == (step.value,)
        tracer.remember(step, step.value if running_on or claimed is None else claimed)
        yield step


@lru_cache(maxsize=65_536)
def _grade(expression: str) -> tuple[Value | None, str]:
    """(true value, None where it divides by zero; canonical form, "" where this is no expression)."""
    try:
        tree = expressions.parse(expression)
    except expressions.ExpressionError:
        return None, ""
    try:
        value = whole(expressions.evaluate(tree))
    except ZeroDivisionError:
        value = None
    return value, expressions.canonical(tree)


_PLAIN_VALUE: Final = re.compile(r"-?[0-9]{1,16}(?:/[0-9]{1,16}|\.[0-9]{1,16})?")


def _fraction(text: object) -> Value | None:
    # Fraction("1e99999999") would compute it.
    if not isinstance(text, str) or not _PLAIN_VALUE.fullmatch(text.strip()):
        return None
    try:
        return whole(Fraction(text.strip()))
    except ZeroDivisionError:
        return None
