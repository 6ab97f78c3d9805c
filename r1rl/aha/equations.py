"""Equations in running text: "So 3 × 5 = 15, which" holds one, with the sides 3 * 5 and 15.

Reads ASCII, Unicode and LaTeX signs and words such as "times" and "gives". It only cuts the text up; what a side is
worth is for `r1rl.verify.countdown` to say. Work is linear in the text, and no text raises.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

MAX_SIDE_TERMS: Final = 64  # numbers, signs and brackets in one expression
MAX_DIGITS: Final = 16
_CACHED_CHARS: Final = 80

Value: TypeAlias = "int | Fraction"  # an int where it is one: same hash as the Fraction, and much faster

_SIGNS: Final = str.maketrans({"×": "*", "·": "*", "⋅": "*", "∙": "*", "✕": "*", "÷": "/", "−": "-", "–": "-"})
_SIGNS.update(str.maketrans({"≈": "=", "\u00a0": " ", "[": "(", "]": ")", "$": " ", "`": " ", "&": " "}))
_ASCII_SIGNS: Final = ("[", "$", "`", "&", "]")
_FRACTION: Final = re.compile(r"\\[dt]?frac\s{0,3}\{([^{}\\]{1,80})\}\s{0,3}\{([^{}\\]{1,80})\}")
_LATEX: Final = re.compile(r"\\(?:\\|[()\[\],;:! ]|[A-Za-z]{1,20})")
_LATEX_SIGNS: Final = {"times": "*", "cdot": "*", "ast": "*", "div": "/", "approx": "=", "equiv": "=", "\\": "\n"}
_LATEX_BLANK: Final = frozenset({"left", "right", "boxed", "quad", "qquad", "displaystyle", "bigl", "bigr"})
_VERB: Final = r"(?:is equal to|equals to|equals|equal to|gives us|gives|yields|makes|is|to get|to make|to give)"
# Only after a number or a bracket, which are rare in prose, so that the search is quick.
_WORDS: Final = re.compile(
    rf"([0-9)][\s*]{{0,6}})((?:,\s?)?(?:(?:which|that|this|it) )?{_VERB}|times|plus|minus|divided by|multiplied by)(?!\w)"
)
_WORD_SIGNS: Final = {"times": "*", "multiplied by": "*", "plus": "+", "minus": "-", "divided by": "/"}
_HAS_WORDS: Final = (" is ", "equal", " give", "yields", " make", "to get", "times", "plus", "minus", " by ")
_THOUSANDS: Final = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:,[0-9]{3})+(?![0-9]|,[0-9])")
_LETTER_TIMES: Final = re.compile(r"(?<=[0-9)\s])[xX](?=\s?[0-9(])")
_BULLET: Final = re.compile(r"^[ \t]*[-*+•](?=[ \t])", re.MULTILINE)

# What an equation may consist of; "." divides a number or ends a sentence, "^" and "%" spoil an expression.
_RUN: Final = re.compile(r"[-0-9(+*/=^%][-0-9+*/()=.^%\s]*")
_TOKEN: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)|([-+*/()=])|(\n\s*)|([.^%])")


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

    `final` is the index of the last side that is one plain number, or None. `checks`: of every expression with
    something after "=" (or alone with a number before it), its span and whether the two are equal.
    """

    sides: tuple[Side, ...]
    final: int | None
    checks: tuple[tuple[int, int, bool], ...] = ()


def normalise(text: str) -> str:
    """`text` with ASCII signs for words, LaTeX and Unicode signs; its length stays, so spans fit the original."""
    if not text.isascii() or any(sign in text for sign in _ASCII_SIGNS):
        text = text.translate(_SIGNS)
    if "," in text:
        text = _THOUSANDS.sub(_without_commas, text)
    if "\\" in text:
        for _ in range(3):  # innermost first: a fraction of fractions of fractions
            text, changed = _FRACTION.subn(_fraction_inline, text)
            if not changed:
                break
        text = _LATEX.sub(_latex, text).replace("{", "(").replace("}", ")")
    if "**" in text:
        text = re.sub(r"\*{2,}", _stars, text)
    if "//" in text:
        text = text.replace("//", "^^")
    if "x" in text or "X" in text:
        text = _LETTER_TIMES.sub("*", text)
    if any(word in text for word in _HAS_WORDS):
        text = _WORDS.sub(_word, text)
    if "\n" in text or text[:1] in "-*+• ":
        text = _BULLET.sub(lambda found: " " * len(found[0]), text)
    return text


def _word(found: re.Match[str]) -> str:
    word = found[2]
    if not (found[1][-1].isspace() or word[0] == ","):
        return found[0]  # "2is", "3times"
    return found[1] + _WORD_SIGNS.get(word, "=").ljust(len(word))


def _without_commas(found: re.Match[str]) -> str:
    # "1,200" is one number; in "100*1=100,100+7" the comma parts two equations.
    after = found.string[found.end() : found.end() + 2].lstrip()
    if found.string[: found.start()].rstrip(" ")[-1:] == "=" and after[:1] in tuple("+-*/"):
        return found[0]
    return found[0].replace(",", "").rjust(len(found[0]), "0")


def _fraction_inline(found: re.Match[str]) -> str:
    return f"(({found[1]})/({found[2]}".ljust(len(found[0]) - 2) + "))"


def _latex(found: re.Match[str]) -> str:
    name = found[0][1:]
    if name in _LATEX_SIGNS:
        return _LATEX_SIGNS[name].rjust(len(found[0]))
    # Layout vanishes; other commands (\text, \neq, \to) end an expression.
    return " " * len(found[0]) if name in _LATEX_BLANK or not name.isalpha() else ";".ljust(len(found[0]))


def _stars(found: re.Match[str]) -> str:
    # "3**5" and "3 ** 5" are powers, which end nothing well; "**3*5 = 15**" is bold type.
    text, before, after = found.string, found.start() - 1, found.end()
    left, right = text[before : before + 1] if before >= 0 else "", text[after : after + 1]
    glued = (left.isdigit() or left == ")") and (right.isdigit() or right == "(")
    power = glued or left == " " == right
    return ("^" if power else " ") * len(found[0])


def equations(text: str) -> Iterator[tuple[int, Equation]]:
    """Runs of arithmetic, split at "=", each with its offset. Linear in the text.

    A run ends at a word, at punctuation, at a line's end (unless it goes on with "="), or where no expression could
    go on, as between two numbers.
    """
    for found in _RUN.finditer(text):
        start, end = found.span()
        # Part of a name or a unit: "x1", "v2.0", "2nd".
        glued_before = start > 0 and (text[start - 1].isalnum() or text[start - 1] in "_.")
        glued_after = text[end : end + 1].isalnum() or text[end : end + 1] == "_"
        read = _read_run if end - start <= _CACHED_CHARS else _read_run.__wrapped__
        for equation in read(found[0], glued_before, glued_after):
            yield start, equation


_PLAIN: Final = re.compile(r"([0-9]{1,9})\s*([-+*/])\s*([0-9]{1,9})\s*=\s*(-?[0-9]{1,9})\s*")
_PLAIN_TEMPLATES: Final = {sign: f"{{}} {sign} {{}}" for sign in "+-*/"}


@lru_cache(maxsize=65_536)
def _read_run(text: str, glued_before: bool, glued_after: bool) -> tuple[Equation, ...]:
    # "3 * 5 = 15", by far the commonest, in one go.
    if not (glued_before or glued_after) and (found := _PLAIN.fullmatch(text)):
        first, sign, second, claimed = found.groups()
        left, right, claim = int(first), int(second), int(claimed)
        same = _apply(sign, left, right) == claim
        sides = (
            Side((left, right), _PLAIN_TEMPLATES[sign], None, 0, found.end(3)),
            Side((claim,), "", claim, found.start(4), found.end(4)),
        )
        return (Equation(sides, 1, ((0, found.end(4), same),)),)
    return _read_any_run(text, glued_before, glued_after)


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

    for found in _TOKEN.finditer(text):
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
    final = next((index for index in range(last, -1, -1) if sides[index].claim is not None), None)
    return Equation(sides, final, _checks(terms, sides) if last else ())


def _checks(terms: list[list[Term]], sides: tuple[Side, ...]) -> tuple[tuple[int, int, bool], ...]:
    checks = []
    for index, side in enumerate(sides):
        if side.claim is not None or not side.template:
            continue
        following = sides[index + 1] if index + 1 < len(sides) else None
        other = following or (sides[index - 1] if len(sides) == 2 else None)
        if other is None:
            continue
        value = evaluated(terms[index])
        if other.claim is not None:
            same = value is not None and close(other.claim, value)
        else:  # "3*5 = 15 + 7 = 22" runs on from the value
            same = value is not None and (value == evaluated(terms[index + 1]) or close(other.values[0], value))
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
        if (value := _apply(pending.pop(), left, right)) is None:
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


def _apply(sign: str, left: Value, right: Value) -> Value | None:
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
