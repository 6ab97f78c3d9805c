"""Attempts in free text: what is announced, where a line of reasoning ends, what is a repeat."""

from __future__ import annotations

from typing import Any

import pytest

from r1rl.aha.detect.annotation import annotate


def found(
    text: str, gold: str = "12", *, verifier: str = "math", prompt: str = "", cut: bool = False
) -> dict[str, Any]:
    row = {"run": "r", "kind": "eval", "step": 0, "rank": 0, "group_id": "g", "prompt_id": "p", "sample_idx": 0}
    row |= {"temperature": 1.0, "n_tokens": 9, "finish_reason": "length" if cut else "stop", "verdict": "wrong"}
    row |= {"completion": text, "prefill": "", "gold": gold, "verifier": verifier, "meta": "{}", "prompt": prompt}
    return annotate(row)


def values(text: str, **how: Any) -> list[str]:
    return [one["value"] + ("r" if one["repeat"] else "") for one in found(text, **how)["attempts"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("So the answer is 12.", ["12"], id="announced"),
        pytest.param("Thus \\boxed{12}.", ["12"], id="boxed"),
        pytest.param("7 + 5 = 12. So the answer is 12.", ["12"], id="working and statement are one"),
        pytest.param("7 + 5 = 12. So Tom has 12 eggs. The answer is 12.", ["12"], id="three in one"),
        pytest.param("4 * 3 = 12. 12 - 5 = 7. </think>", ["7"], id="the end of the line"),
        pytest.param("4 * 3 = 12 eggs.", ["12"], id="with a unit"),
        pytest.param("18 cups / 2 cups = 9 servings", ["9"], id="units inside"),
        pytest.param("7 + 4 = 11. Wait, 7 + 5 = 12.", ["11", "12"], id="corrected"),
        pytest.param("7 + 5 = 11. 7 + 5 = 12.", ["11", "12"], id="worked again"),
        pytest.param("7 + 5 = 12. Let me check. Yes, the answer is 12.", ["12", "12r"], id="confirmed"),
        pytest.param("7 + 5 = 12. Let me check: 5 + 7 = 12.", ["12", "12"], id="checked by working"),
        pytest.param("7 + 5 = 12. Hmm, 12 - 4 = 8.", ["8"], id="goes on after hmm"),
        pytest.param("Hence, 12 pens. That gives 15 pens.", ["15"], id="the last statement"),
        pytest.param("Is the answer 12? Perhaps the answer is 12.", [], id="asked and hedged"),
        pytest.param("The answer is not 12. So if Tom has 12 eggs, fine.", [], id="denied and supposed"),
        pytest.param("Tom has 12 eggs.", [], id="a number of the question"),
        pytest.param("", [], id="empty"),
    ],
)
def test_values(text: str, expected: list[str]) -> None:
    assert values(text) == expected


# What free text states without an equation that can be read, and what only looks like it.
STATEMENTS = [
    ("The total number of blocks is 12, but she lost 25.", ["12"], "a total, though another number follows"),
    ("The difference is $12.", ["12"], "a total of money"),
    ("She will have 12 eggs.", ["12"], "a prediction"),
    ("There are 12 eggs left over.", ["12"], "what is left"),
    ("He sold 30 of 42 eggs, 12 altogether.", ["12"], "the last one counts"),
    ("25% of 48 = 12", ["12"], "a percentage with signs"),
    ("25 percent of the 48 eggs is 12.", ["12"], "a percentage in words"),
    ("Half of the 24 eggs is 12.", ["12"], "a fraction in words"),
    ("The difference between 20 and 8 is 12.", ["12"], "an operation in words"),
    ("2^3 + 4 = 12", ["12"], "a power, which no equation reads"),
    ("4(3) = 12", ["12"], "a product without a sign"),
    ("24 * .5 = 12", ["12"], "a decimal without its nought"),
    ("6 x $2 = $12", ["12"], "a price after the letter that multiplies"),
    ("3 * 4 = 12. 25% of 12 = 3.", ["3"], "what cannot be read ends the line too"),
    ("144 inches = 12 feet", ["12"], "a conversion of a number"),
    ("5 * 5 = 25. 25 / 2 = 12.5, which rounds down to 12.", ["12"], "rounded"),
    ("36 / 3 = 12. 1 foot = 12 inches", ["12"], "a definition is no result: the line ends before it"),
    ("1 cup = 8 ounces", [], "a definition alone"),
    ("8 inches = 8 inches", [], "the same on both sides"),
    ("The number of eggs in each box is 12.", [], "a rate"),
    ("She will need 12 per day.", [], "a rate after the number"),
    ("If 12 are left, she sold 30.", [], "a supposition"),
    ("Perhaps there are 12 left.", [], "a hedge"),
    ("The total is not 12.", [], "a denial"),
    ("Will the number of eggs be 12? Is the total 12?", [], "a question"),
    ("Half of the class is 12.", [], "a given part: half of no number"),
    ("Tom has 12 eggs. Ann has 24.", [], "numbers of the question"),
    ("The number of eggs is 12. Ann buys 24.", [], "the last number is one of the question"),
    ("20 + 4 = 24. 12 are left.", ["24"], "working goes before what may be a number of the question"),
    ("So she bought them, since 12 are red.", [], "a reason is no conclusion"),
]


@pytest.mark.parametrize(("text", "expected", "why"), STATEMENTS, ids=[case[2] for case in STATEMENTS])
def test_statements(text: str, expected: list[str], why: str) -> None:
    assert values(f"{text} </think>") == expected, why


def test_a_total_is_no_last_resort_where_the_text_was_cut_off() -> None:
    assert values("The total number of eggs is 12. Then he", cut=True) == []
    assert values("25% of 48 = 12. Then he", cut=True) == []


def test_a_rate_of_the_unit_is_a_number() -> None:
    assert values("$60/week * .2 = $12/week </think>") == ["12"]
    assert values("The answer is 12/x. </think>") == []


def test_a_line_that_was_cut_off_has_no_end() -> None:
    assert values("7 + 5 = 12. 12 * 2 = 24. 24", cut=True) == []
    assert values("7 + 5 = 12. So Tom has 12 eggs. Then he", cut=True) == ["12"]
    assert values("7 + 5 = 12. </think> <answer> 1", cut=True) == ["12"]


def test_options_and_words() -> None:
    assert values("The answer is (A). No wait, option B is correct.", gold="B", verifier="choice") == ["A", "B"]
    assert values("So the answer is Paris.", gold="paris", verifier="exact") == ["paris"]


def test_the_variable_that_is_asked_for() -> None:
    assert values("y = 3, so x = 12", prompt="Find x.")[-1] == "12"


def test_judgements_and_guess() -> None:
    row = found("7 + 5 = 12. Let me check. Yes, that is right. </think> <answer> 12 </answer>")
    assert [(one["says"], one["truth"]) for one in row["goal_tests"]] == [(True, True)]
    assert row["guess"] is False
    assert found("Tom has eggs. </think> <answer> 12 </answer>")["guess"] is True
