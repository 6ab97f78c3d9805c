"""The choice verifier: one letter, and no hedging."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1rl.verify.choice import verify

TEXTS = {"choices": ["Paris", "Rome", "Berlin", "A city in B."]}


@pytest.mark.parametrize(
    ("answer", "meta"),
    [
        pytest.param("B", {}, id="bare"),
        pytest.param("b", {}, id="lower case"),
        pytest.param(" B\n", {}, id="blanks"),
        pytest.param("(b)", {}, id="round brackets"),
        pytest.param("[B]", {}, id="square brackets"),
        pytest.param("B.", {}, id="full stop"),
        pytest.param("B)", {}, id="closing bracket"),
        pytest.param("**B**", {}, id="bold"),
        pytest.param("$B$", {}, id="dollars"),
        pytest.param(r"\boxed{B}", {}, id="boxed"),
        pytest.param(r"\boxed{\text{(B)}}", {}, id="text in a box"),
        pytest.param("Option B", {}, id="option"),
        pytest.param("answer: B", {}, id="answer"),
        pytest.param("B. Rome", {}, id="text, options unknown"),
        pytest.param("B) a dog", {}, id="article"),
        pytest.param("B. Rome", TEXTS, id="text of the option"),
        pytest.param("(b) ROME.", TEXTS, id="text up to case and full stop"),
        pytest.param("B: Rome", TEXTS, id="colon"),
        pytest.param("B \u2013 Rome", TEXTS, id="dash"),
        pytest.param("B", {"choices": {"A": "Paris", "B": "Rome"}}, id="options by letter"),
        pytest.param("B", {"choices": ["A", "B", "C"]}, id="options that are letters"),
        pytest.param("**B**.", {}, id="bold with a full stop"),
        pytest.param("`B`", {}, id="code"),
        pytest.param("# B", {}, id="heading"),
        pytest.param("- B", {}, id="bullet"),
        pytest.param("\u201cB\u201d", {}, id="quotes"),
        pytest.param(r"\(\mathbf{B}\)", {}, id="LaTeX"),
        pytest.param(r"\textbf{(B) }Rome", TEXTS, id="bold letter before its text"),
        pytest.param("The correct answer is B", {}, id="a sentence"),
        pytest.param("So the answer is **(B)**.", {}, id="a sentence in bold"),
        pytest.param("Final answer - B", {}, id="announced"),
        pytest.param("B Rome", TEXTS, id="text without a mark between"),
        pytest.param("B (Rome)", TEXTS, id="text in brackets"),
        pytest.param("B = Rome", TEXTS, id="equals"),
        pytest.param("\uff22", {}, id="full-width letter"),
        pytest.param("**" * 900 + "B" + "**" * 50, {}, id="marked for ever"),
    ],
)
def test_the_right_letter_in_every_style(answer, meta):
    verdict = verify(answer, "B", meta)
    assert (verdict.status, verdict.value, verdict.reason) == ("correct", "B", "")


@pytest.mark.parametrize(
    ("answer", "meta", "reason"),
    [
        pytest.param("A or B", {}, "not one letter: 'A or B'", id="or"),
        pytest.param("A and B", {}, "not one letter: 'A and B'", id="and"),
        pytest.param("A/B", {}, "not one letter: 'A/B'", id="slash"),
        pytest.param("AB", {}, "not one letter: 'AB'", id="together"),
        pytest.param("B, C", {}, "names 'C' after B", id="comma"),
        pytest.param("B. or C", {}, "names 'C' after B", id="or after a full stop"),
        pytest.param("B. or A instead", {}, "names 'A' after B", id="or the letter that is also an article"),
        pytest.param("B) (C)", {}, "names 'C' after B", id="brackets"),
        pytest.param("B. But maybe c.", {}, "names 'c' after B", id="lower case"),
        pytest.param("**B** or **C**", {}, "not one letter: 'B  or  C'", id="bold"),
        pytest.param("B. A dog and I", {}, "names 'I' after B", id="a pronoun last reads like a letter"),
        pytest.param("(b) or (c)", {}, "names 'c' after B", id="two in brackets"),
        pytest.param("(B)(C)", {}, "names 'C' after B", id="two brackets"),
        pytest.param("The answer is not B", {}, "not one letter: 'not B'", id="denied"),
        pytest.param("B Paris", TEXTS, "the text after B is not that of option B", id="text of another, no mark"),
        pytest.param("B. Paris", TEXTS, "the text after B is not that of option B", id="text of another"),
        pytest.param("B. Rome or C", TEXTS, "the text after B is not that of option B", id="text and a second letter"),
        pytest.param("Rome", TEXTS, "not one letter: 'Rome'", id="text alone"),
        pytest.param("I think B", {}, "not one letter: 'I think B'", id="prose before"),
        pytest.param("B text", {}, "not one letter: 'B text'", id="no mark after the letter"),
        pytest.param("E", TEXTS, "E is not among the options A to D", id="no such option"),
        pytest.param("2", {}, "not one letter: '2'", id="a number"),
        pytest.param("\u0412", {}, "not one letter: '\\u0412'", id="Cyrillic letter"),
        pytest.param("", {}, "empty", id="empty"),
        pytest.param("B" * 3000, {}, "too long: 3000 characters, at most 2000", id="too long"),
        pytest.param(None, {}, "no answer", id="none"),
    ],
)
def test_anything_but_one_letter_is_unparseable(answer, meta, reason):
    verdict = verify(answer, "B", meta)
    assert verdict.status == "unparseable"
    assert reason is None or verdict.reason == reason


def test_another_letter_is_wrong():
    assert verify("C", "B", TEXTS).reason == "C is not B"
    assert verify("C", "B", TEXTS).status == "wrong"


@pytest.mark.parametrize(
    ("gold", "meta", "letter"),
    [
        pytest.param("b", {}, "B", id="lower case"),
        pytest.param("(B)", {}, "B", id="brackets"),
        pytest.param("Rome", TEXTS, "B", id="the option's text"),
        pytest.param("A city in B.", TEXTS, "D", id="a text that begins like a letter"),
    ],
)
def test_gold_may_be_a_letter_or_a_text(gold, meta, letter):
    assert verify(letter, gold, meta).status == "correct"
    assert verify("C", gold, meta).status == "wrong"


@pytest.mark.parametrize(
    ("gold", "meta"),
    [
        pytest.param("E", TEXTS, id="no such option"),
        pytest.param("Madrid", TEXTS, id="text of no option"),
        pytest.param("Rome", {"choices": ["Rome", "rome"]}, id="text of two options"),
        pytest.param("A or B", {}, id="two letters"),
        pytest.param("", {}, id="empty"),
        pytest.param(1, {}, id="index"),
        pytest.param("A", {"choices": []}, id="no options"),
        pytest.param("A", {"choices": ["x"] * 27}, id="too many options"),
        pytest.param("A", {"choices": [1, 2]}, id="options are numbers"),
        pytest.param("A", {"choices": {"one": "x"}}, id="keys are words"),
        pytest.param("A", {"choices": {"a": "x", "A": "y"}}, id="keys collide"),
        pytest.param("A", {"choices": "AB"}, id="options are a string"),
    ],
)
def test_unusable_gold(gold, meta):
    assert verify("A", gold, meta).status == "bad_gold"


@given(st.text(max_size=40) | st.text(alphabet="ABab .,)(*$or", max_size=12))
def test_only_texts_that_begin_with_the_letter_are_right(text):
    verdict = verify(text, "B", {})
    assert verdict.status in ("correct", "wrong", "unparseable")
    if verdict.status == "correct":
        assert text.strip(" \t\r\n*$([").lower().removeprefix("option").lstrip(" :")[:1] == "b"
        assert (verdict.value, verdict.reason) == ("B", "")
