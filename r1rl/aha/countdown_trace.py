"""Countdown: every expression in the reasoning, traced back to the given numbers.

Intermediate results are resolved to source numbers, so that a chain "3 * 5 = 15 , 15 + 7 = 22" is one tree. Values
are exact; nothing the model wrote is taken on trust. Work is bounded and linear in the text, and no text raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Literal, NamedTuple, TypeAlias

from r1rl.aha.equations import Equation, Side, Value, close, equations, normalise, whole
from r1rl.aha.goal_tests import Says, says_after
from r1rl.aha.markers import fold
from r1rl.aha.reasoning import reasoning_spans
from r1rl.verify import expression as expressions

MAX_NUMBERS: Final = 12
MAX_STEPS: Final = 2_000  # expressions looked at in one completion
_MAX_VISITS: Final = 128  # choices tried when tracing one expression's operands
_MAX_READINGS: Final = 4  # readings kept of one unfinished step
_MAX_SAME_VALUE: Final = 4  # earlier steps tried for one intermediate result


class Reading(NamedTuple):
    """A choice of sources for a side's numbers: product of the used numbers' primes, expression, first character."""

    used: int
    expression: str
    start: int


@dataclass(slots=True)
class Step:
    """One expression the model wrote, traced to the given numbers as far as possible.

    `complete`: over all given numbers, each once; `partial`: over some of them; `illegal`: no such reading.
    `expression` is the preferred reading (of an illegal step: with its intermediates put in, where they can be), ""
    where there is none; `value` its true value (None where it divides by zero), `form` its canonical form. `resumed`:
    it goes on from a result of an attempt before. `says`: what the text after it says about hitting the target.
    `committed`: it is a candidate answer, see `r1rl.aha.attempts`. `slip`: what is claimed for it is not its value.
    """

    status: Literal["complete", "partial", "illegal"]
    start: int
    end: int
    claimed: Value | None
    expression: str = ""
    value: Value | None = None
    form: str = ""
    readings: tuple[Reading, ...] = ()
    resumed: bool = False
    committed: bool = False
    says: list[Says] = field(default_factory=list)

    @property
    def slip(self) -> bool:
        return self.claimed is not None and (self.value is None or not close(self.claimed, self.value))


PRIMES: Final = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
_NOWHERE: Final = 1 << 62  # later than any character, so that it never is the first

# Product of primes, text, first character in this attempt.
_Source: TypeAlias = tuple[int, str, int]


class _Tracer:
    """Resolves operands to given numbers, or to earlier steps by the value claimed for them."""

    def __init__(self, numbers: Sequence[int]) -> None:
        # A multiset is a product of primes, so "uses no number too often" is divisibility.
        self.primes: dict[Value, int] = dict(zip(sorted(set(numbers)), PRIMES, strict=False))
        self.all = 1
        for number in numbers:
            self.all *= self.primes[number]
        self.count = len(numbers)
        self.current: dict[Value, list[Step]] = {}  # steps of the attempt under way, by value
        self.earlier: dict[Value, list[Step]] = {}
        self.loose: dict[Value, list[Step]] = {}  # steps of the attempt under way that are illegal, by value
        self.given: dict[Value, list[_Source]] = {
            number: [(prime, str(number), _NOWHERE)] for number, prime in self.primes.items()
        }

    def remember(self, step: Step, value: Value | None) -> None:
        if value is not None:
            (self.loose if step.status == "illegal" else self.current).setdefault(value, []).append(step)

    def finish_attempt(self) -> None:
        for value, steps in self.current.items():
            self.earlier[value] = [*self.earlier.get(value, ()), *steps][-_MAX_SAME_VALUE:]
        self.current = {}
        self.loose = {}

    def read(self, side: Side, start: int) -> tuple[tuple[Reading, ...], bool]:
        """Readings of a side: a complete one alone, else up to _MAX_READINGS partial ones, preferred first.

        And whether they go on from an abandoned attempt: only where the one under way cannot explain a number.
        """
        values = side.values
        if not 2 <= len(values) <= self.count or not side.template:
            return (), False
        if readings := self._read(side, start, self.current_sources):
            return readings, False
        # Nothing new to find where no number is a result of an attempt before.
        if not any(value in self.earlier and value not in self.primes for value in values):
            return (), False
        return self._read(side, start, self.all_sources), True

    def _read(self, side: Side, start: int, sources: Callable[[Value], list[_Source]]) -> tuple[Reading, ...]:
        values = side.values
        options = []
        for value in values:
            if not (found_sources := sources(value)):
                return ()
            options.append(found_sources)
        found: dict[int, Reading] = {}
        if len(values) == 2:
            for left, left_text, left_start in options[0]:
                for right, right_text, right_start in options[1]:
                    used = left * right
                    if self.all % used == 0 and used not in found:
                        text = side.template.format(left_text, right_text)
                        found[used] = Reading(used, text, min(start, left_start, right_start))
                        if used == self.all:
                            return (found[used],)
            return tuple(found.values())[:_MAX_READINGS]
        chosen: list[str] = []
        visits = 0

        def search(used: int, first: int) -> bool:
            nonlocal visits
            if len(chosen) == len(values):
                if used not in found:
                    found[used] = Reading(used, side.template.format(*chosen), first)
                return used == self.all
            for more, text, begin in options[len(chosen)]:
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
        sources = self.given.get(value)
        if steps := self.current.get(value):
            sources = list(sources or ())
            for step in reversed(steps[-_MAX_SAME_VALUE:]):
                sources += [(reading.used, f"({reading.expression})", reading.start) for reading in step.readings]
        return sources or []

    def all_sources(self, value: Value) -> list[_Source]:
        """The same, and results of attempts before this one; a given number is a fresh start instead."""
        sources = self.current_sources(value)
        if value not in self.primes and (steps := self.earlier.get(value)):
            sources = list(sources)
            for step in reversed(steps):
                sources += [(reading.used, f"({reading.expression})", _NOWHERE) for reading in step.readings]
        return sources

    def read_illegal(self, side: Side, step: Step) -> None:
        """Put the attempt's own intermediates into an illegal step, so that what it stands for can be graded."""
        if not side.template or len(side.values) < 2:
            return
        texts = []
        for value in side.values:
            steps = None if value in self.primes else self.current.get(value) or self.loose.get(value)
            if steps and steps[-1].expression:
                texts.append(f"({steps[-1].expression})")
                step.start = min(step.start, steps[-1].start)
            elif isinstance(value, int) and value >= 0:
                texts.append(str(value))
            else:
                return
        step.expression = side.template.format(*texts)
        step.value, step.form = grade(step.expression)
        if not step.form:
            step.expression = ""


def trace(completion: str, numbers: list[int], *, prefill: str = "", target: Value | None = None) -> Iterator[Step]:
    """Every expression in the reasoning, in order, as a Step; at most MAX_STEPS.

    Without `target` no step but a complete one is `committed`, and none has `says`.
    """
    pieces = [
        (start, end, list(equations(normalise(completion[start:end]))))
        for start, end in reasoning_spans(completion, prefill)
    ]
    return trace_pieces(completion, numbers, pieces, target=target)


Piece: TypeAlias = "tuple[int, int, list[tuple[int, Equation]]]"


def trace_pieces(
    completion: str, numbers: Sequence[int], pieces: Sequence[Piece], *, target: Value | None = None
) -> Iterator[Step]:
    """`trace` on equations that are already read: (start, end, equations) of each stretch of reasoning."""
    tracer = _Tracer(numbers)
    folded = "" if target is None else fold(completion)
    seen = done = 0
    for piece_start, piece_end, found in pieces:
        with_steps = [(offset + piece_start, equation) for offset, equation in found if _has_expression(equation)]
        for index, (offset, equation) in enumerate(with_steps):
            following = piece_end
            if index + 1 < len(with_steps):
                following = with_steps[index + 1][0] + with_steps[index + 1][1].sides[0].start
            last: Step | None = None
            for step in _steps(equation, offset, tracer):
                if last is not None:
                    yield last
                last = step
                seen += 1
            if last is None:
                continue
            if target is not None:
                at_end = index + 1 == len(with_steps) and piece_start == pieces[-1][0]
                _test(last, equation, folded, offset, following, target, at_end)
            last.committed = last.committed or last.status == "complete"
            if last.committed:
                last.start = max(last.start, done)
                done = last.end
                tracer.finish_attempt()
            yield last
            if seen >= MAX_STEPS:
                return


def _has_expression(equation: Equation) -> bool:
    return len(equation.sides) > 1 or equation.sides[0].claim is None


def _test(
    step: Step, equation: Equation, folded: str, offset: int, following: int, target: Value, at_end: bool
) -> None:
    """What the text between this step and the next says about it, and whether that makes it a candidate."""
    end = max(step.end, offset + equation.sides[-1].end)
    step.says = says_after(folded, end, following, target)
    if step.status == "complete" or any(target in side.values for side in equation.sides if side.claim is None):
        return  # "22 - 7 = 15" works backwards from the target
    hits = step.claimed == target and all(same for _, _, same in equation.checks)
    if step.status == "illegal":
        step.committed = bool(step.says) or (hits and at_end)
    else:  # on the way through the target's value, unless that is where it stops
        step.committed = any(said.names_target_and_value for said in step.says) or (
            hits and (at_end or bool(step.says))
        )
    if step.status == "partial" and not step.committed:
        step.says = []


def _steps(equation: Equation, offset: int, tracer: _Tracer) -> Iterator[Step]:
    sides, final, _ = equation
    # What was claimed for a side: the last plain number after it, else one written before it ("22 = 3*5 + 7").
    claimed = None if final is None else sides[final].claim
    for index, side in enumerate(sides):
        if side.claim is not None:
            continue
        end = sides[final if final is not None and final > index else index].end
        step = Step("illegal", side.start + offset, end + offset, claimed)
        readings, step.resumed = tracer.read(side, step.start)
        if readings:
            step.value, step.form = grade(readings[0].expression)
        # "3*5 = 15 + 7 = 22" runs on from the value; "3*5 + 7 = 15 + 7 = 22" claims 22 for both sides.
        following = sides[index + 1] if index + 1 < len(sides) else None
        running_on = following is not None and following.claim is None and following.values[:1] == (step.value,)
        if not step.form:
            tracer.read_illegal(side, step)
            tracer.remember(step, step.value if running_on or claimed is None else claimed)
            yield step
            continue
        step.expression, step.readings = readings[0].expression, readings
        if readings[0].used == tracer.all:
            step.status, step.start = "complete", readings[0].start
            yield step
            return
        step.status = "partial"
        if running_on and following is not None:
            step.claimed = step.value
        tracer.remember(step, step.value if running_on or claimed is None else claimed)
        yield step


@lru_cache(maxsize=65_536)
def grade(expression: str) -> tuple[Value | None, str]:
    """True value (None where it divides by zero) and canonical form ("" if the text is no expression)."""
    try:
        tree = expressions.parse(expression)
    except expressions.ExpressionError:
        return None, ""
    try:
        value: Value | None = whole(expressions.evaluate(tree))
    except ZeroDivisionError:
        value = None
    return value, expressions.canonical(tree)
