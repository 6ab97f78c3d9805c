"""The math verifier: which forms are equal, which are refused, and that model text is never run."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1rl.verify import math
from r1rl.verify.verdict import MAX_TEXT_CHARS

HANG_LIMIT_SECONDS = 1.0

EQUAL = [
    ("12", "12", "same"),
    ("12.0", "12", "decimal"),
    ("12", "12.0", "decimal gold"),
    ("012", "12", "leading zero"),
    ("12.", "12", "full stop"),
    (".5", "0.5", "no leading digit"),
    ("$12", "12", "dollars"),
    ("$12$", "12", "math mode"),
    (r"\(12\)", "12", "inline math"),
    (r"\$12.50", "12.5", "escaped dollar"),
    ("$12", "12 dollars", "dollar sign and word"),
    ("-$5", "-5", "sign before the currency"),
    ("\u22125", "-5", "unicode minus"),
    ("1,000", "1000", "thousands"),
    ("1000", "1,000", "thousands in gold"),
    ("1{,}000", "1000", "latex thousands"),
    ("1,234,567.5", "1234567.5", "two separators"),
    ("1e3", "1000", "scientific"),
    (r"\boxed{12}", "12", "boxed"),
    (r"\frac{24}{2}", "12", "latex fraction"),
    ("24/2", "12", "ratio"),
    ("3/4", "0.75", "ratio and decimal"),
    (r"1\frac{1}{2}", "3/2", "mixed number"),
    ("1 1/2", "1.5", "mixed number in ascii"),
    (r"-\frac{1}{2}", "-0.5", "negative fraction"),
    ("12 apples", "12", "unit word"),
    ("12 apples", "12 apple", "plural"),
    (r"12\text{ apples}", "12", "unit in text"),
    ("12 cm", "12", "unit"),
    ("12%", "12", "percent dropped"),
    ("12%", "12 percent", "percent in words"),
    ("50%", "0.5", "percent as a fraction"),
    (r"50\%", r"\frac{1}{2}", "percent against a fraction"),
    (r"\text{Monday}", r"\text{monday}", "text"),
    ("Monday", r"\text{Monday}", "text without command"),
    # by math-verify
    ("0.333333", "1/3", "rounded to six places"),
    ("12 + 0", "12", "sum"),
    (r"3 \times 4", "12", "product"),
    ("3\u00d74", "12", "unicode product"),
    (r"\sqrt{144}", "12", "root"),
    ("x = 12", "12", "assignment"),
    (r"x = \boxed{12}", "12", "boxed value of an assignment"),
    ("1+x", "x+1", "commuted"),
    ("(x+1)^2", "x^2+2x+1", "expanded"),
    (r"2\pi r", r"2 r \pi", "symbols"),
    ("(1,2)", "(1,2)", "pair"),
    (r"\{2,1\}", r"\{1,2\}", "set"),
    (r"\begin{pmatrix} 0.5 \\ -2 \end{pmatrix}", r"\begin{pmatrix} 1/2 \\ -2 \end{pmatrix}", "matrix"),
    ("12_{8}", "12_8", "base"),
    ("A", "A", "choice"),
    ("11111111100", r"11,\! 111,\! 111,\! 100", "latex thousands with a space"),
    ("10080", r"10,\!080", "latex thousands"),
    ("1, 2000", r"1,\! 2000", "a list, four digits are no group of thousands"),
    ("90\u00b0", r"90^\circ", "degree sign"),
    ("C", r"\text{(C)}", "choice in brackets"),
    ("(C)", r"\text{C}", "choice without brackets"),
    ("2,1", "1,2", "two values in any order"),
    ("x = 1, 2", "1,2", "two values of a variable"),
    (r"\{2,1\}", "1,2", "a set is its values"),
    (r"\left( 1, 2 \right)", "(1,2)", "sized brackets"),
    (r"[-2, 7]", r"x \in [-2,7]", "interval without the variable"),
    (r"(3,4),(1,2)", r"(1,2),(3,4)", "two points"),
    ("1,-2", r"-2\text{ or }1", "two values joined by a word"),
    (r"-2\text{ or }1", r"-2\text{ or }1", "the word of gold"),
]


@pytest.mark.parametrize(("answer", "gold"), [row[:2] for row in EQUAL], ids=[row[2] for row in EQUAL])
def test_equal_answers_are_correct(answer, gold):
    verdict = math.verify(answer, gold, {})
    assert (verdict.status, verdict.reason) == ("correct", "")
    assert verdict.value


@pytest.mark.parametrize(
    ("answer", "gold", "reason"),
    [
        pytest.param("13", "12", "value 13 is not 12", id="other number"),
        pytest.param("-12", "12", "value -12 is not 12", id="other sign"),
        pytest.param("0.33", "0.333", "value 33/100 is not 333/1000", id="decimals are exact"),
        pytest.param("1000000000000000001", "1000000000000000000", "value 10", id="beyond floats"),
        pytest.param("12 cm", "12 km", "unit 'cm' is not 'km'", id="other unit"),
        pytest.param("Tuesday", r"\text{Monday}", "text is not 'Monday'", id="other text"),
        pytest.param("12 or 13", "12", "{12, 13} is not 12", id="two answers"),
        pytest.param("12, 13", "12", "{12, 13} is not 12", id="list"),
        pytest.param("0.3333", "1/3", "is not 1/3", id="rounded too early"),
        pytest.param("B", "A", "b is not a", id="other choice"),
        pytest.param("x+2", "x+1", "x + 2 is not x + 1", id="other formula"),
        pytest.param("inf", "12", "oo is not 12", id="infinity"),
        pytest.param(r"\frac{1}{0}", "12", "zoo is not 12", id="division by zero"),
        pytest.param(
            r"\begin{pmatrix} 1 \\ 3 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", "is not", id="matrix"
        ),
        pytest.param("12x", "12", "is not 12", id="factor"),
        pytest.param("11,100,111", r"11,\! 111,\! 111,\! 100", "is not 11111111100", id="latex thousands are no list"),
        pytest.param("(B)", r"\text{(C)}", "text is not '(C)'", id="other choice in brackets"),
        pytest.param("(2,1)", "(1,2)", "is not", id="points have an order"),
        pytest.param("[1,2]", "(1,2)", "is not", id="closed is not open"),
        pytest.param("-2", r"-2\text{ or }1", "is not", id="one of two values"),
    ],
)
def test_unequal_answers_are_wrong(answer, gold, reason):
    verdict = math.verify(answer, gold, {})
    assert verdict.status == "wrong"
    assert reason in verdict.reason


@pytest.mark.parametrize(
    ("answer", "gold", "reason"),
    [
        pytest.param("", "12", "empty", id="empty"),
        pytest.param(" \n", "12", "empty", id="blank"),
        pytest.param("1" * 401, "12", "too long: 401 characters", id="too long"),
        pytest.param("1" * 51, "12", "number longer than 50 digits", id="long number"),
        pytest.param("(" * 21 + "12" + ")" * 21, "12", "nested deeper than 20", id="deep"),
        pytest.param("{12", "12", "'{' without '}'", id="open brace"),
        pytest.param(r"12}, \boxed{13", "12", "'}' without '{'", id="leaves the box"),
        pytest.param("9^{9^{9}}", "9", "tower of exponents", id="tower"),
        pytest.param("9^9^9", "9", "tower of exponents", id="tower without braces"),
        pytest.param("9**9", "9", "'**' is not math notation", id="python power"),
        pytest.param("9^{99999}", "9", "exponent above 9999", id="exponent"),
        pytest.param("99999!", "9", "factorial above 999!", id="factorial"),
        pytest.param("3!!", "9", "factorial above 999!", id="repeated factorial"),
        pytest.param("12\x00", "12", "control character '\\x00'", id="null byte"),
        pytest.param("12\ud800", "12", "control character '\\ud800'", id="surrogate"),
        pytest.param("\u202e12", "12", "control character '\\u202e'", id="right to left"),
        pytest.param("\u0661\u0662", "12", "is not ASCII", id="unicode digits"),
        pytest.param("x\u00b2", "12", "is not ASCII", id="superscript"),
        pytest.param("12 million", "12", "not a formula: 'million'", id="scale word"),
        pytest.param(r"12\text{ million}", "12", "'million' changes the value", id="scale word in text"),
        pytest.param("twelve", "12", "not a formula: 'twelve'", id="number word"),
        pytest.param("The answer is 12", "12", "not a formula: 'The'", id="prose"),
        pytest.param("nan", "12", "not a formula: 'nan'", id="nan"),
        pytest.param("12 13", "25", "several numbers", id="summed by math-verify"),
        pytest.param("12\n13", "25", "several numbers", id="two lines"),
        pytest.param(r"12 \quad 13", "25", "several numbers", id="spaced"),
        pytest.param("12_{8}", "12", "an index on a number", id="other base"),
        pytest.param("12_{9}", "12_8", "an index on a number", id="base of its own"),
        pytest.param("12", "12_8", "gold names a base", id="base left out"),
        pytest.param("1_2", "1", "an index on a number", id="underscore"),
        pytest.param("5=12", "12", "an equation", id="false equation"),
        pytest.param("2x=12", "12", "an equation", id="equation to solve"),
        pytest.param("3=5=12", "12", "an equation", id="chain"),
        pytest.param("1.2.3", "0.36", "two decimal points", id="two points"),
        pytest.param(r"\boxed{12}\boxed{12}", "12", r"several \boxed", id="two boxes"),
        pytest.param("12?", "12", "cannot read it", id="question mark"),
        pytest.param("(1,-2)", "1,-2", "brackets around a list", id="point for two values"),
        pytest.param("(-2,1)", "1,-2", "brackets around a list", id="interval for two values"),
        pytest.param("x=(1,-2)", "1,-2", "brackets around a list", id="point for two values of a variable"),
        pytest.param("(1,-2)", r"-2\text{ or }1", "brackets around a list", id="point for two joined values"),
        pytest.param("-2,1", "(-2,1)", "without the brackets", id="values for a point"),
        pytest.param(r"\{-2,1\}", r"\left(-2,1\right)", "without the brackets", id="set for a point"),
        pytest.param("(1,2),(3,4)", "(1,2)", "without the brackets", id="two points for one"),
        pytest.param("5", r"5\text{ million}", "'million' of gold is missing", id="scale word of gold left out"),
        pytest.param(r"5\text{ billion}", r"5\text{ million}", "'billion' changes", id="other scale word"),
        pytest.param(r"12\text{ or }13", "12", "'or' changes the value", id="hedge"),
    ],
)
def test_refused_answers_say_why(answer, gold, reason):
    verdict = math.verify(answer, gold, {})
    assert verdict.status == "unparseable"
    assert reason in verdict.reason


@pytest.mark.parametrize("answer", ["12", "13", "", "twelve", "x+1"], ids=lambda answer: answer or "empty")
@pytest.mark.parametrize(
    "gold",
    [
        pytest.param("", id="empty"),
        pytest.param("twelve", id="words"),
        pytest.param("no number here", id="prose"),
        pytest.param(r"\frac{1}{", id="open brace"),
        pytest.param(r"\frac{1}{0}", id="division by zero"),
        pytest.param("12?", id="refused by math-verify"),
        pytest.param("9^{9^{9}}", id="tower"),
        pytest.param("1" * 401, id="too long"),
        pytest.param(12, id="no string"),
    ],
)
def test_unusable_gold_is_bad_gold_for_every_answer(answer, gold):
    assert math.verify(answer, gold, {}).status == "bad_gold"


@pytest.mark.parametrize(
    "template",
    [
        "__import__('os').system('touch {}')",
        "open('{}', 'w')",
        r"\boxed{{exec('open(\"{}\", \"w\")')}}",
        "$__import__('pathlib').Path('{}').touch()$",
        r"\input{{{}}}",
        r"\write18{{touch {}}}",
        "12'+open('{}','w').name+'",
        "().__class__.__base__.__subclasses__()",
        "lambda: open('{}', 'w')",
    ],
)
@pytest.mark.parametrize("side", ["answer", "gold"])
def test_injections_are_never_run(template, side, tmp_path):
    canary = tmp_path / "c"
    text = template.format(canary)
    verdict = math.verify(text, "12", {}) if side == "answer" else math.verify("12", text, {})
    assert verdict.status != "correct"
    assert not canary.exists()


def test_injections_reach_no_evaluation_in_the_process_either(tmp_path):
    """The cheap rejections are a first line; the process must be safe without them."""
    canary = tmp_path / "c"
    texts = [
        f"__import__('os').system('touch {canary}')",
        f"exec(\"open('{canary}','w')\")",
        "(lambda: 12)()",
    ]
    for verdict in math._pool.verify_many([(text, "12") for text in texts]):
        assert verdict.status in ("wrong", "unparseable")
    assert not canary.exists()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("1" * 3_000_000, id="ones"),
        pytest.param("(" * 3_000_000, id="brackets"),
        pytest.param("^" * 400, id="carets"),
        pytest.param("{" * 400, id="braces"),
        pytest.param(r"\text{" * 60, id="texts"),
        pytest.param(" " * 400 + "1", id="blanks"),
        pytest.param("1 " * 200, id="numbers"),
        pytest.param("\\" * 400, id="backslashes"),
    ],
)
def test_long_answers_are_refused_at_once(text):
    started = time.monotonic()
    assert math.verify(text, "12", {}).status == "unparseable"
    assert time.monotonic() - started < HANG_LIMIT_SECONDS


@given(st.text(max_size=60) | st.text(alphabet="0123456789.,%$+-/\\{}()=_^ aex", max_size=40))
def test_no_text_raises_before_the_process(text):
    judged = math.judge_here(text, "12")
    if isinstance(judged, math.Verdict):
        assert len(judged.reason) <= MAX_TEXT_CHARS
        assert judged.reason.isascii()


@given(st.fractions(), st.fractions())
def test_fractions_are_equal_exactly_when_they_are(left, right):
    for answer, gold in ((left, right), (left, left)):
        judged = math.judge_here(str(answer), rf"\frac{{{gold.numerator}}}{{{gold.denominator}}}")
        if isinstance(judged, math.Verdict) and "longer than" not in judged.reason:
            assert (judged.status == "correct") == (answer == gold)
        elif not isinstance(judged, math.Verdict):
            assert answer != gold  # left to math-verify's rounding


@given(st.integers(-(10**12), 10**12))
def test_thousands_separators_do_not_change_an_integer(number):
    judged = math.judge_here(f"{number:,}", str(number))
    assert isinstance(judged, math.Verdict)
    assert judged.status == "correct"


def test_batches_keep_their_order_and_ask_once_per_pair(monkeypatch):
    asked = []

    class Recorder:
        def verify_many(self, items):
            asked.append(items)
            return [math.Verdict("wrong", answer, "no") for answer, _ in items]

    monkeypatch.setattr(math, "_pool", Recorder())
    items = [("x", "y", {}), ("2", "2", {}), ("$z$", "y", {}), ("", "z", {}), ("3", "oops!", {})]
    assert [verdict.value for verdict in math.verify_many(items)] == ["x", "2", "z", None, None]
    assert asked == [[("x", "y"), ("z", "y"), ("", "z")]]  # normalised, and "" asks about the gold alone
    assert math.verify_many([]) == []
