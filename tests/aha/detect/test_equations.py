"""Cutting equations out of running text; what they mean is tested with the attempts."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1rl.aha.detect.equations import Value, equations
from r1rl.aha.detect.notation import normalise


def sides(text: str) -> list[list[str]]:
    found = []
    for equation in equations(normalise(text)):
        found.append([s.template.format(*s.values) if s.claim is None else f"={s.claim}" for s in equation.sides])
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("So 3 × 5 = 15, which", [["3 * 5", "=15"]], id="prose"),
        pytest.param("a = 3*5 = 15+0 = 15", [["3 * 5", "15 + 0", "=15"]], id="three sides"),
        pytest.param("3*5\n  = 15\n7+8", [["3 * 5", "=15"], ["7 + 8"]], id="a line goes on with ="),
        pytest.param("3 +\n5", [["3 + 5"]], id="a line goes on after an operator"),
        pytest.param("3*5 = 15 7+8 = 15", [["3 * 5", "=15"], ["7 + 8", "=15"]], id="two numbers in a row"),
        pytest.param("(3*5 = 15) 2", [["3 * 5", "=15"], ["=2"]], id="an equation in brackets"),
        pytest.param("7 (3*5", [["=7"], ["3 * 5"]], id="an open bracket"),
        pytest.param("3*5) + 7", [["3 * 5"]], id="a stray bracket"),
        pytest.param("3*5 = -2; = - 2", [["3 * 5", "=-2"], ["=2"]], id="a sign after = only"),
        pytest.param("3*5 - and", [["3 * 5"]], id="a dash"),
        pytest.param("7/2 = 3.5. 6/4 = 3/2", [["7 / 2", "=7/2"], ["6 / 4", "=3/2"]], id="values that are not whole"),
        pytest.param("3 != 4, 3 → 5, 3 => 4", [["=3"], ["=4"], ["=3"], ["=5"], ["=3"], ["=4"]], id="other relations"),
        pytest.param("v2.0 x1 2nd 3² 5% 2^3 4**5 6//7 _8", [], id="part of something else"),
        pytest.param("\\text{so } 3 \\neq 4", [["=3"], ["=4"]], id="LaTeX words"),
        pytest.param("no numbers", [], id="none"),
    ],
)
def test_equations(text: str, expected: list[list[str]]) -> None:
    assert sides(text) == expected


def test_values_are_ints_where_they_can_be() -> None:
    (equation,) = equations("1.5 + 4/2 + 3")
    values: tuple[Value, ...] = equation.sides[0].values
    assert values == (Fraction(3, 2), 4, 2, 3)
    assert [type(value) for value in values] == [Fraction, int, int, int]


def test_offsets_are_those_of_the_text() -> None:
    text = "We get $\\frac{15}{5} \\times 7 = 21$ or 3 plus 5 gives 8."
    spans = [(equation.start, equation.end) for equation in equations(normalise(text))]
    assert [text[start:end] for start, end in spans] == ["\\frac{15}{5} \\times 7 = 21", "3 plus 5 gives 8"]


PIECES = ["\\frac{", "}{", "}", "\\times", "\\\\", "**", "//", " x ", "3", "times", ", which is", "\n- ", "×", "İ", "["]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=40).map("".join))
def test_normalising_keeps_the_length(text: str) -> None:
    assert len(normalise(text)) == len(text)
