"""The True Thinking Score by hand, and what is a step."""

from __future__ import annotations

import math
from typing import Any

import pytest

from r1rl.aha.counterfactual import thinking
from r1rl.aha.counterfactual.questions import own_answer, reasoning
from r1rl.aha.counterfactual.settings import Settings
from tests.aha.counterfactual.made_up_writer import MadeUp, row

TINY = "<think> 1 + 2 = 3 , 3 - 3 = 0 no , wait , 1 + 2 = 3 , 3 + 3 = 6 yes </think> <answer> 1 + 2 + 3 </answer>"
PROSE = "<think>He has 12 pens.\nWait, 12 is a dozen. So it is 12.</think> <answer>12</answer>"


def measured(writer: MadeUp, rows: list[dict[str, Any]]) -> Any:
    chosen = Settings(points=99)
    found = thinking.asked(writer, thinking.chosen(rows, chosen), rows, chosen)
    return thinking.figures(["run"], 0, [found])


def texts(completion: str) -> list[tuple[str, bool]]:
    span = reasoning(row("p", 0, completion))
    assert span is not None
    return [(completion[start:end], marked) for start, end, marked in thinking.steps(completion, span)]


def test_steps_of_the_tiny_model_are_attempts() -> None:
    assert texts(TINY) == [(" 1 + 2 = 3 , 3 - 3 = 0 no", False), (" , wait , 1 + 2 = 3 , 3 + 3 = 6 yes", True)]


def test_steps_of_prose_are_sentences_and_lines() -> None:
    assert [(said.strip(), marked) for said, marked in texts(PROSE)] == [
        ("He has 12 pens.", False),
        ("Wait, 12 is a dozen.", True),
        ("So it is 12.", False),
    ]


@pytest.mark.parametrize(
    ("completion", "extraction", "expected"),
    [
        pytest.param("a </think> <answer> 1 + 2 </answer>", "answer-tag", " 1 + 2 </answer>", id="tags"),
        pytest.param("so \\boxed{1} or \\boxed{ 2 }", "boxed", "2}", id="the last box"),
        pytest.param("it is 1 or 22.", "last-number", "22", id="a number"),
        pytest.param("<answer> 1", "answer-tag", None, id="not closed"),
        pytest.param("nothing", "boxed", None, id="none"),
    ],
)
def test_own_answer(completion: str, extraction: str, expected: str | None) -> None:
    found = own_answer(row("p", 0, completion), extraction)
    assert (found and found[0]) == expected


def test_numbers_are_shifted_a_little_and_stay_above_zero() -> None:
    for key in range(40):
        found = thinking.shifted("1 + 20 = 21", key).split()
        assert all(1 <= abs(int(a) - int(b)) <= 3 for a, b in zip(found[::2], (1, 20, 21), strict=True))
        assert int(found[0]) > 0
    assert thinking.shifted("1 + 20", 0, knows=lambda number: False) == "1 + 20", "nothing else can be written"


def test_the_score_by_hand() -> None:
    """The answer is sure behind the true result of the true context, half as sure behind either alone, else 0.1.

    The reflection "3 + 3 = 6": needed 0.8 - 0.4, alone 0.4 - 0.1: (0.4 + 0.3) / 2 = 0.35. The first attempt has no
    context of numbers, so both halves are the same: S is 0.4 with it (its " 0 " is the context), 0.1 without.
    """

    def sure(before: str, wanted: str) -> float:
        assert wanted == " 1 + 2 + 3 </answer>"
        assert before.endswith(" </think> <answer>")
        said = before.partition("<think>")[2]
        return math.log({2: 0.8, 1: 0.4, 0: 0.1}[("= 6 " in said) + ("= 0 " in said)])

    found = measured(MadeUp(sure=sure), [row("p", 0, TINY)]).figures
    assert found["reflection_score"].estimate.value == pytest.approx(0.35)
    assert found["other_score"].estimate.value == pytest.approx(0.3)
    assert found["score_beyond_other"].estimate.value == pytest.approx(0.05)
    assert found["reflection_decorative"].estimate.value == 0.0
    assert found["sure"].estimate.value == pytest.approx((0.8 + 0.4) / 2)


def test_zero_where_the_text_does_not_matter() -> None:
    found = measured(MadeUp(sure=lambda before, wanted: math.log(0.3)), [row(f"p{i}", 0, TINY) for i in range(12)])
    for name in ("reflection_score", "other_score", "score_beyond_other", "decorative_beyond_other", "reflection_true"):
        assert found.figures[name].estimate.value == 0.0
    assert found.figures["reflection_decorative"].estimate.value == 1.0
    assert found.figures["reflection_decorative"].of == 12


def test_a_step_without_numbers_is_dropped() -> None:
    rows = [row("p", 0, PROSE.replace("12 is a dozen", "it is a dozen"))]
    step = next(step for step in thinking.chosen(rows, Settings()) if step.reflects)
    intact, dropped, _, _ = thinking.conditions(step, 0)
    assert intact == dropped + step.row["completion"][step.start : step.end]


def test_rollouts_without_an_answer_have_no_steps() -> None:
    assert not thinking.chosen([row("p", 0, TINY.partition(" <answer>")[0])], Settings())


def test_half_of_the_steps_are_reflections() -> None:
    rows = [row(f"p{i}", 0, TINY) for i in range(9)]
    found = thinking.chosen(rows, Settings(points=6))
    assert [step.reflects for step in found] == [True] * 3 + [False] * 3
    assert [step.number for step in found] == list(range(6))
