"""The math verifier: which forms are equal, which are refused, and that model text is never run."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1rl.verify import math
from r1rl.verify.math import judge
from r1rl.verify.verdict import MAX_TEXT_CHARS

HANG_LIMIT_SECONDS = 1.0

EQUAL = {
    "numbers": """
        12 | 12
        12.0 | 12
        12 | 12.0
        012 | 12
        12. | 12
        .5 | 0.5
        1,000 | 1000
        1000 | 1,000
        1{,}000 | 1000
        1,234,567.5 | 1234567.5
        2 000 000 | 2000000
        2\\,000\\,000 | 2000000
        2_000_000 | 2000000
        10080 | 10,\\!080
        11111111100 | 11,\\! 111,\\! 111,\\! 100
        \u22125 | -5
        1e3 | 1000
        4.2\\times 10^{7} | 4.2e7
        9e-4 | 9\\cdot10^{-4}
        0.\\overline{27} | \\frac{3}{11}
        0.1666... | 1/6
        0.\\dot{6} | 2/3
        3½ | 7/2
        1 1/2 | 1.5
        1\\frac{1}{2} | 3/2
        24/2 | 12
        3/4 | 0.75
        0.333333 | 1/3
        3.14159265 | \\pi
        5 million | 5000000
        12_{8} | 12_8
        110_2 | (110)_{2}
    """,
    "wrappers": r"""
        $12$ | 12
        \(12\) | 12
        \[ 12 \] | 12
        \boxed{12} | 12
        x = \boxed{12} | 12
        **12** | 12
        *12* | 12
        `12` | 12
        "12" | 12
        \boldsymbol{12} | 12
        \underline{\underline{12}} | 12
        \textcolor{red}{12} | 12
        \large 12 | 12
        **$12$** | 12
        = 12 | 12
        \approx 12 | 12
        12 \\ | 12
    """,
    "prose": """
        The answer is 12. | 12
        So the final answer is $12$. | 12
        **Answer:** 12 | 12
        answer = 12 | 12
        x equals 12 | 12
        The answer is 12 because 3 * 4 is 12 | 12
        12 (twelve) | 12
        twelve | 12
        The total number of apples is \\(12\\). | 12
        **Answer:** $12$ | 12
        We get 12 | 12
        Final answer: The final answer is \\boxed{12} | 12
        distance = 12 | 12
        \\text{12} | 12
    """,
    "units": r"""
        $12 | 12
        \$12.50 | 12.5
        $12 | 12 dollars
        -$5 | -5
        Rs. 12 | 12
        US$12 | 12
        12 apples | 12
        12\text{ apples} | 12
        12 cm | 12
        12 m^2 | 12
        12 km/h | 12
        12 square feet | 12
        12 cups of sugar | 12
        12 blue marbles | 12
        12 years old | 12
        $12 every day | 12
        3\sqrt{13} units | 3\sqrt{13}
        12 | 12\text{ mph}
        12 miles per hour | 12\text{ mph}
        3\text{ m} | 300\text{ cm}
        12% | 12
        12% | 12 percent
        50% | 0.5
        50\% | \frac{1}{2}
        33\frac{1}{3}\% | \frac13
        90° | 90^\circ
        90 | 90^\circ
        \frac{\pi}{4} | 45^\circ
        2 hours 30 minutes | 150 minutes
    """,
    "formulas": r"""
        \sqrt{144} | 12
        √3/2 | \frac{\sqrt{3}}{2}
        sqrt(3)/2 | \frac{\sqrt3}{2}
        1+x | x+1
        (x+1)^2 | x^2+2x+1
        x²-1 | (x-1)(x+1)
        2\pi r | 2 r \pi
        2*pi*r | 2\pi r
        ba4 | 4ab
        \frac{1}{\sqrt{n}} | \sqrt{1/n}
        exp(x^2) | e^{x^2}
        \log_2 8 | 3
        \sin^2 x + \cos^2 x | 1
        \cos 2x | 2\cos^2 x - 1
        \binom{6}{2} | 15
        \frac{(n+1)!}{n!} | n+1
        3^{3^2} | 19683
        \sum_{k=1}^{4} k | 10
        \sqrt[3]{-27} | -3
        |{-7}| | 7
        e^{i\pi} | -1
        4-\mathrm{i} | 4 - i
        \frac{x^3}{3}+K | \frac{x^3}{3}+C
        \lambda_{\text{max}} | \lambda_{max}
        \frac{1}{2004!} | \frac{1}{2004!}
        theta | \theta
        \lfloor \pi \rfloor | 3
        2xcos(x^2) | 2x\cos(x^2)
        {10 \choose 3} | \binom{10}{3}
        \begin{aligned} x &= 5 \end{aligned} | 5
        \frac{1}{x+1}, x \neq -1 | \frac{1}{x+1}
    """,
    "lists, intervals, matrices": r"""
        (1,2) | (1,2)
        \left( 1, 2 \right) | (1,2)
        \{2,1\} | \{1,2\}
        2,1 | 1,2
        1 and 2 | 1,2
        x = 1 or x = 2 | 1,2
        x_1 = 1, x_2 = 2 | \{1,2\}
        x = 1, 2 | 1,2
        1+\sqrt2, 1-\sqrt2 | 1\pm\sqrt2
        (x,y)=(1,2) | (1,2)
        (3,4),(1,2) | (1,2),(3,4)
        x<3 | (-\infty,3)
        0 < x \le 5 | (0,5]
        x \geq \sqrt2 | x\in[\sqrt2,\infty)
        \{x \mid x>3\} | (3,∞)
        x<1 \text{ or } x>2 | (-\infty,1)\cup(2,\infty)
        c<b<a | a>b>c
        \begin{pmatrix} 0.5 \\ -2 \end{pmatrix} | \begin{pmatrix} 1/2 \\ -2 \end{pmatrix}
        [[1,2],[3,4]] | \begin{bmatrix}1&2\\3&4\end{bmatrix}
        \langle 1,2 \rangle | \begin{pmatrix}1\\2\end{pmatrix}
        (1,2) | \begin{pmatrix}1\\2\end{pmatrix}
        \begin{pmatrix}1&2\end{pmatrix}^T | \begin{pmatrix}1\\2\end{pmatrix}
        \frac12\begin{pmatrix}2\\4\end{pmatrix} | \begin{pmatrix}1\\2\end{pmatrix}
        x=3, y=-4 | (3,-4)
        (a,b)=(2,3) | a=2,b=3
        x \in (-\infty,2)\cup(3,\infty) | (-\infty,2) U (3,\infty)
        {1, -2} | 1,-2
        [1, 3, 5] | 1,3,5
        (-\infty,\infty) | \mathbb{R}
        k\pi \text{ for integer } k | x=n\pi, n\in\mathbb{Z}
    """,
    "equations": r"""
        x = 12 | 12
        12 | x=12
        m+n = 5+7 = 12 | 12
        \angle ABC = 12 | 12
        f(2) = 12 | 12
        y = 2x+1 | f(x) = 2x+1
        2x+1 | f(x) = 2x+1
        y = -\frac{1}{2}x + 1 | x+2y-2=0
        9x^2+4y^2=36 | \frac{x^2}{4}+\frac{y^2}{9}=1
        y = Ae^{x} | y=Ce^x
        x != 3 | x \ne 3
        n = 4k+3 | n \equiv 3 \pmod 4
        3 mod 7 | 3
    """,
    "words": r"""
        \text{Monday} | \text{monday}
        Monday | \text{Monday}
        **Yes** | yes
        no solutions | \text{no solution}
        A | A
        C | \text{(C)}
        Option C | \text{(C)}
        3:30 PM | \text{3:30 p.m.}
        5 o'clock | 5:00
        2:4 | 1:2
        2 to 1 | 2:1
        all real numbers | \mathbb{R}
        第一象限 | 第一象限
        odd $n$ | odd $n$
        The day is Tuesday. | \text{Tuesday}
        Yes, it is. | yes
        There is no solution | \text{no solution}
        \emptyset | \text{no solution}
        (D) | \textbf{(D)}\ 12
        12 | \textbf{(D)}\ 12
        \text{(B)} | B
        5 p.m. | 5:00 \text{ PM}
    """,
}


def rows(tables: dict[str, str]) -> list[object]:
    found = []
    for kind, table in tables.items():
        for line in table.strip().splitlines():
            answer, gold = (part.strip() for part in line.rsplit(" | ", 1))
            found.append(pytest.param(answer, gold, id=f"{kind}: {answer}"))
    return found


@pytest.mark.parametrize(("answer", "gold"), rows(EQUAL))
def test_equal_answers_are_correct(answer, gold):
    verdict = math.verify(answer, gold, {})
    assert (verdict.status, verdict.reason) == ("correct", "")
    assert verdict.value


UNEQUAL = {
    "numbers": r"""
        13 | 12
        -12 | 12
        0.33 | 0.333
        1000000000000000001 | 1000000000000000000
        0.3333 | 1/3
        6.28 | 2\pi
        \frac{1}{2^{98}} | \frac{1}{2^{99}}
        0.0000002 | 10^{-7}
        0 | 10^{-30}
        -6.6\times10^{-34} | 6.6\times10^{-34}
        0,111 | 111
        e-5 | 1e-5
        2 10/3 | 16/3
        12_{9} | 12_8
        12 | 12_8
        1_2 | 1
        inf | 12
        \frac{1}{0} | 12
        11,100,111 | 11,\! 111,\! 111,\! 100
    """,
    "letters": r"""
        1 | \frac{M}{m}
        2\pi r | 2\pi R
        \phi | \Phi
        12x | 12
        4 | 4ab
        x+3 | x+3m
        6m | 6
        \frac12 | \frac12 g
        5' | 5
        f(x) | f'(x)
        A^T | A
        x | |x|
        x | \sqrt{x^2}
        h | H
        f(x)+f(y) | f(x+y)
    """,
    "units": r"""
        12 cm | 12 km
        12\text{ cm} | 12\text{ cm}^2
        5 | 5\text{ million}
        5\text{ billion} | 5\text{ million}
        12 million | 12
        2\text{ radians} | 2^\circ
        30^\circ\text{F} | 30^\circ\text{C}
        30 | 30\text{ mph}, 40\text{ mph}
        10\mathrm{ft} x 19\mathrm{ft} | 10\mathrm{ft} x 18\mathrm{ft}
        5\text{ ft} | 5\text{ ft } 6\text{ in}
        6\text{ ft } 5\text{ in} | 5\text{ ft } 6\text{ in}
        €5 | \$5
    """,
    "words after the value": r"""
        5 sixths | 5
        5 lakh | 5
        5\text{ is wrong} | 5
        5 \text{ below zero} | 5
        5 root | 5
        5 less | 5
        5 nan | 5
        5 tenths | 5
        5k | 5
        5\text{M} | 5
        5 factorial | 5
        The answer is not 5 | 5
    """,
    "structure": r"""
        0 | \pi(R^2-r^2)
        1=2 | x^2-2x+10=0
        x^2+1=0 | x^2+x+1=0
        x=12=13=11 | 11
        4\equiv5 | 5
        5\approx6 | 5
        \frac12 \approx 7 | \frac12
        1 | xy=1
        0 | \sin x=0
        3 | |x|=3
        x | y=x
        2x=12 | 12
        5=12 | 12
        x+2y-4=0 | 0
        \sqrt[3]{9} | \sqrt{9}
    """,
    "lists and intervals": r"""
        12 or 13 | 12
        12, 13 | 12
        (2,1) | (1,2)
        [1,2] | (1,2)
        -2 | -2\text{ or }1
        (1,-2) | 1,-2
        -2,1 | (-2,1)
        \{-2,1\} | \left(-2,1\right)
        (1,2),(3,4) | (1,2)
        2 | 2,2
        1, 2, 10 | 1, 2, \ldots, 10
        X<3 | x<3
        x>3 | x<3
        \begin{pmatrix} 1 \\ 3 \end{pmatrix} | \begin{pmatrix} 1 \\ 2 \end{pmatrix}
        p=1, q=2 | q=1, p=2
    """,
    "words": r"""
        (B) | \text{(C)}
        B | A
        6:60 | 3:30
        1:10 | 3:30
        3:30 am | 3:30 pm
        Tuesday | \text{Monday}
        thirteen | 12
        12 | twelve
        Yes and no | yes
        H | \text{h}
        p - Q | p - q
    """,
    "powers beyond bounds": """
        9^{9^{9}} | 9
        9^9^9 | 9
        9**9 | 9
        9^{99999} | 9
        99999! | 9
        3!! | 9
        \\sum_{k=1}^{999999999} 1 | 999999999
    """,
}


@pytest.mark.parametrize(("answer", "gold"), rows(UNEQUAL))
def test_unequal_answers_are_not_paid(answer, gold):
    verdict = math.verify(answer, gold, {})
    assert verdict.status in ("wrong", "unparseable")
    assert verdict.reason


@pytest.mark.parametrize(
    ("answer", "gold", "reason"),
    [
        pytest.param("13", "12", "value 13 is not 12", id="numbers"),
        pytest.param("x+2", "x+1", "x+2 is not x+1", id="formulas"),
        pytest.param("2/4", "1/3", "1/2 is not 1/3", id="the value of a ratio"),
        pytest.param("Tuesday", r"\text{Monday}", "text is not 'monday'", id="words"),
    ],
)
def test_wrong_answers_say_both_sides(answer, gold, reason):
    assert math.verify(answer, gold, {}) == math.Verdict("wrong", math.verify(answer, gold, {}).value, reason)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param("", "empty", id="empty"),
        pytest.param(" \n", "empty", id="blank"),
        pytest.param("1" * 401, "too long: 401 characters", id="too long"),
        pytest.param("(" * 21 + "12" + ")" * 21, "nested deeper than 20", id="deep"),
        pytest.param("{12", "a bracket is not closed", id="open brace"),
        pytest.param(r"12}, \boxed{13", "a bracket closes that is not open", id="leaves the box"),
        pytest.param("12\x00", "control character '\\x00'", id="null byte"),
        pytest.param("12\ud800", "control character '\\ud800'", id="surrogate"),
        pytest.param("\u202e12", "control character '\\u202e'", id="right to left"),
        pytest.param("1\u200b2", "control character '\\u200b'", id="zero width"),
        pytest.param("\u0661\u0662", "is not ASCII", id="unicode digits"),
        pytest.param("12\\text{ below zero}", "the words 'below zero' after the value", id="words"),
        pytest.param("a dozen eggs", "the words 'dozen eggs'", id="number word"),
        pytest.param("12 13", "several numbers", id="two numbers"),
        pytest.param("12\n13", "several numbers", id="two lines"),
        pytest.param("5=12", "an equation that does not hold", id="false equation"),
        pytest.param("3=5=12", "an equation that does not hold", id="chain"),
        pytest.param("1.2.3", "several numbers", id="two points"),
        pytest.param(r"\boxed{12}\boxed{12}", "several numbers", id="two boxes"),
        pytest.param("12?", "unexpected '?'", id="question mark"),
        pytest.param(None, "no answer", id="none"),
    ],
)
@pytest.mark.parametrize("gold", ["12", r"\sqrt{2}"], ids=["number", "formula"])
def test_refused_answers_say_why(answer, reason, gold):
    verdict = math.verify(answer, gold, {})
    assert verdict.status == "unparseable"
    assert reason in verdict.reason


@pytest.mark.parametrize("answer", ["12", "13", "", "x+1"], ids=lambda answer: answer or "empty")
@pytest.mark.parametrize(
    "gold",
    [
        pytest.param("", id="empty"),
        pytest.param(r"\frac{1}{", id="open brace"),
        pytest.param(r"\frac{1}{0}", id="division by zero"),
        pytest.param("12?", id="no formula"),
        pytest.param("1" * 1_001, id="too long"),
        pytest.param("5 4.6", id="two numbers"),
        pytest.param(12, id="no string"),
    ],
)
def test_unusable_gold_is_bad_gold_for_every_answer(answer, gold):
    assert math.verify(answer, gold, {}).status == "bad_gold"


@pytest.mark.parametrize(
    "gold",
    [
        "-3 b^{4}+13 b^{3}-", r"n<-7$ or $n>8:(-\infty-7), \bigcup(8, \infty)", r"\min$ at $n \pi", "5 4.6", "12?",
        r"$\lfloor\varphi n\rfloor$, where $\varphi = \frac{\sqrt{5}+1}{2}", r"\int_0^1 f(x)\,dx",
    ],
)  # fmt: skip
def test_equal_to_the_letter_is_right_also_where_gold_is_not_understood(gold):
    assert math.verify(rf"\boxed{{{gold}}}", gold, {}).status == "correct"
    assert math.verify(gold + "2", gold, {}).status != "correct"


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
        pytest.param("-" * 399 + "x", id="signs"),
        pytest.param("x^" * 199 + "x", id="powers"),
        pytest.param("|" * 399 + "x", id="bars"),
        pytest.param("\\pm" * 133, id="plus or minus"),
    ],
)
def test_long_answers_are_refused_at_once(text):
    math.verify("x", "y", {})  # start the processes
    started = time.monotonic()
    assert math.verify(text, "12", {}).status != "correct"
    assert time.monotonic() - started < HANG_LIMIT_SECONDS


@given(st.text(max_size=60) | st.text(alphabet="0123456789.,%$+-/\\{}()=_^|!: aexpi", max_size=40))
def test_no_text_raises(text):
    for gold in ("12", "x+1", r"\text{east}", "(1,2)"):
        judged = math.judge_here(text, gold)
        if not isinstance(judged, math.Verdict):
            judged = judge.compare(*judged)
        assert len(judged.reason) <= MAX_TEXT_CHARS
        assert judged.reason.isascii()


@given(st.integers(-(10**12), 10**12))
def test_thousands_separators_do_not_change_an_integer(number):
    judged = math.judge_here(f"{number:,}", str(number))
    assert isinstance(judged, math.Verdict)
    assert judged.status == "correct"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("12", 12), ("-1,234.5", -1234.5), ("12 apples", 12), ("$3", 3), (r"\frac{3}{4}", 0.75), ("1 1/2", 1.5)],
        *[("3+4", None), ("x", None), ("12 or 13", None), ("twelve", None), ("", None), ("\\sqrt{4}", None)],
    ],
)
def test_plain_numbers(text, value):
    assert math.plain_number(text) == value


def test_batches_keep_their_order_and_ask_once_per_pair(monkeypatch):
    asked = []

    class Recorder:
        def verify_many(self, items):
            asked.append(items)
            return [math.Verdict("wrong", answer, "no") for answer, *_ in items]

    monkeypatch.setattr(math, "_pool", Recorder())
    items = [("x", "y", {}), ("2", "2", {}), ("$z$", "y", {}), ("", "z", {}), ("3", "4", {})]
    assert [verdict.value for verdict in math.verify_many(items)] == ["x", "2", "$z$", None, "3"]
    assert asked == [[("x", "y", ""), ("$z$", "y", ""), ("", "z", "")]]  # "" asks about the gold alone
    assert math.verify_many([]) == []


@pytest.mark.parametrize(
    ("answer", "gold", "status"),
    [
        pytest.param("65 - 4", "61", "wrong", id="a difference"),
        pytest.param(r"\frac{122}{2}", "61", "correct", id="a ratio is a number"),
        pytest.param("65 - 4 = 61", "61", "correct", id="worked out"),
        pytest.param("x = 65 - 4", "61", "wrong", id="named"),
        pytest.param(r"\sqrt{3721}", "61", "wrong", id="a root"),
        pytest.param(r"6.1\times10^1 \text{ cm}", "61", "correct", id="a power of ten and a unit"),
        pytest.param("-1 1/2", "-1.5", "correct", id="mixed"),
        pytest.param("65 - 4", "60 + 1", "correct", id="gold is an expression"),
        pytest.param("61", "61", "correct", id="the number"),
    ],
)
def test_an_expression_that_is_not_worked_out_may_be_refused(answer, gold, status):
    assert math.verify(answer, gold, {"final_value": True}).status == status
    assert math.verify(answer, gold, {}).status == "correct"
