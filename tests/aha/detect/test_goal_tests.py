"""What the text after an attempt says, and what it only asks, supposes or wishes."""

from __future__ import annotations

import pytest

from r1rl.aha.detect.goal_tests import judged_after, said_after
from tests.aha.validate.synthetic import styles


def says(text: str, target: int = 22) -> list[bool]:
    return [one.says for one in said_after(text.lower(), 0, len(text), target)[0]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(" target 22 got 15 no , wait", [False], id="tiny base"),
        pytest.param(" target 9 got 15 no", [False], id="tiny base, target misquoted"),
        pytest.param(" target 22 got", [], id="cut off before the verdict"),
        pytest.param(". That's not 22.", [False], id="not the target"),
        pytest.param(". That is not 39.", [], id="not another number"),
        pytest.param(", which is 22!", [True], id="is the target"),
        pytest.param(" != 22", [False], id="sign"),
        pytest.param(" = 22, yes", [True], id="equals and yes is one"),
        pytest.param(". Too high. No.", [False], id="said twice"),
        pytest.param(". Yes! No, wait.", [True, False], id="changed its mind"),
        pytest.param(". But we need 22.", [False], id="but we need"),
        pytest.param(". We need 22, not 15.", [False], id="need, not"),
        pytest.param(". We need 22.", [], id="a wish"),
        pytest.param(". Is it 22?", [], id="a question"),
        pytest.param(". Check whether it is 22.", [], id="a condition"),
        pytest.param(". If it equals 22, we are done", [], id="supposed"),
        pytest.param(". No need to go on", [], id="no need"),
        pytest.param(". There is no other way", [], id="no other"),
        pytest.param(". The wrong side of the road", [], id="wrong before a noun"),
        pytest.param(" ❌\n1. ", [False], id="cross before a list"),
        pytest.param(" × 5", [], id="times"),
        pytest.param("", [], id="nothing"),
    ],
)
def test_said_after(text: str, expected: list[bool]) -> None:
    assert says(text) == expected


def test_a_candidate_that_is_put_forward_without_a_verdict() -> None:
    assert said_after(" target 22 got", 0, 14, 22)[1]
    assert not said_after(" , then the target", 0, 18, 22)[1]


def test_spans_are_the_words() -> None:
    text = "15. that's not 22."
    (one,) = said_after(text, 2, len(text), 22)[0]
    assert text[one.start : one.end] == "not 22"


@pytest.mark.parametrize("wording", styles.all_wordings())
def test_the_generator_s_wordings(wording: str) -> None:
    hit = wording in (*styles.HIT, *styles.HIT_FREE)
    assert says(f". {wording.format(v='22' if hit else '15', t='22', d='7')}") == [hit]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(" That's correct.", [True], id="correct"),
        pytest.param(" That doesn't make sense.", [False], id="no sense"),
        pytest.param(" Let me check. Yes, the", [True], id="yes after a check"),
        pytest.param(" Is that right?", [], id="asked"),
        pytest.param(" Check if that is right", [], id="supposed"),
        pytest.param(" I made a mistake.", [], id="an admission is a marker"),
        pytest.param(" No, wait", [], id="a bare no"),
        pytest.param(" on the right side", [], id="another right"),
    ],
)
def test_judged_after(text: str, expected: list[bool]) -> None:
    assert [one.says for one in judged_after(text.lower(), 0, len(text))] == expected
