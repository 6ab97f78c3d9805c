"""Countdown: what the numbers in an expression stand for, a given number or the result of an earlier step.

Values are exact; nothing the model wrote is taken on trust.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import prod
from typing import Final, Literal, NamedTuple

from r1rl.aha.detect.equations import Side, Value, apply, close, whole
from r1rl.aha.detect.goal_tests import Says
from r1rl.verify import expression as expressions

_PRIMES: Final = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
MAX_NUMBERS: Final = len(_PRIMES)
_MAX_CHOICES: Final = 128  # of sources for the operands of one expression
_MAX_READINGS: Final = 4  # readings kept of one unfinished step
_MAX_SAME_VALUE: Final = 8  # readings of earlier steps tried for one intermediate result
_NOWHERE: Final = 1 << 62  # later than any step, so that it never is the first
_BINARY: Final = {f"{{}} {sign} {{}}": sign for sign in "+-*/"}


class Problem:
    """The given numbers of a Countdown problem.

    A choice of them is a product of primes, so that "uses no number too often" is divisibility: of 3, 5, 5 the primes
    are {3: 2, 5: 3} and `all` is 2 * 3 * 3 = 18; 5 * 5 uses 9, which divides 18, and 3 * 3 uses 4, which does not.
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = tuple(numbers)
        self.primes: dict[Value, int] = dict(zip(sorted(set(numbers)), _PRIMES, strict=False))
        self.all = prod(self.primes[number] for number in numbers)

    def unused(self, used: int) -> list[Value]:
        """The numbers that are left of all when `used`, a product that divides `all`, is taken away."""
        rest, values = self.all // used, []
        for number, prime in self.primes.items():
            while rest % prime == 0:
                rest //= prime
                values.append(number)
        return values


class Reading(NamedTuple):
    """A choice of sources for the numbers of a side: the product of the primes of the used numbers, the expression over
    given numbers, and where the first step that it is made of starts.

    `value` is the true value of the expression, None where it divides by zero. What a number may stand for is a reading
    too: of an earlier step, or the given number itself.
    """

    used: int
    expression: str
    start: int
    value: Value | None
    given: bool = False

    @property
    def operand(self) -> str:
        """The expression of the reading, in brackets where it needs them as part of another expression."""
        return self.expression if self.given else f"({self.expression})"


@dataclass
class Step:
    """One expression the model wrote, traced to the given numbers as far as possible.

    `complete`: over all given numbers, each once; `partial`: over some of them; `illegal`: no such reading.
    `expression` is the preferred reading (of an illegal step: with its intermediates put in, where they can be), ""
    where there is none; `value` its true value (None where it divides by zero). `claimed`: what the text says that the
    expression makes. `resumed`: the step goes on from a result of an attempt before. `says`: what the text after the
    step says about hitting the target. `committed`: the step is a candidate answer, see `r1rl.aha.detect.attempts`.
    """

    status: Literal["complete", "partial", "illegal"]
    start: int
    end: int
    claimed: Value | None
    readings: tuple[Reading, ...] = ()
    resumed: bool = False
    committed: bool = False
    says: Sequence[Says] = ()

    @property
    def expression(self) -> str:
        return self.readings[0].expression if self.readings else ""

    @property
    def value(self) -> Value | None:
        return self.readings[0].value if self.readings else None

    @property
    def slip(self) -> bool:
        """Whether the value that is claimed for the step is not its true value."""
        if self.claimed is None or self.claimed == self.value:
            return False
        return self.value is None or not close(self.claimed, self.value)

    @property
    def rejected(self) -> bool:
        """Whether the last thing that the text says about the step is that it misses the target."""
        return bool(self.says) and not self.says[-1].says

    def same_form(self, other: Step) -> bool:
        """Whether the two are one expression up to commutativity and associativity."""
        if not self.expression or self.value != other.value:  # canonical forms cost more than values
            return False
        return self.expression == other.expression or self.form == other.form

    @cached_property
    def form(self) -> str:
        """The canonical form of the expression, "" where there is none."""
        return grade(self.expression)[1]


class Tracer:
    """Resolves operands to given numbers, or to earlier steps by the value claimed for them.

    Of 3, 5, 7, after "3 * 5 = 16": `current[16]` holds the reading 3 * 5, so that "16 + 7" is read as (3 * 5) + 7.
    `loose` holds the same of illegal steps, `earlier` the results of the attempts before; the latest stand first.
    """

    def __init__(self, numbers: Sequence[int]) -> None:
        self.problem = Problem(numbers)
        self.primes, self.all = self.problem.primes, self.problem.all
        self.given: dict[Value, tuple[Reading, ...]] = {
            number: (Reading(prime, str(number), _NOWHERE, number, given=True),)
            for number, prime in self.primes.items()
        }
        self.current: dict[Value, tuple[Reading, ...]] = {}
        self.loose: dict[Value, Reading] = {}
        self.earlier: dict[Value, tuple[Reading, ...]] = {}

    def knows(self, value: Value) -> bool:
        """Whether `value` is a given number or was claimed for a step."""
        return any(value in known for known in (self.primes, self.current, self.loose, self.earlier))

    def remember(self, step: Step) -> None:
        """From now on the value that is claimed for `step` may stand for it; without a claim, its true value."""
        value = step.value if step.claimed is None else step.claimed
        if value is None or not step.readings:
            return
        if step.status == "illegal":
            self.loose[value] = step.readings[0]
        else:
            self.current[value] = (step.readings + self.current.get(value, ()))[:_MAX_SAME_VALUE]

    def finish_attempt(self) -> None:
        """What was made so far belongs to an attempt before."""
        for value, readings in self.current.items():
            self.earlier[value] = (readings + self.earlier.get(value, ()))[:_MAX_SAME_VALUE]
        self.current, self.loose = {}, {}

    def read(self, side: Side) -> tuple[tuple[Reading, ...], bool]:
        """Readings of a side: a complete one alone, else up to _MAX_READINGS partial ones, preferred first.

        And whether they go on from an abandoned attempt: only where the one under way cannot explain a number.
        """
        if not 2 <= len(side.values) <= len(self.problem.numbers) or not side.template:
            return (), False
        sources = [self.given.get(value, ()) + self.current.get(value, ()) for value in side.values]
        if readings := self._search(side, sources):
            return readings, False
        # A given number is a fresh start.
        before = [() if value in self.given else self.earlier.get(value, ()) for value in side.values]
        if not any(before):
            return (), False
        moved = [tuple(reading._replace(start=_NOWHERE) for reading in readings) for readings in before]
        return self._search(side, [now + then for now, then in zip(sources, moved, strict=True)]), True

    def _search(self, side: Side, options: Sequence[tuple[Reading, ...]]) -> tuple[Reading, ...]:
        """Readings of a side, by what each of its numbers may stand for."""
        binary = side.template in _BINARY
        choices: list[tuple[tuple[Reading, ...], int]] = [((), 1)]  # for the first numbers, and what they use
        for sources in options:
            choices = [
                ((*chosen, source), used * source.used)
                for chosen, used in choices
                for source in sources
                if self.all % (used * source.used) == 0
                and not (binary and source in chosen and not source.given)  # one result is there once
            ][:_MAX_CHOICES]
        found: dict[int, Reading] = {}
        for chosen, used in choices:
            if used not in found and (reading := _read(side, chosen, used)) is not None:
                found[used] = reading
        return (found[self.all],) if self.all in found else tuple(found.values())[:_MAX_READINGS]

    def read_illegal(self, side: Side) -> Reading | None:
        """A side that has no reading, with the results of earlier steps of the attempt put in for its numbers."""
        if not side.template or len(side.values) < 2:
            return None
        texts, start = [], side.start
        for value in side.values:
            source = None
            if value not in self.primes:
                source = next(iter(self.current.get(value, ())), self.loose.get(value))
            if source is not None:
                texts.append(source.operand)
                start = min(start, source.start)
            elif isinstance(value, int) and value >= 0:
                texts.append(str(value))
            else:
                return None
        expression = side.template.format(*texts)
        true, form = grade(expression)
        return Reading(0, expression, start, true) if form else None


def _read(side: Side, chosen: Sequence[Reading], used: int) -> Reading | None:
    """The reading of a side whose numbers stand for `chosen`; None where it is no expression."""
    expression = side.template.format(*[source.operand for source in chosen])
    start = min(side.start, *[source.start for source in chosen])
    if sign := _BINARY.get(side.template):  # most sides, and much faster than to parse them
        left, right = chosen[0].value, chosen[1].value
        return Reading(used, expression, start, None if left is None or right is None else apply(sign, left, right))
    value, form = grade(expression)
    return Reading(used, expression, start, value) if form else None


@lru_cache(maxsize=16_384)  # the rollouts of a prompt try the same expressions
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
