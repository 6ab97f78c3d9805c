"""Injected errors: what is put where, and what counts as put right."""

from __future__ import annotations

from typing import Any

import pytest

from r1rl.aha.counterfactual import errors
from r1rl.aha.counterfactual.settings import Settings
from tests.aha.counterfactual.made_up_writer import MadeUp, row

RIGHT = "<think> 1 + 2 = 3 , 3 + 3 = 6 yes </think> <answer> 1 + 2 + 3 </answer>"
WRONG = "<think> 1 + 2 = 3 , 3 - 3 = 0 no </think> <answer> 1 + 2 - 3 </answer>"
HIT, MISS = " </think> <answer> 1 + 2 + 3 </answer>", " </think> <answer> 1 + 2 - 3 </answer>"
ROWS = [row(f"p{i}", 0, RIGHT) for i in range(12)] + [row(f"p{i}", 1, WRONG, verdict="wrong") for i in range(12)]
TINY_WORDS = {"words": lambda text: "Somebody" not in text and "Wait" not in text}


def asked(writer: MadeUp, rows: list[dict[str, Any]] = ROWS, **changes: Any) -> list[dict[str, Any]]:
    settings = Settings(**{"points": 99, "samples": 1, **changes})
    return errors.asked(writer, errors.chosen(rows, settings), rows, settings)


def values(writer: MadeUp, rows: list[dict[str, Any]] = ROWS) -> dict[str, float | None]:
    found = errors.figures(["run"], 0, [asked(writer, rows)]).figures
    return {name: figure.estimate.value for name, figure in found.items()}


def test_what_is_put_where() -> None:
    found = {one["arm"]: one["completion"][: one["start"]] for one in asked(MadeUp(says=lambda before: HIT), ROWS[:1])}
    assert found["intact"] == "<think> 1 + 2 = 3 , 3 + 3 = 6"
    assert found["own_error"] in ("<think> 1 + 2 = 3 , 3 + 3 = 5", "<think> 1 + 2 = 3 , 3 + 3 = 7")
    assert found["own_error_wait"] == found["own_error"] + ". Wait,"
    assert found["foreign_error"] == found["foreign_intact"] == ""
    (mistake, waiting) = asked(MadeUp(says=lambda before: HIT), ROWS[12:13])
    assert mistake["completion"] == "<think> 1 + 2 = 3 , 3 - 3 = 0 no" + HIT
    assert waiting["completion"] == "<think> 1 + 2 = 3 , 3 - 3 = 0 no. Wait," + HIT


def test_the_foreign_error_is_the_own_one_in_the_question() -> None:
    writer = MadeUp(says=lambda before: HIT)
    rows = asked(writer, ROWS[:1])
    own = next(one["completion"][: one["start"]] for one in rows if one["arm"] == "own_error")
    (foreign,) = (text for text in writer.written if "Somebody" in text and own.removeprefix("<think> ") in text)
    assert foreign == (
        "Use 1, 2, 3 to make 6.\n\nSomebody wrote this attempt, which may be wrong:\n"
        + own.removeprefix("<think> ")
        + "\n\n"
    )


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        pytest.param("One. User: What?. Assistant:", "One. User: What?.{}Assistant:", id="r1-zero"),
        pytest.param("User: A?\nAssistant: 1\n\nUser: What?\nAssistant: <think>",
                     "User: A?\nAssistant: 1\n\nUser: What?{}Assistant: <think>", id="the last of several"),
        pytest.param("<|im_start|>user\nWhat?<|im_end|>\n<|im_start|>assistant\n",
                     "<|im_start|>user\nWhat?{}<|im_end|>\n<|im_start|>assistant\n", id="a chat"),
        pytest.param("What?", "What?{}", id="a question alone"),
    ],
)  # fmt: skip
def test_where_an_attempt_is_handed(prompt: str, expected: str) -> None:
    said = "\n\nSomebody wrote this attempt, which may be wrong:\n1 = 2\n\n"
    assert errors.handed({"prompt": prompt}, " 1 = 2") == expected.format(said)


def test_figures_by_hand() -> None:
    """Right behind the true number and behind "Wait,"; somebody else's error is put right, with a word or without."""

    def says(before: str) -> str:
        if "Somebody" in before:
            return HIT if int(before.count("= 6")) else "<think> wait , 3 + 3 = 6" + HIT
        return HIT if before.endswith(("= 6", "Wait,")) else MISS

    found = values(MadeUp(says=says))
    expected = {
        "intact": 1.0, "own_error": 0.0, "own_error_wait": 1.0, "own_error_wait_gain": 1.0, "error_cost": -1.0,
        "mistake": 0.0, "mistake_wait": 1.0, "foreign_intact": 1.0, "foreign_error": 1.0, "foreign_error_explicit": 1.0,
        "foreign_error_implicit": 0.0, "foreign_beyond_own": 1.0, "blind_spot": 1.0,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected


def test_half_is_put_right_silently() -> None:
    """Own errors of every second prompt are put right without a marker, all of somebody else's: a blind spot of 0.5."""

    def says(before: str) -> str:
        return HIT if "Somebody" in before or before.startswith("even") else MISS

    rows = [row(f"p{i}", 0, RIGHT, prompt="even" if i % 2 == 0 else "odd") for i in range(12)]
    found = values(MadeUp(says=says), rows)
    assert (found["own_error"], found["own_error_implicit"], found["own_error_explicit"]) == (0.5, 0.5, 0.0)
    assert found["blind_spot"] == 0.5


def test_zero_where_nothing_is_put_right_and_where_all_is() -> None:
    nothing = values(MadeUp(says=lambda before: MISS))
    assert nothing["own_error"] == nothing["own_error_wait_gain"] == nothing["foreign_beyond_own"] == 0.0
    assert "blind_spot" not in nothing, "there is nothing that it could put right"
    everything = values(MadeUp(says=lambda before: HIT))
    assert everything["blind_spot"] == everything["error_cost"] == everything["mistake_wait_gain"] == 0.0


def test_a_vocabulary_without_the_words_has_no_foreign_arms() -> None:
    found = asked(MadeUp(says=lambda before: HIT, **TINY_WORDS))  # type: ignore[arg-type]
    assert {one["arm"] for one in found} == {"intact", "own_error", "own_error_wait", "mistake", "mistake_wait"}
    assert "blind_spot" not in errors.figures(["run"], 0, [found]).figures


def test_unusable_gold_counts_nowhere() -> None:
    rows = [{"arm": "intact", "prompt_id": "p", "verdict": "bad_gold", "marked": False}]
    assert errors.figures(["run"], 0, [rows]).figures["intact"].of == 0


def test_rollouts_without_an_error_to_make() -> None:
    rows = [
        row("open", 0, "<think> 1 + 2 = 4", verdict="wrong"),  # its reasoning has no end
        row("slip", 0, RIGHT.replace("= 3", "= 4").replace("= 6", "= 7")),  # no result is true
        row("unread", 0, "nothing", verdict="unparseable"),
    ]
    assert not errors.chosen(rows, Settings())
