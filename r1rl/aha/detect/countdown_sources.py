"""Countdown: what the numbers in an expression stand for, a given number or the result of an earlier step.

Values are exact; nothing the model wrote is taken on trust.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

from r1rl.aha.detect.equations import Side, Value, apply, close, whole
from r1rl.aha.detect.goal_tests import Says
from r1rl.verify import expression as expressions

PRIMES: Final = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
MAX_NUMBERS: Final = len(PRIMES)
_MAX_VISITS: Final = 128  # choices tried when tracing one expression's operands
_MAX_READINGS: Final = 4  # readings kept of one unfinished step
_MAX_SAME_VALUE: Final = 8  # readings of earlier steps tried for one intermediate result
_NOWHERE: Final = 1 << 62  # later than any step, so that it never is the first
MAX_STATES: Final = 1_024  # remembered of one problem
_SIGNS: Final[tuple[expressions.Operator, ...]] = ("+", "-", "*", "/")
_BINARY: Final = {f"{{}} {sign} {{}}": sign for sign in _SIGNS}


class Reading(NamedTuple):
    """A choice of sources for a side's numbers: product of the used numbers' primes, expression, first step.

    `first` counts the attempt's steps, so that a reading holds wherever they stand. `value` is the expression's true
    value, None where it divides by zero. `sign` and its two operands say how a binary one was made. What a number may
    stand for is a reading too: of an earlier step, or the given number itself.
    """

    used: int
    expression: str
    first: int
    value: Value | None
    sign: expressions.Operator | None = None
    left: Reading | None = None
    right: Reading | None = None
    given: bool = False

    @property
    def operand(self) -> str:
        """The expression as part of another one."""
        return self.expression if self.given else f"({self.expression})"

    def terms(self) -> expressions.Terms:
        """What the canonical form is made of; depth is bounded by the given numbers."""
        if self.given:
            return "number", [self.expression], []
        if self.sign is None or self.left is None or self.right is None:
            return expressions.flatten(expressions.parse(self.expression))
        return expressions.joined(self.sign, self.left.terms(), self.right.terms())


@dataclass(slots=True)
class Step:
    """One expression the model wrote, traced to the given numbers as far as possible.

    `complete`: over all given numbers, each once; `partial`: over some of them; `illegal`: no such reading.
    `expression` is the preferred reading (of an illegal step: with its intermediates put in, where they can be), ""
    where there is none; `value` its true value (None where it divides by zero). `resumed`: it goes on from a result
    of an attempt before. `says`: what the text after it says about hitting the target. `committed`: it is a candidate
    answer, see `r1rl.aha.detect.attempts`. `slip`: what is claimed for it is not its value.
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
        if self.claimed is None or self.claimed == self.value:
            return False
        return self.value is None or not close(self.claimed, self.value)

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
                self._form = expressions.render(self.readings[0].terms())
            else:
                self._form = grade(self.expression)[1]
        return self._form


class State:
    """What numbers may stand for after some steps of an attempt; shared by a problem's rollouts, so never changed.

    `current`: results of the steps, `loose`: of the illegal ones, by value, the latest first. `sources`: best first,
    the given number, else the latest result. `after`: by the next step's numbers, template and claim, its readings and
    the state that it leaves, where nothing of an attempt before has a part in it.
    """

    __slots__ = ("after", "current", "loose", "sources")

    def __init__(
        self,
        current: dict[Value, tuple[Reading, ...]],
        loose: dict[Value, Reading],
        sources: dict[Value, tuple[Reading, ...]],
    ) -> None:
        self.current, self.loose, self.sources = current, loose, sources
        self.after: dict[tuple[tuple[Value, ...], str, Value | None], tuple[tuple[Reading, ...], State]] = {}


class Problem:
    """The given numbers, as a product of primes, so that "uses no number too often" is divisibility."""

    def __init__(self, numbers: tuple[int, ...]) -> None:
        self.primes: dict[Value, int] = dict(zip(sorted(set(numbers)), PRIMES, strict=False))
        self.all = 1
        for number in numbers:
            self.all *= self.primes[number]
        self.given: dict[Value, tuple[Reading, ...]] = {
            number: (Reading(prime, str(number), _NOWHERE, number, given=True),)
            for number, prime in self.primes.items()
        }
        self.fresh = State({}, {}, self.given)
        self.states = 0


problem = lru_cache(maxsize=32)(Problem)  # siblings are annotated together


class Tracer:
    """Resolves operands to given numbers, or to earlier steps by the value claimed for them."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self.problem = problem(tuple(numbers))
        self.primes, self.all, self.count = self.problem.primes, self.problem.all, len(numbers)
        self.state = self.problem.fresh
        self.starts: list[int] = []  # of the attempt's steps, in characters
        self._earlier: dict[Value, tuple[Reading, ...]] = {}
        self._finished: list[State] = []  # not yet in `_earlier`

    @property
    def earlier(self) -> dict[Value, tuple[Reading, ...]]:
        """Results of the attempts before, by value, the latest first."""
        for state in self._finished:
            for value, sources in state.current.items():
                before = self._earlier.get(value)
                self._earlier[value] = sources if before is None else (sources + before)[:_MAX_SAME_VALUE]
        self._finished = []
        return self._earlier

    def start_of(self, first: int, start: int) -> int:
        """Where a step starts, with the steps that it is made of; by itself it does at `start`."""
        return self.starts[first] if first < len(self.starts) else start

    def take(self, side: Side, claimed: Value | None, start: int) -> tuple[Reading, ...]:
        """The readings of a step that was taken before from this state, which it leaves; none where it never was."""
        known = self.state.after.get((side.values, side.template, claimed))
        if known is None:
            return ()
        readings, state = known
        self._move(state, start)
        return readings

    def remember(self, step: Step, value: Value | None, loose: Reading | None = None) -> None:
        """`value` may stand for `step` from now on; `loose` is what an illegal step is."""
        if value is None:
            return
        state = self.state
        if step.status == "illegal":
            if loose is not None:
                self._move(State(state.current, {**state.loose, value: loose}, state.sources), step.start)
            return
        before = state.current.get(value)
        made = step.readings if before is None else (step.readings + before)[:_MAX_SAME_VALUE]
        given = self.problem.given.get(value)
        sources = made if given is None else given + made
        after = State({**state.current, value: made}, state.loose, {**state.sources, value: sources})
        self._move(after, step.start)

    def _move(self, state: State, start: int) -> None:
        # A step that leaves no new state is not counted, so that `Reading.first` depends on the state alone.
        if state is not self.state:
            self.state = state
            self.starts.append(start)

    def learn(self, state: State, side: Side, claimed: Value | None, readings: tuple[Reading, ...]) -> None:
        """From now on the step that led from `state` to the present one can be taken."""
        if self.problem.states < MAX_STATES:
            self.problem.states += 1
            state.after[side.values, side.template, claimed] = readings, self.state

    def finish_attempt(self) -> None:
        """What was made so far belongs to an attempt before."""
        self._finished.append(self.state)
        self.state = self.problem.fresh
        self.starts = []

    def knows(self, value: Value) -> bool:
        """Whether `value` is a given number or was claimed for a step."""
        return value in self.primes or value in self.state.current or value in self.earlier or value in self.state.loose

    def read(self, side: Side) -> tuple[tuple[Reading, ...], bool]:
        """Readings of a side: a complete one alone, else up to _MAX_READINGS partial ones, preferred first.

        And whether they go on from an abandoned attempt: only where the one under way cannot explain a number.
        """
        values, sources, place = side.values, self.state.sources, len(self.starts)
        if not 2 <= len(values) <= self.count or not side.template:
            return (), False
        sign = _BINARY.get(side.template)
        if sign is not None:
            left, right = sources.get(values[0]), sources.get(values[1])
            readings = self._pair(values, sign, place, left, right) if left and right else ()
        else:
            readings = self._search(side, place, [sources.get(value) for value in values])
        if readings:
            return readings, False
        # Nothing new to find where no number is a result of an attempt before.
        earlier = self.earlier
        if not any(value in earlier and value not in self.primes for value in values):
            return (), False
        options = [self._all_sources(value) for value in values]
        if sign is not None:
            left, right = options
            return self._pair(values, sign, place, left, right) if left and right else (), True
        return self._search(side, place, options), True

    def _pair(
        self,
        values: tuple[Value, ...],
        sign: expressions.Operator,
        place: int,
        left_sources: tuple[Reading, ...],
        right_sources: tuple[Reading, ...],
    ) -> tuple[Reading, ...]:
        """Readings of two operands, by far the commonest side."""
        same = values[0] == values[1]
        if len(left_sources) == 1 == len(right_sources):
            left, right = left_sources[0], right_sources[0]
            if self.all % (left.used * right.used) or (same and not left.given):
                return ()
            return (_joined(sign, left, right, place),)
        found: dict[int, Reading] = {}
        for i, left in enumerate(left_sources):
            for j, right in enumerate(right_sources):
                if same and i == j and not left.given:
                    continue  # one result is there once
                used = left.used * right.used
                if self.all % used == 0 and used not in found:
                    found[used] = _joined(sign, left, right, place)
                    if used == self.all:
                        return (found[used],)
        return tuple(found.values())[:_MAX_READINGS]

    def _search(self, side: Side, place: int, options: list[tuple[Reading, ...] | None]) -> tuple[Reading, ...]:
        """Readings of any number of operands; bounded by _MAX_VISITS."""
        known = [sources for sources in options if sources]
        if len(known) < len(options):
            return ()
        found: dict[int, Reading] = {}
        chosen: list[str] = []
        visits = 0

        def search(used: int, first: int) -> bool:
            nonlocal visits
            if len(chosen) == len(known):
                if used not in found:
                    text = side.template.format(*chosen)
                    value, form = grade(text)
                    if form:
                        found[used] = Reading(used, text, first, value)
                return used == self.all and used in found
            for source in known[len(chosen)]:
                visits += 1
                if visits > _MAX_VISITS:
                    return False
                if self.all % (used * source.used) == 0:
                    chosen.append(source.operand)
                    if search(used * source.used, min(first, source.first)):
                        return True
                    chosen.pop()
            return False

        if search(1, place):
            return (found[self.all],)
        return tuple(found.values())[:_MAX_READINGS]

    def _all_sources(self, value: Value) -> tuple[Reading, ...] | None:
        """`sources`, and results of attempts before this one; a given number is a fresh start instead."""
        sources = self.state.sources.get(value)
        if value not in self.primes and (before := self.earlier.get(value)):
            moved = tuple(source._replace(first=_NOWHERE) for source in before)
            return sources + moved if sources else moved
        return sources

    def read_illegal(self, side: Side, step: Step) -> Reading | None:
        """Put the attempt's own intermediates into an illegal step, so that what it stands for can be graded."""
        if not side.template or len(side.values) < 2:
            return None
        texts = []
        first = len(self.starts)
        for value in side.values:
            source = None
            if value not in self.primes:
                made = self.state.current.get(value)
                source = made[0] if made else self.state.loose.get(value)
            if source is not None:
                texts.append(source.operand)
                first = min(first, source.first)
            elif isinstance(value, int) and value >= 0:
                texts.append(str(value))
            else:
                return None
        expression = side.template.format(*texts)
        graded, form = grade(expression)
        if not form:
            return None
        step.expression, step.value, step.start = expression, graded, self.start_of(first, step.start)
        return Reading(0, expression, first, graded)


def _joined(sign: expressions.Operator, left: Reading, right: Reading, place: int) -> Reading:
    used, text, first, value, _, _, _, given = left
    more, other_text, other_first, other, _, _, _, other_given = right
    if not given:
        text = f"({text})"
    if not other_given:
        other_text = f"({other_text})"
    if first < place:
        place = first
    if other_first < place:
        place = other_first
    made = None if value is None or other is None else apply(sign, value, other)
    return Reading(used * more, f"{text} {sign} {other_text}", place, made, sign, left, right)


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
