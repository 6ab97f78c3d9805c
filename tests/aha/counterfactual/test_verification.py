"""Asked whether its own answers are right: what is asked, how replies are read, and the figures by hand."""

from __future__ import annotations

from typing import Any

import pytest

from r1rl.aha.counterfactual import verification
from r1rl.aha.counterfactual.settings import Settings
from tests.aha.counterfactual.made_up_writer import MadeUp, row

RIGHT = "<think> 1 + 2 = 3 , 3 + 3 = 6 yes </think> <answer> 1 + 2 + 3 </answer>"
WRONG = "<think> 1 + 2 = 3 , 3 - 3 = 0 no </think> <answer> 1 + 2 - 3 </answer>"
ROWS = [
    row(f"p{i}", sample, WRONG if sample else RIGHT, verdict="wrong" if sample else "correct")
    for i in range(12)
    for sample in range(4)
]


def measured(writer: MadeUp, **changes: Any) -> Any:
    settings = Settings(**{"points": 24, "samples": 1, **changes})
    rows = verification.asked(writer, verification.chosen(ROWS, settings), ROWS, settings)
    return verification.figures(["run"], 0, [rows])


def values(found: Any) -> dict[str, float | None]:
    return {name: figure.estimate.value for name, figure in found.figures.items()}


def test_who_knows() -> None:
    found = measured(MadeUp(says=lambda before: " Yes." if "1 + 2 + 3" in before else " No."))
    assert values(found) == {"generation": 0.25, "accepts_right": 1.0, "accepts_wrong": 0.0, "balanced": 1.0,
                             "beyond_chance": 1.0}  # fmt: skip
    assert found.notes == {"parsed": 1.0, "replies": 24, "form": "asked"}
    assert (found.figures["accepts_right"].of, found.figures["accepts_wrong"].of) == (12, 12)


@pytest.mark.parametrize("reply", ["yes", "No!"])
def test_zero_for_whoever_always_says_the_same(reply: str) -> None:
    found = values(measured(MadeUp(says=lambda before: reply)))
    assert (found["beyond_chance"], found["balanced"]) == (0.0, 0.5)


def test_replies_that_say_neither_are_counted_and_left_out() -> None:
    found = measured(MadeUp(says=lambda before: "maybe" if "1 + 2 - 3" in before else "yes"))
    assert found.notes["parsed"] == 0.5
    assert found.figures["accepts_right"].estimate.value == 1.0
    assert found.figures["accepts_wrong"].of == 0
    assert "beyond_chance" not in found.figures


def test_the_question() -> None:
    (one,) = verification.chosen(ROWS[:1], Settings())
    assert verification.put(one) == (
        "Use 1, 2, 3 to make 6.\n\nProposed answer: 1 + 2 + 3\n\n"
        "Is the proposed answer to the question right? Say Yes or No.\nVerdict:"
    )


def test_without_the_words_the_last_attempt_is_shown_anew() -> None:
    writer = MadeUp(
        says=lambda before: (" yes" if before.endswith("= 6") else " no") + " </think> <answer> 1 </answer>",
        words=lambda text: False,
    )
    found = measured(writer)
    assert writer.written[0].endswith("Use 1, 2, 3 to make 6.<think> 1 + 2 = 3 , 3 + 3 = 6")
    assert found.notes["form"] == "shown"
    assert values(found)["beyond_chance"] == 1.0


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        pytest.param(" Yes, it is.", True, id="yes"),
        pytest.param("no", False, id="no"),
        pytest.param("I do not know", None, id="neither; not is no no"),
        pytest.param("<think> no, wait </think> yes", True, id="behind the thoughts"),
        pytest.param("<think> no, wait", None, id="still thinking"),
        pytest.param("<think> no </think> Hm, no: <answer> Yes </answer>", True, id="in the answer"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_a_verdict(reply: str, said: bool | None) -> None:
    assert verification.verdict(reply) is said


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        pytest.param(" target 6 got 0 no , wait , 3 + 3 = 6 yes </think>", False, id="of this attempt, not the next"),
        pytest.param(" </think> <answer> yes </answer>", None, id="said nothing of it"),
    ],
)
def test_a_verdict_on_what_is_shown(reply: str, said: bool | None) -> None:
    assert verification.verdict(reply, in_words=False) is said


def test_rollouts_without_an_answer_are_not_asked_about() -> None:
    rows = [row("p", 0, "<think> 1"), row("p", 1, RIGHT, verdict="bad_gold"), row("p", 2, RIGHT, verdict=None)]
    assert not verification.chosen(rows, Settings())
