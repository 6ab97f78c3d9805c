"""Equations in running text: "So 3 * 5 = 15, which" holds one, with the sides 3 * 5 and 15.

Reads the ASCII signs that `r1rl.aha.detect.notation` leaves. Work is linear in the text, and no text raises.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final, NamedTuple, TypeAlias

MAX_SIDE_TERMS: Final = 64  # numbers, signs and brackets in one expression
MAX_DIGITS: Final = 16

Value: TypeAlias = "int | Fraction"  # an int where it is one: same hash as the Fraction, and much faster

# What an equation may consist of; "." divides a number or ends a sentence, "^" and "%" spoil an expression.
_RUN: Final = re.compile(r"[-0-9(+*/=^%][-0-9+*/()=.^%\s]*")
_TOKEN: Final = re.compile(
    r"(?P<number>[0-9]+(?:\.[0-9]+)?|(?<![0-9])\.[0-9]+)|(?P<sign>[-+*/])|(?P<equals>=)|(?P<opening>\()|(?P<closing>\))"
    r"|(?P<line_break>\n\s*)|(?P<point>\.)|(?P<power>[\^%])"
)


class Term(NamedTuple):
    """A token: sign "n" and a number's value, or another sign and None."""

    sign: str
    value: Value | None
    start: int
    end: int


class Side(NamedTuple):
    """One side of an equation: the values of its numbers, and a template with "{}" in their places."""

    values: tuple[Value, ...]
    template: str
    claim: Value | None  # the value of the side if it is one plain number
    start: int
    end: int


class Equation(NamedTuple):
    """What stands between "=" signs, in order: 3*5 and 15 in "a = 3*5 = 15".

    `worked`: the first side that is an expression. `result`: the last one that is a plain number. `checks`: of every
    expression with something after "=" (or alone with a number before it), the span of the two and whether they are
    equal.
    """

    sides: tuple[Side, ...]
    worked: Side | None
    result: Side | None
    checks: tuple[tuple[int, int, bool], ...] = ()

    @property
    def start(self) -> int:
        return self.sides[0].start

    @property
    def end(self) -> int:
        return self.sides[-1].end


def equations(text: str, offset: int = 0, *, numbers: bool = True) -> list[Equation]:
    """Runs of arithmetic, split at "=", in order; spans are counted from `offset`. Linear in the text.

    `numbers`: also those that are one number and no more.

    A run ends at a word, at punctuation, at the end of a line (unless it goes on with "="), or where no expression
    could go on, as between two numbers.
    """
    found: list[Equation] = []
    for match in _RUN.finditer(text):
        run, start, end = match[0], match.start(), match.end()
        if not numbers and run.rstrip(" .\n").isdigit():
            continue
        before, after = text[start - 1 : start] if start else "", text[end : end + 1]
        # Part of a name or a unit: "x1", "v2.0", "2nd".
        glued_before = run[0].isdigit() and (before.isalnum() or before in ("_", "."))
        glued_after = run[-1].isdigit() and (after.isalnum() or after == "_")
        if not glued_before and not glued_after and (plain := _PLAIN.fullmatch(run)):
            found.append(_plain(plain, offset + start))
        else:
            found += _Reader(run, offset + start, spoilt=glued_before).read(glued_after=glued_after)
    return found


_PLAIN: Final = re.compile(
    r"(?:(-?[0-9]{1,9})\s*([-+*/])\s*([0-9]{1,9})\s*=\s*(-?[0-9]{1,9})|([0-9]{1,15}))(?:\.\s|\s)*"
)


def _plain(found: re.Match[str], at: int) -> Equation:
    """One operation and its result, or one number: nearly all runs of most texts, which the reader would be slow at.

    Unlike in a longer run, spans begin with a minus sign.
    """
    left, sign, right, claim, alone = found.groups()
    if alone is not None:
        side = Side((int(alone),), "", int(alone), at, at + len(alone))
        return Equation((side,), None, side)
    operands, made = (int(left), int(right)), int(claim)
    worked = Side(operands, f"{{}} {sign} {{}}", None, at, at + found.end(3))
    result = Side((made,), "", made, at + found.start(4), at + found.end(4))
    return Equation((worked, result), worked, result, ((at, result.end, apply(sign, *operands) == made),))


@dataclass(slots=True)
class _Reader:
    """What is read of a run so far. Of "7 + (3 * 5 = 15)", with the "=" to come:

    `side` is "7 + (3 * 5", the side under way; `opened` is [2], where in `side` a bracket is still open; `sides`, those
    before the last "=", is empty. As the "=" stands in a bracket, the bracket holds the whole equation: "7" becomes an
    equation of its own, and `side` goes on as "3 * 5".

    `negative`: a minus sign stands before the next number. `spoilt`: what is left of "3^2 * 5" or "* 5 + 7" would be
    read as something else, so all of the equation is dropped.
    """

    run: str
    offset: int
    spoilt: bool
    equations: list[Equation] = field(default_factory=list)
    sides: list[list[Term]] = field(default_factory=list)
    side: list[Term] = field(default_factory=list)
    opened: list[int] = field(default_factory=list)
    negative: bool = False

    def read(self, *, glued_after: bool) -> list[Equation]:
        """The equations of the run; `glued_after`: its last number is part of a name or a unit."""
        for token in _TOKEN.finditer(self.run):
            _READ[token.lastgroup or ""](self, token)
        self.spoilt = self.spoilt or glued_after
        self._end_equation()
        return self.equations

    def _number(self, token: re.Match[str]) -> None:
        if self._after_operand():
            self._end_equation()
        digits = token[0]
        if len(digits) > MAX_DIGITS:
            self.spoilt, digits = True, "0"
        value = Fraction(digits) if "." in digits else int(digits)
        self._add("n", token, -value if self.negative else value)
        self.negative = False

    def _sign(self, token: re.Match[str]) -> None:
        sign, after = token[0], self.run[token.end() : token.end() + 1]
        if self._after_operand():
            self._add(sign, token)
        elif sign == "-" and (after.isdigit() or (self.sides and not self.side)):
            self.negative = True  # "-2 + 7", "= - 2"
        elif sign != "-" or self.side:
            self.spoilt = True  # a lone dash is punctuation, "* 5 + 7" is half of something

    def _power(self, token: re.Match[str]) -> None:
        self.spoilt = True
        self._add("^", token)  # an operator, so what follows is spoilt with it

    def _equals(self, token: re.Match[str]) -> None:
        if self.opened:
            inside, spoilt = self.side[self.opened[-1] + 1 :], self.spoilt
            self.side, self.opened = self.side[: self.opened[0]], []
            self._end_equation()
            self.side, self.spoilt = inside, spoilt
        self._end_side()

    def _opening(self, token: re.Match[str]) -> None:
        if self._after_operand():
            self._end_equation()
        self.opened.append(len(self.side))
        self._add("(", token)

    def _closing(self, token: re.Match[str]) -> None:
        if not self.opened:
            self._end_equation()
            return
        self.spoilt = self.spoilt or not self._after_operand()
        self.opened.pop()
        self._add(")", token)

    def _line_break(self, token: re.Match[str]) -> None:
        half = self.side[-1].sign in ("+", "-", "*", "/", "(") if self.side else bool(self.sides)
        if not half and self.run[token.end() : token.end() + 1] != "=":
            self._end_equation()

    def _end_equation(self, _: object = None) -> None:
        if self.opened:  # text before a bracket that never closes is an equation of its own
            inside = self.side[self.opened[-1] + 1 :]
            if before := _trim(self.side[: self.opened[0]]):
                self._keep([*self.sides, before])
            self.sides, self.side = [], inside
        self._end_side()
        if self.sides:
            self._keep(self.sides)
        self.sides, self.opened, self.spoilt, self.negative = [], [], False, False

    def _end_side(self) -> None:
        if side := _trim(self.side):
            self.sides.append(side)
        self.side = []

    def _keep(self, sides: list[list[Term]]) -> None:
        if not self.spoilt:
            self.equations.append(_equation(sides))

    def _add(self, sign: str, token: re.Match[str], value: Value | None = None) -> None:
        self.side.append(Term(sign, value, self.offset + token.start(), self.offset + token.end()))

    def _after_operand(self) -> bool:
        """Whether a sign may stand here, and no number."""
        return bool(self.side) and self.side[-1].sign in ("n", ")")


_READ: Final[dict[str, Callable[[_Reader, re.Match[str]], None]]] = {
    "number": _Reader._number,
    "sign": _Reader._sign,
    "power": _Reader._power,
    "equals": _Reader._equals,
    "opening": _Reader._opening,
    "closing": _Reader._closing,
    "line_break": _Reader._line_break,
    "point": _Reader._end_equation,
}


def _trim(side: list[Term]) -> list[Term]:
    """The side without the signs and open brackets at its end."""
    end = len(side)
    while end and side[end - 1].sign in "+-*/(":
        end -= 1
    return side[:end]


def _equation(terms: list[list[Term]]) -> Equation:
    last = len(terms) - 1
    sides = tuple(_side(side, allow_ratio=0 < index == last) for index, side in enumerate(terms))
    if last == 1 and sides[1].claim is None and len(sides[0].values) == 2 < len(sides[1].values):
        sides = (_side(terms[0], allow_ratio=True), sides[1])  # "22/3 = 5 + 7/3"
    worked = next((side for side in sides if side.claim is None), None)
    result = next((side for side in reversed(sides) if side.claim is not None), None)
    return Equation(sides, worked, result, _checks(terms, sides) if last else ())


def _checks(terms: list[list[Term]], sides: tuple[Side, ...]) -> tuple[tuple[int, int, bool], ...]:
    checks = []
    for index, side in enumerate(sides):
        if side.claim is not None or not side.template:
            continue
        if index + 1 < len(sides):
            place = index + 1
        elif len(sides) == 2:  # "22 = 3*5 + 7"
            place = 0
        else:
            continue
        other, value = sides[place], evaluated(terms[index])
        if value is None:
            same = False
        elif other.claim is not None:
            same = close(other.claim, value)
        else:  # "3*5 = 15 + 7 = 22" runs on from the value
            same = value == evaluated(terms[place]) or close(other.values[0], value)
        checks.append((min(side.start, other.start), max(side.end, other.end), same))
    return tuple(checks)


def close(claim: Value, value: Value) -> bool:
    """Whether `claim` is `value`, or `value` cut or rounded to the decimals that `claim` has."""
    if claim == value or isinstance(claim, int):
        return claim == value
    scale = 10
    while scale <= 10**6 and (claim * scale).denominator != 1:
        scale *= 10
    return scale <= 10**6 and abs(claim - value) * scale < 1


_RANK: Final = {"(": 0, "+": 1, "-": 1, "*": 2, "/": 2}


def evaluated(terms: Sequence[Term]) -> Value | None:
    """The exact value of the tokens of one side; None where it divides by zero or is no expression."""
    if len(terms) > MAX_SIDE_TERMS:
        return None
    values: list[Value] = []
    pending: list[str] = []  # signs and brackets whose right side is not read yet

    def work_out(least: int) -> None:
        while pending and _RANK[pending[-1]] >= least:
            right, left = values.pop(), values.pop()
            if (value := apply(pending.pop(), left, right)) is None:
                raise ZeroDivisionError
            values.append(value)

    try:
        for term in terms:
            if term.value is not None:
                values.append(term.value)
            elif term.sign == "(":
                pending.append("(")
            elif term.sign == ")":
                work_out(1)
                pending.pop()
            else:
                work_out(_RANK[term.sign])
                pending.append(term.sign)
        work_out(1)
    except (ZeroDivisionError, IndexError, KeyError):
        return None
    return values[0] if len(values) == 1 and not pending else None


def apply(sign: str, left: Value, right: Value) -> Value | None:
    """The value of `left sign right`, None for a division by zero."""
    if sign == "+":
        return left + right
    if sign == "-":
        return left - right
    if sign == "*":
        return left * right
    return whole(Fraction(left) / right) if right else None


def _side(terms: list[Term], *, allow_ratio: bool) -> Side:
    values = tuple(term.value for term in terms if term.value is not None)
    claim: Value | None = values[0] if len(values) == 1 else None
    if allow_ratio and len(values) == 2 and values[1] and any(term.sign == "/" for term in terms):
        claim = whole(Fraction(values[0]) / values[1])  # "6/4 = 3/2"
    template = ""
    if claim is None and len(terms) <= MAX_SIDE_TERMS:
        template = "".join(_TEMPLATE.get(term.sign, f" {term.sign} ") for term in terms)
    return Side(values, template, claim, terms[0].start, terms[-1].end)


_TEMPLATE: Final = {"n": "{}", "(": "(", ")": ")"}


def whole(value: Fraction) -> Value:
    """The same number, as an int where it is a whole number."""
    return value.numerator if value.denominator == 1 else value
