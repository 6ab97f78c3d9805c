"""Equations in running text: "So 3 * 5 = 15, which" holds one, with the sides 3 * 5 and 15.

Reads the ASCII signs that `r1rl.aha.detect.notation` leaves. Work is linear in the text, and no text raises.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

MAX_SIDE_TERMS: Final = 64  # numbers, signs and brackets in one expression
MAX_DIGITS: Final = 16
_CACHED_CHARS: Final = 80

Value: TypeAlias = "int | Fraction"  # an int where it is one: same hash as the Fraction, and much faster

# What an equation may consist of; "." divides a number or ends a sentence, "^" and "%" spoil an expression.
_RUN: Final = re.compile(r"[-0-9(+*/=^%][-0-9+*/()=.^%\s]*")
_TOKEN: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)|([-+*/()=])|(\n\s*)|([.^%])")
_POINT_FIRST: Final = re.compile(r"(?<![0-9])\.[0-9]")  # ".5"
_TOKEN_OR_POINT_FIRST: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)|([-+*/()=])|(\n\s*)|([.^%])")


class Term(NamedTuple):
    """A token: sign "n" and a number's value, or another sign and None. Spans count from the run's start."""

    sign: str
    value: Value | None
    start: int
    end: int


class Side(NamedTuple):
    """One side of an equation: its numbers' values and a template with "{}" in their places."""

    values: tuple[Value, ...]
    template: str
    claim: Value | None  # the side's value if it is one plain number
    start: int
    end: int


class Equation(NamedTuple):
    """What stands between "=" signs, in order: 3*5 and 15 in "a = 3*5 = 15".

    `final` is the index of the last side that is one plain number, or None. `worked` is the first side that is none,
    `only` the same where it is the only one. `checks`: of every expression with something after "=" (or alone with a
    number before it), its span and whether the two are equal.
    """

    sides: tuple[Side, ...]
    final: int | None
    worked: Side | None = None
    only: Side | None = None
    checks: tuple[tuple[int, int, bool], ...] = ()


def equations(text: str, offset: int = 0, *, numbers: bool = True) -> list[tuple[int, Equation]]:
    """Runs of arithmetic, split at "=", each with where its run starts, counted from `offset`. Linear in the text.

    `numbers`: also those that are one number and no more.

    A run ends at a word, at punctuation, at a line's end (unless it goes on with "="), or where no expression could
    go on, as between two numbers.
    """
    length = len(text)
    all_read: list[tuple[int, Equation]] = []
    for found in _RUN.finditer(text):
        run = found[0]
        if not numbers and run.rstrip(" .\n").isdigit():
            continue
        start, end = found.span()
        # Part of a name or a unit: "x1", "v2.0", "2nd".
        before, last = text[start - 1] if start else " ", text[end - 1]
        glued_before = before != " " and text[start].isdigit() and (before.isalnum() or before in "_.")
        glued_after = last != " " and last.isdigit() and end < length and (text[end].isalnum() or text[end] == "_")
        if glued_before or glued_after:
            read: Sequence[Equation] = _read_any_run(run, glued_before, glued_after)
        elif end - start <= _CACHED_CHARS:
            read = _read_run(run)
        else:
            read = _read_any_run(run, False, False)
        for equation in read:
            all_read.append((offset + start, equation))
    return all_read


_PLAIN: Final = re.compile(r"(-?[0-9]{1,9})\s*([-+*/])\s*([0-9]{1,9})\s*=\s*(-?[0-9]{1,9})(?:\.\s|\s)*")
_NUMBER: Final = re.compile(r"([0-9]{1,15})(?:\.\s|\s)*")
_PLAIN_TEMPLATES: Final = {sign: f"{{}} {sign} {{}}" for sign in "+-*/"}


@lru_cache(maxsize=16_384)
def _read_run(text: str) -> tuple[Equation, ...]:
    # "3 * 5 = 15" and "15", by far the commonest, in one go.
    if "=" in text and (found := _PLAIN.fullmatch(text)):
        first, sign, second, claimed = found.groups()
        left, right, claim = int(first), int(second), int(claimed)
        same = apply(sign, left, right) == claim
        start, end = found.span(4)
        expression = Side((left, right), _PLAIN_TEMPLATES[sign], None, 0, found.end(3))
        sides = (expression, Side((claim,), "", claim, start, end))
        return (Equation(sides, 1, expression, expression, ((0, end, same),)),)
    if found := _NUMBER.fullmatch(text):
        value = int(found[1])
        return (Equation((Side((value,), "", value, 0, found.end(1)),), 0),)
    return _read_any_run(text, False, False)


def _read_any_run(text: str, glued_before: bool, glued_after: bool) -> tuple[Equation, ...]:
    equations: list[Equation] = []
    sides: list[list[Term]] = []
    side: list[Term] = []
    opened: list[int] = []  # where in `side` a bracket is still open
    negative = False  # a sign before the next number
    # What is left of "3^2 * 5" or "* 5 + 7" would be read as something else, so all of it is dropped.
    spoilt = glued_before and text[0].isdigit()

    def close() -> None:
        nonlocal sides, side, opened, spoilt, negative
        if opened:  # text before a bracket that never closes is a run of its own
            before, side = _trim(side[: opened[0]]), side[opened[-1] + 1 :]
            if before and not spoilt:
                equations.append(_equation([*sides, before]))
            sides = []
        if side := _trim(side):
            sides.append(side)
        if sides and not spoilt:
            equations.append(_equation(sides))
        sides, side, opened, spoilt, negative = [], [], [], False, False

    tokens = _TOKEN_OR_POINT_FIRST if "." in text and _POINT_FIRST.search(text) else _TOKEN
    for found in tokens.finditer(text):
        kind, start, end = found.lastindex, found.start(), found.end()
        token = found[0]
        last = side[-1].sign if side else ""
        if kind == 1:
            if last in ("n", ")"):
                close()
            if len(token) > MAX_DIGITS:
                spoilt, token = True, "0"
            number = Fraction(token) if "." in token else int(token)
            side.append(Term("n", -number if negative else number, start, end))
            negative = False
        elif kind == 3:
            going_on = (sides and not side) or last in ("+", "-", "*", "/", "(") or text[end : end + 1] == "="
            if not going_on:
                close()
        elif token == ".":
            close()
        elif token in "^%":
            spoilt = True
            side.append(Term("^", None, start, end))  # an operator, so what follows is spoilt with it
        elif token == "=":
            if opened:  # the bracket holds the whole equation: "(3*5 = 15)"
                kept, was_spoilt = side[opened[-1] + 1 :], spoilt
                side, opened = side[: opened[0]], []
                close()
                side, spoilt = kept, was_spoilt
            if side := _trim(side):
                sides.append(side)
            side = []
        elif token == "(":
            if last in ("n", ")"):
                close()
            opened.append(len(side))
            side.append(Term("(", None, start, end))
        elif token == ")":
            if opened:
                spoilt = spoilt or last not in ("n", ")")
                opened.pop()
                side.append(Term(")", None, start, end))
            else:
                close()
        elif last in ("n", ")"):
            side.append(Term(token, None, start, end))
        elif token == "-" and (text[end : end + 1].isdigit() or (sides and not side)):
            negative = True  # "-2 + 7", "= - 2"
        elif token != "-" or last:
            spoilt = True  # a lone dash is punctuation, "* 5 + 7" is half of something
    spoilt = spoilt or (glued_after and text[-1].isdigit())
    close()
    return tuple(equations)


def _trim(side: list[Term]) -> list[Term]:
    end = len(side)
    while end and side[end - 1].sign in "+-*/(":
        end -= 1
    return side[:end]


def _equation(terms: list[list[Term]]) -> Equation:
    last = len(terms) - 1
    sides = tuple(_side(side, allow_ratio=0 < index == last) for index, side in enumerate(terms))
    if last == 1 and sides[1].claim is None and len(sides[0].values) == 2 < len(sides[1].values):
        sides = (_side(terms[0], allow_ratio=True), sides[1])  # "22/3 = 5 + 7/3"
    final = next((index for index in range(last, -1, -1) if sides[index].claim is not None), None)
    worked = [side for side in sides if side.claim is None]
    first, only = worked[0] if worked else None, worked[0] if len(worked) == 1 else None
    return Equation(sides, final, first, only, _checks(terms, sides) if last else ())


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
        if other.claim is not None:
            same = value is not None and close(other.claim, value)
        else:  # "3*5 = 15 + 7 = 22" runs on from the value
            same = value is not None and (value == evaluated(terms[place]) or close(other.values[0], value))
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


def evaluated(terms: list[Term]) -> Value | None:
    """The exact value of one side's tokens, as written; None where it divides by zero or is no expression."""
    if len(terms) > MAX_SIDE_TERMS:
        return None
    values: list[Value] = []
    pending: list[str] = []

    def reduce() -> None:
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
                while pending[-1] != "(":
                    reduce()
                pending.pop()
            else:
                while pending and _RANK[pending[-1]] >= _RANK[term.sign]:
                    reduce()
                pending.append(term.sign)
        while pending:
            reduce()
    except (ZeroDivisionError, IndexError, KeyError):
        return None
    return values[0] if len(values) == 1 else None


_RANK: Final = {"(": 0, "+": 1, "-": 1, "*": 2, "/": 2}


def apply(sign: str, left: Value, right: Value) -> Value | None:
    if sign == "+":
        return left + right
    if sign == "-":
        return left - right
    if sign == "*":
        return left * right
    if not right:
        return None
    if isinstance(left, int) and isinstance(right, int) and left % right == 0:
        return left // right
    return whole(Fraction(left) / right)


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
    """The same number, as an int where it is one."""
    return value.numerator if value.denominator == 1 else value
