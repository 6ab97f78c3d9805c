"""One rollout row -> one row of the table: columns by example, any text, hostile text in bounded time."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from r1rl.aha.detect.annotation import SCHEMA, annotate, annotate_all
from r1rl.aha.detect.notation import normalise

COUNTDOWN = {"verifier": "countdown", "task": "countdown", "gold": "22", "meta": json.dumps({"numbers": [3, 5, 7]})}
WORDS = {"verifier": "math", "task": "file", "gold": "22", "meta": "{}", "prompt": "Find x. How many eggs?"}
CHOICE = {"verifier": "choice", "task": "file", "gold": "B", "meta": "{}"}
EXACT = {"verifier": "exact", "task": "file", "gold": "Paris", "meta": "{}"}


def row(completion: str, kind: dict[str, Any] = COUNTDOWN, **columns: Any) -> dict[str, Any]:
    key = {"run": "r", "kind": "eval", "step": 0, "rank": 0, "group_id": "g", "prompt_id": "p", "sample_idx": 1}
    rest = {"temperature": 1.0, "n_tokens": 40, "finish_reason": "stop", "verdict": "wrong", "prefill": ""}
    return {**key, **rest, "completion": completion, **kind, **columns}


def test_every_column_of_a_countdown_rollout() -> None:
    text = (
        "<think> 3 + 5 = 8 , 8 + 7 = 15 target 22 got 15 no , wait , 3 * 5 = 15 , 15 + 7 = 22 target 22 got 22 yes "
        "</think> <answer> 3 * 5 + 7 </answer>"
    )
    found = annotate(row(text, verdict="correct"))
    assert list(found) == SCHEMA.names
    assert [(text[a["start"] : a["end"]], a["value"], a["right"]) for a in found["attempts"]] == [
        ("3 + 5 = 8 , 8 + 7 = 15", "15", False),
        ("3 * 5 = 15 , 15 + 7 = 22", "22", True),
    ]
    assert found["transitions"] == ["wrong_right"]
    assert [(t["attempt"], t["says"], t["truth"]) for t in found["goal_tests"]] == [(0, False, False), (1, True, True)]
    assert [(m["kind"], m["label"]) for m in found["markers"]] == [("interrupt", "effective")]
    picked = ("correct", "clean", "n_attempts", "first_right", "final_right", "slips", "checked_steps", "guess")
    assert [found[name] for name in picked] == [True, True, 2, False, True, 0, 4, False]
    assert [found[name] for name in ("restarts", "resumes", "duplicate_retries", "live_left")] == [1, 0, 0, 0]


def test_many_rows_get_what_each_gets_alone() -> None:
    right, wrong = "3*5 = 15, 15+7 = 22 </think> <answer> 3 * 5 + 7 </answer>", "3 + 5 = 8"
    rows = [
        row(right),
        row(right, step=1, sample_idx=2, temperature=0.0),  # the same text again, elsewhere
        *(row(right, **change) for change in (
            {"gold": "23"}, {"meta": json.dumps({"numbers": [3, 5, 9]})}, {"verdict": "correct"}, {"n_tokens": 3},
            {"finish_reason": "length"}, {"prefill": "<think>"}, {"verifier": None}, {"task": "file", "verifier": None},
        )),
        *(row(text, WORDS, prompt=prompt) for text in (right, wrong) for prompt in ("Find x.", "How many of 8 eggs?")),
    ]  # fmt: skip
    assert annotate_all(rows) == [annotate(one) for one in rows]


@pytest.mark.parametrize(
    ("answer", "guess"),
    [
        pytest.param("3 * 5 + 7", False, id="as worked"),
        pytest.param("7 + 5 * 3", False, id="another order"),
        pytest.param("3 + 5 + 7", True, id="never worked"),
        pytest.param("nothing", None, id="no expression"),
    ],
)
def test_guess(answer: str, guess: bool | None) -> None:
    assert annotate(row(f"3*5 = 15, 15+7 = 22 </think> <answer> {answer} </answer>"))["guess"] is guess


@pytest.mark.parametrize(
    ("columns", "correct"),
    [
        pytest.param({"verdict": "correct"}, True, id="correct"),
        pytest.param({"verdict": "unparseable"}, False, id="unparseable"),
        pytest.param({"verdict": "bad_gold"}, None, id="gold unusable"),
        pytest.param({"verdict": None}, None, id="not judged"),
    ],
)
def test_correct_is_null_where_nobody_can_tell(columns: dict[str, Any], correct: bool | None) -> None:
    assert annotate(row("x", **columns))["correct"] is correct


@pytest.mark.parametrize(
    "columns",
    [
        pytest.param({"verifier": "code"}, id="no detector"),
        pytest.param({"meta": "{"}, id="meta is no JSON"),
        pytest.param({"meta": "[1]"}, id="meta is no object"),
        pytest.param({"meta": "{}"}, id="no numbers"),
        pytest.param({"verifier": None, "task": "other", "gold": "a word"}, id="unknown verifier"),
    ],
)
def test_what_is_not_looked_for_is_null(columns: dict[str, Any]) -> None:
    found = annotate(row("3*5+7 = 22, yes. Wait, no.", **columns))
    assert found["attempts"] is found["goal_tests"] is found["n_attempts"] is found["restarts"] is None
    assert found["transitions"] is None
    assert found["marker_strict"] == 1


PIECES = st.sampled_from(
    [
        *(
            "3",
            "5",
            "7",
            "15",
            "22",
            "+",
            "-",
            "*",
            "/",
            "(",
            ")",
            "=",
            " ",
            "\n",
            ",",
            ".",
            "^",
            "x",
            "is",
            "no",
            "yes",
        ),
        *("\\frac{", "}{", "}", "\\times", "\\boxed{", "**", "//", "<think>", "</think>", "<answer>", "</answer>"),
        *("wait", "Let me check ", "that's not right", "the answer is ", "So Tom has ", "target 22 got ", "User:"),
        *("²", "٣", "İ", "\x00", "$", "≠", "def f():\n", "不是", "%", "7/2", "option B"),
    ]
)
TEXTS = st.lists(PIECES | st.text(max_size=4), max_size=50).map("".join)


@settings(max_examples=300, deadline=None)
@given(
    TEXTS,
    st.sampled_from([COUNTDOWN, WORDS, CHOICE, EXACT]),
    st.sampled_from(["stop", "length", None]),
    st.sampled_from(["", "<think>", None]),
)
@example("x = -7/0, 5%", WORDS, "stop", "")
@example("\\boxed{\\boxed{", WORDS, None, "<think>")
def test_any_text_is_annotated(text: str, kind: dict[str, Any], finish: str | None, prefill: str | None) -> None:
    found = annotate(row(text, kind, finish_reason=finish, prefill=prefill))
    pa.Table.from_pylist([found], schema=SCHEMA)
    for column in ("attempts", "markers", "goal_tests"):
        end = 0
        for span in found[column] or ():
            assert end <= span["start"] < span["end"] <= len(text), column
            end = span["end"] if column != "goal_tests" else 0
    distinct = found["n_attempts"] or 0
    assert len(found["transitions"] or ()) == max(0, distinct - 1)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_notation_keeps_every_character_in_its_place(text: str) -> None:
    assert len(normalise(text)) == len(text)


HOSTILE = {
    "digits and signs": "".join(random.Random(3).choices("0123456789+-*/()=,. \n", k=1_000_000)),
    "any characters": "".join(map(chr, random.Random(4).choices(range(1, 0x3000), k=1_000_000))),
    "words": "".join(
        random.Random(5).choices(["so ", "the answer is ", "total ", "wait ", "not ", "it ", "5 ", ". "], k=250_000)
    ),
    "boxes": "\\boxed{" * 140_000,
    "boxed": "\\boxed{5} " * 100_000,
    "answers": "the answer is 5. " * 60_000,
    "conclusions": "so tom has 5 eggs. " * 50_000,
    "equations": "5 + 5 = 10 eggs. " * 60_000,
    "variables": "x = 5, " * 140_000,
    "turns": "\nUser:" * 160_000,
    "blanks": " " * 1_000_000,
    "code": "def f():\n" * 110_000,
    "dollars": "$" * 1_000_000,
    "units": "5 eggs " * 140_000,
    "checks": "let me " * 140_000,
    "stretches of reasoning": "<think>" + "so it is right <answer> 1 </answer> " * 28_000 + "</think>",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_megabyte_is_annotated_in_bounded_time(name: str) -> None:
    started = time.monotonic()
    for kind in (COUNTDOWN, WORDS):
        annotate(row(HOSTILE[name], kind))
    assert time.monotonic() - started < 60  # seconds; a quadratic walk takes hours
