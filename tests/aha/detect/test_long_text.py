"""Long free text: a place is a candidate if it comes to what the text calls its answer, or announces anything."""

from __future__ import annotations

from typing import Any

import pytest

from r1rl.aha.detect.annotation import annotate
from r1rl.aha.detect.text_kind import LONG

PADDING = " ".join(f"There comes thought number {i}x on the matter of the eggs." for i in range(LONG // 8))
BOX = " So the final answer is \\boxed{18}."


def attempts(text: str, *, gold: str = "18", verifier: str = "math", end: str = BOX) -> list[tuple[str, bool, bool]]:
    """Value, whether it is right, and whether it only repeats, of the attempts before the last words."""
    return [(one["value"], one["right"], one["repeat"]) for one in of(text, gold, verifier, end)["attempts"]]


def of(text: str, gold: str = "18", verifier: str = "math", end: str = BOX) -> dict[str, Any]:
    completion = f"<think>{PADDING} {text} {PADDING}{end}</think>"
    return annotate({"completion": completion, "verifier": verifier, "gold": gold, "prompt": "?", "meta": "{}"})


LAST = ("18", True, True)
NEW, AGAIN = ("18", True, False), ("18", True, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("14 + 4 = 18 eggs.", [NEW, LAST], id="an equation"),
        pytest.param("25 - 9 is 16, and 16 + 2 is 18. Right.", [NEW, LAST], id="worked in words"),
        pytest.param("So, g(3) should be 18.", [NEW, LAST], id="a conclusion"),
        pytest.param("So he sells 18 eggs in all.", [NEW, LAST], id="a conclusion about something"),
        pytest.param("14 + 4 = 18. So g(3) is 18.", [NEW, LAST], id="a working and its statement are one"),
        pytest.param(
            "14 + 4 = 18. Wait, let me double-check. So it is 18.", [NEW, AGAIN, LAST], id="a check rejects nothing"
        ),
        pytest.param(
            "14 + 4 = 18. Wait, let me double-check. 9 * 2 = 18.", [NEW, NEW, LAST], id="worked again is a new one"
        ),
        pytest.param(
            "So it is 18. I made a mistake there. So it is 18.", [NEW, NEW, LAST], id="after a rejection a new one"
        ),
        pytest.param("3 * 6 = 18 + 2.", [("18", True, False)], id="worked with further"),
        pytest.param("If it is 18, then we have a box of 20.", [("18", True, False)], id="supposed"),
        pytest.param("Is the number 18?", [("18", True, False)], id="asked"),
        pytest.param("The number is not 18.", [("18", True, False)], id="denied"),
        pytest.param("The problem says it is 18 in a box.", [("18", True, False)], id="the question's number"),
        pytest.param("12 + 5 = 17. Wait, hmm. 17 + 1 = 20.", [("18", True, False)], id="a step at a turn is a step"),
        pytest.param(
            "So the total is 17. Wait, no, I made a mistake.", [("17", False, False), NEW], id="a total doubted at once"
        ),
        pytest.param("So the total is 17. Then there is more.", [("18", True, False)], id="a total of a part"),
        pytest.param("The answer is 17.", [("17", False, False), NEW], id="announced, whatever its value"),
        pytest.param("It comes to 36 / 2.", [("18", True, False)], id="a division not yet done"),
    ],
)
def test_attempts_in_long_text(text: str, expected: list[tuple[str, bool, bool]]) -> None:
    assert attempts(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("That's option B.", ["B"], id="that is an option"),
        pytest.param("So B is likely the correct answer.", ["B"], id="a letter as the likely answer"),
        pytest.param("Looking at the list, $5 is option B.", ["B"], id="a value is an option"),
        pytest.param("Maybe it is option B or C.", [], id="two options"),
        pytest.param("Is option B the correct answer?", [], id="asked"),
    ],
)
def test_letters_in_long_text(text: str, expected: list[str]) -> None:
    meta = '{"options": ["1", "2", "3"]}'
    completion = f"<think>{PADDING} {text} {PADDING}</think>"
    row = {"completion": completion, "verifier": "choice", "gold": "B", "prompt": "?", "meta": meta}
    assert [one["claimed"] for one in annotate(row)["attempts"]] == expected


@pytest.mark.parametrize("gold", [r"\frac{8}{15}", "(8, -2)"], ids=["a fraction", "a pair"])
def test_answers_that_are_no_plain_number(gold: str) -> None:
    found = attempts(f"So P is {gold}. Let me verify that.", gold=gold, end=f" Thus \\boxed{{{gold}}}.")
    assert [right for _, right, _ in found] == [True, True]


@pytest.mark.parametrize(
    ("said", "says"),
    [
        pytest.param("Yep, same result.", True, id="same result"),
        pytest.param("So that's consistent.", True, id="consistent"),
        pytest.param("That matches the total given.", True, id="matches"),
        pytest.param("It all seems to add up.", True, id="adds up"),
        pytest.param("That confirms it.", True, id="confirms"),
        pytest.param("This is still too large.", False, id="too large"),
        pytest.param("Yes, because eggs are round.", None, id="an answer to its own question"),
        pytest.param("Let me see if that works.", None, id="asked for"),
    ],
)
def test_verdicts_in_long_text(said: str, says: bool | None) -> None:
    found = [one["says"] for one in of(f"14 + 4 = 18. {said}")["goal_tests"]]
    assert found == ([] if says is None else [says])


def test_no_answer_announced_no_candidate() -> None:
    assert attempts("12 + 5 = 17. Hmm, but 9 * 2 = 18.", end="") == []
