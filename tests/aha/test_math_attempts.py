"""Attempts in free text: what is announced, where a line of reasoning ends, what is a repeat."""

from __future__ import annotations

from typing import Any

import pytest

from r1rl.aha.annotation import annotate


def found(
    text: str, gold: str = "12", *, verifier: str = "math", prompt: str = "", cut: bool = False
) -> dict[str, Any]:
    row = {"run": "r", "kind": "probe", "step": 0, "rank": 0, "group_id": "g", "prompt_id": "p", "sample_idx": 0}
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
