"""Countdown: what the numbers in an expression stand for, a given number or the result of an earlier step.

Values are exact; nothing the model wrote is taken on trust.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from r1rl.aha.equations import Side, Value, apply, close, whole
from r1rl.aha.goal_tests import Says
from r1rl.verify import expression as expressions

PRIMES: Final = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
MAX_NUMBERS: Final = len(PRIMES)
_MAX_VISITS: Final = 128  # choices tried when tracing one expression's operands
_MAX_READINGS: Final = 4  # readings kept of one unfinished step
_MAX_SAME_VALUE: Final = 8  # readings of earlier steps tried for one intermediate result
_NOWHERE: Final = 1 << 62  # later than any character, so that it never is the first
_SIGNS: Final[tuple[expressions.Operator, ...]] = ("+", "-", "*", "/")
_BINARY: Final = {f"{{}} {sign} {{}}": sign for sign in _SIGNS}


class Reading(NamedTuple):
    """A choice of sources for a side's numbers: product of the used numbers' primes, expression, first character.

    `value` is the expression's true value, None where it divides by zero. `sign` and its two operands say how a binary
    one was made.
    """

    used: int
    expression: str
    start: int
    value: Value | None
    sign: expressions.Operator | None = None
    left: Source | None = None
    right: Source | None = None

    def tree(self) -> expressions.Expression:
        """The expression as a tree; depth is bounded by the given numbers."""
        if self.sign is None or self.left is None or self.right is None:
            return expressions.parse(self.expression)
        return expressions.Operation(self.sign, self.left.tree(), self.right.tree())


@dataclass(slots=True)
class Step:
    """One expression the model wrote, traced to the given numbers as far as possible.

    `complete`: over all given numbers, each once; `partial`: over some of them; `illegal`: no such reading.
    `expression` is the preferred reading (of an illegal step: with its intermediates put in, where they can be), ""
    where there is none; `value` its true value (None where it divides by zero). `resumed`: it goes on from a result
    of an attempt before. `says`: what the text after it says about hitting the target. `committed`: it is a candidate
    answer, see `r1rl.aha.attempts`. `slip`: what is claimed for it is not its value.
    """

    status: Literal["complete", "partial", "illegal"]
    start: int
    end: int
    claimed: Value | None
    expression: str = ""
    value: Value | None = None
    readings: tuple[Reading, ...] = ()
    resumed: bool = False
    committed: bool = False
    says: Sequence[Says] = ()
    _form: str | None = None

    @property
    def slip(self) -> bool:
        return self.claimed is not None and (self.value is None or not close(self.claimed, self.value))

    @property
    def rejected(self) -> bool:
        """Whether the last word about it is that it misses the target."""
        return bool(self.says) and not self.says[-1].says

    def same_form(self, other: Step) -> bool:
        """Whether the two are one expression up to commutativity and associativity."""
        if not self.expression or self.value != other.value:  # canonical forms cost more than values
            return False
        if self.expression == other.expression:
            return True
        return self._products() == other._products() and self.form() == other.form()

    def _products(self) -> int:
        """How many signs multiply or divide: the same in all expressions of a form, and quicker than the form."""
        return self.expression.count("*") + self.expression.count("/")

    def form(self) -> str:
        """The canonical form of the expression, "" where there is none."""
        if self._form is None:
            if self.readings:
                self._form = expressions.canonical(self.readings[0].tree())
            else:
                self._form = grade(self.expression)[1]
        return self._form


class Source(NamedTuple):
    """Something a number may stand for: a given number, or a reading of an earlier step.

    Product of primes, text, first character in this attempt, true value.
    """

    used: int
    text: str
    start: int
    value: Value | None
    reading: Reading | None = None

    def tree(self) -> expressions.Expression:
        return expressions.Number(int(self.text)) if self.reading is None else self.reading.tree()


class Tracer:
    """Resolves operands to given numbers, or to earlier steps by the value claimed for them."""

    def __init__(self, numbers: Sequence[int]) -> None:
        # A multiset is a product of primes, so "uses no number too often" is divisibility.
        self.primes: dict[Value, int] = dict(zip(sorted(set(numbers)), PRIMES, strict=False))
        self.all = 1
        for number in numbers:
            self.all *= self.primes[number]
        self.count = len(numbers)
        # Results of the attempt under way, of those before it, and of its illegal steps, by value, the latest first.
        self.current: dict[Value, list[Source]] = {}
        self.earlier: dict[Value, list[Source]] = {}
        self.loose: dict[Value, Source] = {}
        self.given: dict[Value, list[Source]] = {
            number: [Source(prime, str(number), _NOWHERE, number)] for number, prime in self.primes.items()
        }

    def remember(self, step: Step, value: Value | None) -> None:
        """`value` may stand for `step` from now on."""
        if value is None:
            return
        if step.status == "illegal":
            if step.expression:
                self.loose[value] = Source(0, f"({step.expression})", step.start, step.value)
            return
        made = [Source(made.used, f"({made.expression})", made.start, made.value, made) for made in step.readings]
        before = self.current.get(value)
        self.current[value] = made if before is None else (made + before)[:_MAX_SAME_VALUE]

    def finish_attempt(self) -> None:
        """What was made so far belongs to an attempt before."""
        for value, sources in self.current.items():
            before = self.earlier.get(value)
            self.earlier[value] = sources if before is None else (sources + before)[:_MAX_SAME_VALUE]
        self.current = {}
        self.loose = {}

    def knows(self, value: Value) -> bool:
        """Whether `value` is a given number or was claimed for a step."""
        return value in self.primes or value in self.current or value in self.earlier or value in self.loose

    def read(self, side: Side, start: int) -> tuple[tuple[Reading, ...], bool]:
        """Readings of a side: a complete one alone, else up to _MAX_READINGS partial ones, preferred first.

        And whether they go on from an abandoned attempt: only where the one under way cannot explain a number.
        """
        values = side.values
        if not 2 <= len(values) <= self.count or not side.template:
            return (), False
        if readings := self._read(side, start, self._current_sources):
            return readings, False
        # Nothing new to find where no number is a result of an attempt before.
        if not any(value in self.earlier and value not in self.primes for value in values):
            return (), False
        return self._read(side, start, self._all_sources), True

    def _read(self, side: Side, start: int, sources: Callable[[Value], list[Source] | None]) -> tuple[Reading, ...]:
        options = []
        for value in side.values:
            if not (found_sources := sources(value)):
                return ()
            options.append(found_sources)
        sign = _BINARY.get(side.template)
        if sign is None:
            return self._search(side, start, options)
        if len(options[0]) == 1 == len(options[1]):  # by far the commonest
            left, right = options[0][0], options[1][0]
            if self.all % (left.used * right.used) or (left.reading and side.values[0] == side.values[1]):
                return ()
            return (_joined(sign, left, right, start),)
        return self._pair(side, sign, start, options)

    def _pair(
        self, side: Side, sign: expressions.Operator, start: int, options: list[list[Source]]
    ) -> tuple[Reading, ...]:
        """`_read` for two operands that may stand for several things."""
        found: dict[int, Reading] = {}
        same = side.values[0] == side.values[1]
        for i, left in enumerate(options[0]):
            for j, right in enumerate(options[1]):
                if same and i == j and left.reading:
                    continue  # one result is there once
                used = left.used * right.used
                if self.all % used == 0 and used not in found:
                    found[used] = _joined(sign, left, right, start)
                    if used == self.all:
                        return (found[used],)
        return tuple(found.values())[:_MAX_READINGS]

    def _search(self, side: Side, start: int, options: list[list[Source]]) -> tuple[Reading, ...]:
        """`_read` for any number of operands; bounded by _MAX_VISITS."""
        found: dict[int, Reading] = {}
        chosen: list[str] = []
        visits = 0

        def search(used: int, first: int) -> bool:
            nonlocal visits
            if len(chosen) == len(options):
                if used not in found:
                    text = side.template.format(*chosen)
                    value, form = grade(text)
                    if form:
                        found[used] = Reading(used, text, first, value)
                return used == self.all and used in found
            for more, text, begin, _, _ in options[len(chosen)]:
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

    def _current_sources(self, value: Value) -> list[Source] | None:
        """What `value` may stand for in this attempt, best first: the given number, else the latest result."""
        given, made = self.given.get(value), self.current.get(value)
        return given + made if given and made else given or made

    def _all_sources(self, value: Value) -> list[Source] | None:
        """The same, and results of attempts before this one; a given number is a fresh start instead."""
        sources = self._current_sources(value)
        if value not in self.primes and (before := self.earlier.get(value)):
            moved = [source._replace(start=_NOWHERE) for source in before]
            return sources + moved if sources else moved
        return sources

    def read_illegal(self, side: Side, step: Step) -> None:
        """Put the attempt's own intermediates into an illegal step, so that what it stands for can be graded."""
        if not side.template or len(side.values) < 2:
            return
        texts = []
        start = step.start
        for value in side.values:
            source = None
            if value not in self.primes:
                made = self.current.get(value)
                source = made[0] if made else self.loose.get(value)
            if source is not None:
                texts.append(source.text)
                start = min(start, source.start)
            elif isinstance(value, int) and value >= 0:
                texts.append(str(value))
            else:
                return
        expression = side.template.format(*texts)
        graded, form = grade(expression)
        if form:
            step.expression, step.value, step.start = expression, graded, start


def _joined(sign: expressions.Operator, left: Source, right: Source, start: int) -> Reading:
    value = None if left.value is None or right.value is None else apply(sign, left.value, right.value)
    first = min(start, left.start, right.start)
    return Reading(left.used * right.used, f"{left.text} {sign} {right.text}", first, value, sign, left, right)


@lru_cache(maxsize=16_384)
def grade(expression: str) -> tuple[Value | None, str]:
    """True value (None where it divides by zero) and canonical form ("" if the text is no expression)."""
    value: Value | None
    try:
        tree = expressions.parse(expression)
    except expressions.ExpressionError:
        return None, ""
    try:
        value = whole(expressions.evaluate(tree))
    except ZeroDivisionError:
        value = None
    return value, expressions.canonical(tree)
