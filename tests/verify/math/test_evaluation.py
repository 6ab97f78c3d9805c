"""Values of formulas against sympy's, and what is bounded."""

from fractions import Fraction

import mpmath
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

from r1rl.verify.math.evaluation import UndefinedError, evaluate, points, same, value_of
from r1rl.verify.math.formula import parse
from r1rl.verify.math.notation import normalise

x, y, n = sympy.symbols("x y n")
VALUES = [
    (r"\frac{1}{3}+\frac14", sympy.Rational(7, 12)),
    (r"-2^2", -4),
    (r"2^{-3}", sympy.Rational(1, 8)),
    (r"\sqrt{2}+\sqrt[3]{5}", sympy.sqrt(2) + sympy.cbrt(5)),
    (r"\sqrt[3]{-8}", -2),
    (r"\pi^2/6", sympy.pi**2 / 6),
    (r"e^{-\frac12}", sympy.exp(-sympy.Rational(1, 2))),
    (r"\sin 30^\circ", sympy.Rational(1, 2)),
    (r"\cos^2 1 \tan 2", sympy.cos(1) ** 2 * sympy.tan(2)),
    (r"\sin^{-1} 1", sympy.pi / 2),
    (r"\arctan 2", sympy.atan(2)),
    (r"\ln 2 \cdot \log 5", sympy.log(2) * sympy.log(5, 10)),
    (r"\log_2 10", sympy.log(10, 2)),
    (r"|3-5|", 2),
    (r"5!-3!!", 117),
    (r"\binom{7}{3}", 35),
    (r"\lfloor -2.5 \rfloor + \lceil 2.1 \rceil", 0),
    (r"\sum_{k=1}^{10} k^2", 385),
    (r"\prod_{k=1}^{5} k", 120),
    (r"\gcd(12, 18) + \max(2, 3)", 9),
    (r"(1+i)^4", -4),
    (r"2\frac{1}{2} \cdot 4", 10),
    (r"1.5e3", 1500),
    (r"0.1\overline{6}", sympy.Rational(1, 6)),
    (r"2(3)(4)", 24),
    (r"1/2\pi", sympy.pi / 2),
    (r"\sinh 1", sympy.sinh(1)),
]


@pytest.mark.parametrize(("text", "expected"), VALUES, ids=[row[0] for row in VALUES])
def test_values_are_those_of_sympy(text, expected):
    found = value_of(parse(normalise(text)))
    digits = str(found) if isinstance(found, Fraction) else mpmath.nstr(mpmath.re(found), 50)
    assert abs(sympy.Rational(digits) - sympy.N(expected, 60)) < sympy.Float("1e-40")


FORMULAS = st.recursive(
    st.sampled_from(["x", "y"]) | st.integers(1, 9).map(str),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda parts: f"({parts[0]}{parts[1]}{parts[2]})"),
        st.tuples(inner, st.integers(2, 3)).map(lambda parts: f"({parts[0]})^{parts[1]}"),
    ),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(FORMULAS, FORMULAS)
def test_formulas_are_the_same_where_sympy_says_so(left, right):
    expanded = [sympy.expand(sympy.parse_expr(text.replace("^", "**"))) for text in (left, right)]
    assert same(parse(left), parse(right)) == (expanded[0] == expanded[1])
    assert same(parse(left), parse(normalise(sympy.latex(expanded[0]))))


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [
        pytest.param("|x|", "x", False, id="negative points"),
        pytest.param(r"\sqrt{x^2}", "|x|", True, id="the root of a square"),
        pytest.param("|ab|", "ab", False, id="one of two names is negative"),
        pytest.param(r"\max(x, -3)", "x", False, id="points far below"),
        pytest.param(r"\frac{x^2}{x}", "x", True, id="a gap at 0"),
        pytest.param(r"\ln(x^2)", r"2\ln x", True, id="where both are real"),
        pytest.param(r"x+\ln(-x^2-1)-\ln(-x^2-1)", "x", True, id="not real on the way"),
        pytest.param(r"\lfloor x \rfloor", "x", False, id="whole points alone do not count"),
        pytest.param(r"x\frac{x!!}{x!!}", "x", False, id="no value where the other has one"),
        pytest.param("2^{2005}+1", "2^{2005}", False, id="beyond the digits"),
        pytest.param(r"100!\pi+1", r"100!\pi", False, id="beyond the digits of a factorial"),
        pytest.param("f(2x)", "f(x+x)", True, id="an unknown function of the same"),
        pytest.param("f(x)+f(y)", "f(x+y)", False, id="an unknown function is not linear"),
        pytest.param(r"5+\infty-\infty", "5", False, id="infinities do not cancel"),
        pytest.param(r"5+0\tan(\pi/2)", "5", False, id="a pole"),
        pytest.param(r"\cos n\pi", "(-1)^n", True, id="whole numbers alone"),
    ],
)
def test_unknowns_stand_for_any_number(left, right, equal):
    assert same(parse(left), parse(right)) is equal


@pytest.mark.parametrize(
    "text",
    [
        "9^{9^{9}}", r"\frac{1}{0}", "0^{-1}", "99999!!", r"\sum_{k=1}^{99999} k", "(10^{60})!", r"\ln 0", r"\cot 0",
        r"\sum_{a=1}^{300}\sum_{b=1}^{300} ab", "e^{e^{e^{9}}}", r"\gcd(x, 2)",
    ],
)  # fmt: skip
def test_what_has_no_value_or_too_large_a_one(text):
    with pytest.raises(UndefinedError):
        evaluate(parse(text), points(frozenset("x"))[0])
