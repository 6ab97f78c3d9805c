"""Arithmetic slips: equations whose two sides are not equal, "24 * 12 = 240", in any task's reasoning.

Only what is surely a whole equation is checked: not half of one after a word or another sign ("x - 3*4 = 20"), not a
mixed number, not what is called rounded or leaves a remainder. Decimals may be cut or rounded: 7/3 = 2.33 is no slip.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable
from typing import Final, NamedTuple

from r1rl.aha.detect.equations import Equation

_HALF: Final = re.compile(r"(?:[\w)}\]]\s*[-+*/^×·÷−]\s*|[0-9] +|[\w^\\])$")
_ROUGH: Final = re.compile(
    r"≈|\bapprox|(?<!how )(?<!what )\babout (?=[$0-9])|\bround|\bnearly\b|\balmost\b|\bremainder\b|\brem\b"
    r"|\br ?[0-9]|\bmod\b|[0-9]\.\.\.",
    re.IGNORECASE,
)
_CLEAR: Final = frozenset(",.:;>\n")
_CLEAR_BEFORE: Final = frozenset(char + " " for char in (*_CLEAR, *string.ascii_letters))
_BEFORE, _AFTER = 24, 24  # characters looked at around an equation that does not hold


class Check(NamedTuple):
    """`completion[start:end]` is an equation; `holds`: its sides are equal."""

    start: int
    end: int
    holds: bool


def checks(completion: str, equations: Iterable[tuple[int, Equation]]) -> list[Check]:
    """The equations that can be checked, in order; offsets are those of the completion. Linear in the text."""
    found = []
    for offset, equation in equations:
        for start, end, holds in equation.checks:
            first, last = offset + start, offset + end
            quick = completion[first - 2 : first] in _CLEAR_BEFORE
            if not quick and not _clear(completion, first) and _HALF.search(completion, max(0, first - 4), first):
                continue
            if not holds and _ROUGH.search(completion, max(0, first - _BEFORE), last + _AFTER):
                continue
            found.append(Check(first, last, holds))
    return found


def _clear(completion: str, first: int) -> bool:
    """Whether a word, punctuation or nothing but blanks stands before `first`: quicker than `_HALF`."""
    before = completion[max(0, first - 4) : first].rstrip(" ")
    if not before:
        return True
    return before[-1] in _CLEAR or (before[-1].isalpha() and completion[first - 1] == " ")
