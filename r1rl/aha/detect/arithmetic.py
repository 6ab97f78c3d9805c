"""Arithmetic slips: equations whose two sides are not equal, "24 * 12 = 240", in any task's reasoning.

Only what is surely a whole equation is checked: not half of one after a word or another sign ("x - 3*4 = 20"), not a
mixed number, not what is called rounded or leaves a remainder. Decimals may be cut or rounded: 7/3 = 2.33 is no slip.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, NamedTuple

from r1rl.aha.detect.equations import Equation

# Before an equation: the number or word, and the sign, that it goes on from.
_HALF: Final = re.compile(r"(?:[\w)}\]]\s*[-+*/^×·÷−][^\S\n]*|[0-9] +|[\w^\\])\Z")
_ROUGH: Final = re.compile(
    r"≈|\bapprox|(?<!how )(?<!what )\babout (?=[$0-9])|\bround|\bnearly\b|\balmost\b|\bremainder\b|\brem\b"
    r"|\br ?[0-9]|\bmod\b|[0-9]\.\.\.",
    re.IGNORECASE,
)
_BEFORE, _AFTER = 24, 24  # characters looked at around an equation that does not hold


class Check(NamedTuple):
    """`completion[start:end]` is an equation; `holds`: its sides are equal."""

    start: int
    end: int
    holds: bool


def checks(completion: str, equations: Iterable[Equation]) -> list[Check]:
    """The equations of `completion` that can be checked, in order. Linear in the text."""
    found = []
    for equation in equations:
        for start, end, holds in equation.checks:
            if _HALF.search(completion, max(0, start - 4), start):
                continue
            if not holds and _ROUGH.search(completion, max(0, start - _BEFORE), end + _AFTER):
                continue
            found.append(Check(start, end, holds))
    return found
