"""Units: which words are one, what they measure, which words change a number."""

from fractions import Fraction

import pytest

from r1rl.verify.math import units
from r1rl.verify.math.units import Read, read


@pytest.mark.parametrize(
    ("text", "bases", "size"),
    [
        ("cm", {"length": 1}, Fraction(1, 100)),
        (r"\text{ km}", {"length": 1}, 1000),
        (r"\mathrm{~m}", {"length": 1}, 1),
        ("m^2", {"length": 2}, 1),
        (r"\text{ cm}^{3}", {"length": 3}, Fraction(1, 10**6)),
        ("square feet", {"length": 2}, Fraction(3048, 10000) ** 2),
        ("km/h", {"length": 1, "time": -1}, Fraction(1000, 3600)),
        ("miles per hour", {"length": 1, "time": -1}, Fraction(1609344, 3600 * 1000)),
        ("mph", {"length": 1, "time": -1}, Fraction(44704, 100000)),
        (r"\frac{m}{s}", {"length": 1, "time": -1}, 1),
        ("dollars", {"dollars": 1}, 1),
        ("cents", {"dollars": 1}, Fraction(1, 100)),
        ("square units", {"units": 2}, 1),
        ("years old", {"months": 1}, 12),
        ("cups of sugar", {"length": 3}, Fraction(2365882365, 10**13)),
        ("L", {"length": 3}, Fraction(1, 1000)),
        (r"\mathrm{m \cdot s^{-1}}", {"length": 1, "time": -1}, 1),
        (r"\text{J}/(\text{kg} \cdot \text{K})", {"energy": 1, "mass": -1, "kelvin": -1}, Fraction(1, 1000)),
        (r"\Omega", {"resistance": 1}, 1),
    ],
)
def test_units(text, bases, size):
    assert read(text) == Read(tuple(sorted(bases.items())), Fraction(size))


@pytest.mark.parametrize("text", ["apples", "red apples", "people", "divisors", "big red boxes", "eggs per day"])
def test_things_are_counted(text):
    found = read(text)
    assert found is not None
    assert found.counted


@pytest.mark.parametrize(
    "text",
    [
        "dozen", "fours", "sixths", "lakh", "below", "root", "nan", "wrong", "upwards", "fails", "less", "k", "M", "bn",
        "trillions", "not apples", "fewer apples", "", "apple", "x", "forties", "logarithms", "as always",
    ],
)  # fmt: skip
def test_other_words_change_the_number(text):
    assert read(text) is None


@pytest.mark.parametrize("text", ["%", "percent", "pct", r"\text{ percent}"])
def test_percent(text):
    assert read(text) == units.PERCENT
