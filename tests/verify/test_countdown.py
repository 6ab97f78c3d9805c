"""The Countdown verifier: what is paid, what is not, and that no text hangs or crashes it."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1rl.verify.countdown import verify
from r1rl.verify.verdict import MAX_TEXT_CHARS

META = {"numbers": [3, 5, 7]}
HANG_LIMIT_SECONDS = 1.0

CORRECT = {
    "plain": "3*5+7",
    "spaced": " ( 3 * 5 ) + 7 ",
    "line breaks": "3\n*\t5\r\n+ 7",
    "redundant brackets": "(((3)*(5))+((7)))",
    "true claim": "3*5+7 = 22",
    "claim as a decimal": "3*5+7=22.0",
    "claim as a fraction": "3*5+7=44/2",
    "unicode times": "3\u00d75+7",
    "middle dot": "3\u00b75+7",
    "dot operator": "7+3\u22c55",
    "latex times": r"3 \times 5 + 7",
    "latex cdot": r"3\cdot5+7",
    "latex left right": r"\left(3\cdot5\right)+7",
    "boxed": r"\boxed{3*5+7}",
    "boxed claim": r"\boxed{3*5+7=22}",
    "claim after box": r"\boxed{3*5+7} = 22",
    "dollars": "$3*5+7$",
    "display": r"\[3*5+7\]",
    "nested wrappers": r"$$ \boxed{ 3*5+7 } $$",
}


CORRECT |= {
    "square brackets": "[3*5]+7",
    "braces": "{3*5}+7",
    "ascii x": "3x5+7",
    "capital X": "3 X 5 + 7",
    "announced": "The answer is 3*5+7",
    "labelled": "Answer: 3*5+7",
    "full stop": "3*5+7.",
    "claim first": "22 = 3*5+7",
    "comparison": "3*5+7 == 22",
    "arrow": "3*5+7 \u2192 22",
    "bold": "**3*5+7**",
    "bold LaTeX": r"\mathbf{3*5+7}",
    "code": "`3*5+7`",
    "code fence": "```\n3*5+7\n```",
    "LaTeX spaces": r"3\,*\,5\;+\;7",
    "asterisk operator": "3\u22175+7",
    "steps": "3 * 5 = 15, 15 + 7 = 22",
    "steps on lines": "3*5 = 15\n15+7 = 22",
}


@pytest.mark.parametrize("answer", CORRECT.values(), ids=CORRECT)
def test_right_answers_in_every_style(answer):
    verdict = verify(answer, "22", META)
    assert (verdict.status, verdict.value, verdict.reason) == ("correct", "22", "")


@pytest.mark.parametrize(
    ("answer", "gold", "numbers"),
    [
        pytest.param(r"\frac{8}{4}+2", "4", [2, 4, 8], id="latex fraction"),
        pytest.param(r"\dfrac{8+4}{2}", "6", [2, 4, 8], id="sum in a fraction"),
        pytest.param(r"\frac{\frac{8}{4}}{2}", "1", [2, 4, 8], id="fraction in a fraction"),
        pytest.param("8/3*3", "8", [8, 3, 3], id="fractional intermediate"),
        pytest.param("8\u00f72\u22121", "3", [8, 2, 1], id="unicode division and minus"),
        pytest.param("8/(3-8/3)", "24", [8, 3, 8, 3], id="the classic 24"),
        pytest.param("1-2+3", "2", [1, 2, 3], id="negative intermediate, left to right"),
        pytest.param("16/4/2", "2", [2, 4, 16], id="division is left to right"),
        pytest.param("5-0", "5", [0, 5], id="zero is a number"),
        pytest.param("1/2", "1/2", [1, 2], id="fractional target"),
    ],
)
def test_right_answers_of_other_tasks(answer, gold, numbers):
    assert verify(answer, gold, {"numbers": numbers}).status == "correct"


@pytest.mark.parametrize(
    ("answer", "value", "reason"),
    [
        pytest.param("3*5+6", "21", "uses 6, which is not given", id="foreign number"),
        pytest.param("3*5", "15", "leaves out 7", id="missing number"),
        pytest.param("5*5+7-3", "29", "uses 5 twice", id="used twice"),
        pytest.param("5+5+5+7", "22", "uses 5 3 times, given 1", id="used three times, value right"),
        pytest.param("3+5+7", "15", "value 15 is not 22", id="wrong value"),
        pytest.param("(3+5)/7", "8/7", "value 8/7 is not 22", id="fractional value"),
        pytest.param("3*5+7=23", "22", "claims 23, but the value is 22", id="false claim"),
        pytest.param("3+5+7=22", "15", "claims 22, but the value is 15", id="claims the target"),
        pytest.param("35-13", "22", "uses 35, which is not given", id="concatenated digits"),
        pytest.param("22", "22", "uses 22, which is not given", id="the target itself"),
        pytest.param("3*5+7+0", "22", "uses 0, which is not given", id="extra zero"),
        pytest.param("3*5+7*1", "22", "uses 1, which is not given", id="extra one"),
    ],
)
def test_wrong_answers_say_why(answer, value, reason):
    verdict = verify(answer, "22", META)
    assert (verdict.status, verdict.value, verdict.reason) == ("wrong", value, reason)


def test_division_by_zero_is_wrong_with_its_reason():
    verdict = verify("7/(5-5)", "22", {"numbers": [5, 5, 7]})
    assert (verdict.status, verdict.value, verdict.reason) == ("wrong", None, "division by zero")


def test_a_number_given_twice_must_be_used_twice():
    assert verify("5+5", "10", {"numbers": [5, 5]}).status == "correct"
    assert verify("5*2", "10", {"numbers": [5, 5, 2]}).reason == "leaves out one 5"


# Every entry is worth 22 from 3, 5, 7 to a careless reader, or tries to break the reader.
MALFORMED = {
    "power": "3**5",
    "power tower": "9**9**9",
    "caret": "3^5+7",
    "floor division": "7//3*5",
    "modulo": "7%5*3",
    "shift": "3<<5+7",
    "python call": "eval('3*5+7')",
    "dunder": "__import__('os').system('true')",
    "lambda": "(lambda: 22)()",
    "unicode digits": "\u0663*\u0665+\u0667",
    "fullwidth digits": "\uff13*\uff15+\uff17",
    "superscript digits": "3*5\u2077",
    "fullwidth operators": "3\uff0a5\uff0b7",
    "en dash": "3*5\u20137",
    "unary minus": "-3*-5+7",
    "unary unicode minus": "\u22123*5+7",
    "unary plus": "+3*5+7",
    "double minus": "3*5--7",
    "minus in brackets": "7-(-3*5)",
    "implicit product": "(3)(5)+7",
    "number before bracket": "3(5)+7",
    "numbers in a row": "3 5 7",
    "empty": "",
    "blank": " \n\t ",
    "empty brackets": "()",
    "operator alone": "+",
    "ends too early": "3*5+",
    "starts with an operator": "*3*5+7",
    "two operators": "3*/5+7",
    "unclosed": "(3*5+7",
    "unopened": "3*5+7)",
    "crossed brackets": ")3*5+7(",
    "10,000 brackets": "(" * 10_000 + "3*5+7" + ")" * 10_000,
    "200 brackets": "(" * 200 + "3*5+7" + ")" * 200,
    "10,000 unclosed brackets": "(" * 10_000,
    "10,000 fractions": r"\frac{" * 10_000,
    "megabytes of ones": "1" * 3_000_000,
    "megabytes of sums": "3*5+7" + "+0" * 1_500_000,
    "megabytes of blanks": " " * 3_000_000 + "3*5+7",
    "long number": "3*5+" + "7" * 400,
    "null byte": "3*5+7\x00",
    "null byte inside": "3*\x005+7",
    "surrogate": "3*5+7\ud800",
    "right to left": "\u202e7+5*3",
    "zero width space": "3*\u200b5+7",
    "no-break space": "3*5\u00a0+7",
    "inf": "inf",
    "nan": "nan",
    "scientific": "2.2e1",
    "exponent": "1e9",
    "hexadecimal": "0x16",
    "a step that does not hold": "3*5 = 14, 14+7 = 22",
    "a step without its value": "3*5, 15+7 = 22",
    "steps that do not end": "3*5 = 15,",
    "underscore": "3_5",
    "leading zeros": "03*05+07",
    "decimal": "3.0*5+7",
    "factorial": "3!+5+7+4",
    "sqrt": "sqrt(3*5+7)",
    "latex sqrt": r"\sqrt{3}*5+7",
    "commas": "3,5,7",
    "thousands": "3*5+7,000",
    "letters": "a*b+c",
    "words": "three times five plus seven",
    "two claims": "3*5+7=22=22",
    "empty claim": "3*5+7=",
    "claim of an expression": "3*5+7=11*2",
    "claim by zero": "3*5+7=22/0",
    "question mark": "3*5+7=?",
    "only a claim": "=22",
    "two expressions": "3*5+7; 7+3*5",
    "two lines": "3*5+7\n7+3*5",
    "half a fraction": r"\frac{3}5+7",
    "open fraction": r"\frac{3*5+7}{1",
    "half a box": r"\boxed{3*5+7",
    "two boxes": r"\boxed{3*5}+\boxed{7}",
    "size without bracket": r"3\left*5+7",
    "closing tag": "3*5+7</answer>",
    "percent": "3*5+7%",
    "currency inside": "3*$5+7",
}


@pytest.mark.parametrize("answer", MALFORMED.values(), ids=MALFORMED)
def test_malformed_answers_are_unparseable_at_once(answer):
    started = time.monotonic()
    verdict = verify(answer, "22", META)
    assert time.monotonic() - started < HANG_LIMIT_SECONDS
    assert verdict.status == "unparseable"
    assert verdict.reason
    assert len(verdict.reason) <= MAX_TEXT_CHARS
    assert verdict.reason.isascii()
    assert verdict.reason.isprintable()


def test_the_table_of_malformed_answers_is_long_enough():
    assert len(MALFORMED) >= 50


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param("3**5", "not an expression: unexpected '**'", id="power"),
        pytest.param("3//5", "not an expression: unexpected '//'", id="floor division"),
        pytest.param("3^5", "not an expression: unexpected '^'", id="caret"),
        pytest.param("\u0663", "not an expression: unexpected '\\u0663'", id="unicode digit"),
        pytest.param("-3", "unary '-': only + - * / between the given numbers", id="unary minus"),
        pytest.param("", "not an expression: empty", id="empty"),
        pytest.param("3*", "not an expression: ends too early", id="ends too early"),
        pytest.param("(3)(5)", "not an expression: no operator before '('", id="juxtaposition"),
        pytest.param("1" * 501, "too long: 501 characters, at most 500", id="length"),
        pytest.param("1" * 13, "number too long: 13 digits, at most 12", id="digits"),
        pytest.param("1+" * 101, "too long: more than 200 tokens", id="tokens"),
        pytest.param("1=1=1", "not an expression: more than one '='", id="two claims"),
        pytest.param("03", "not an expression: leading zero in '03'", id="leading zero"),
    ],
)
def test_unparseable_answers_say_why(answer, reason):
    assert verify(answer, "22", META).reason == reason


@pytest.mark.parametrize(
    ("gold", "meta"),
    [
        pytest.param("", META, id="empty gold"),
        pytest.param("twenty-two", META, id="gold in words"),
        pytest.param("3*5+7", META, id="gold is an expression"),
        pytest.param("1/0", META, id="gold by zero"),
        pytest.param(22, META, id="gold is no string"),
        pytest.param("22", {}, id="no numbers"),
        pytest.param("22", None, id="no meta"),
        pytest.param("22", {"numbers": []}, id="empty numbers"),
        pytest.param("22", {"numbers": "3 5 7"}, id="numbers as a string"),
        pytest.param("22", {"numbers": [3, "5", 7]}, id="a number as a string"),
        pytest.param("22", {"numbers": [3, 5.0, 7]}, id="a float"),
        pytest.param("22", {"numbers": [3, True, 7]}, id="a bool"),
        pytest.param("22", {"numbers": [3, -5, 7]}, id="a negative number"),
    ],
)
def test_unusable_gold_is_never_paid_nor_punished(gold, meta):
    verdict = verify("3*5+7", gold, meta)
    assert verdict.status == "bad_gold"
    assert verdict.reason


@settings(max_examples=300)
@given(st.text(max_size=80) | st.text(alphabet="0123456789+-*/()= \\{}$frac.^\u00d7\u2212", max_size=80))
def test_no_text_raises_or_leaks_unprintable_text(text):
    verdict = verify(text, "22", META)
    assert verdict.status in ("correct", "wrong", "unparseable")
    assert (verdict.status == "correct") == (verdict.reason == "")
    for shown in (verdict.reason, verdict.value or ""):
        assert len(shown) <= MAX_TEXT_CHARS
        assert shown.isascii()
