"""Data sets by name: rows of each one's true schema are read as they are, and its verifier can use their golds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from r1rl import tasks, verify
from r1rl.ground.errors import RecipeError
from r1rl.tasks import presets
from r1rl.tasks.files import FileTask

# Invented problems in the columns of the real rows; (row, question, gold).
_OLYMPIAD = {
    "id": 1606, "solution": ["It is 4."], "context": None, "image_1": None, "modality": "Text-only",
    "difficulty": "Competition", "is_multiple_answer": False, "unit": None, "answer_type": "Numerical", "error": None,
    "question_type": "Open-ended", "subfield": "Algebra", "subject": "Math", "language": "English",
}  # fmt: skip
_DAPO = (
    "Solve the following math problem step by step. The last line of your response should be of the form Answer: "
    "$Answer (without quotes) where $Answer is the answer to the problem.\n\n{}\n\nRemember to put your answer on its "
    'own line after "Answer:".'
)
_KNIGHTS = {
    "names": ["Zoey", "Leo"], "knight_knave": {"knight": "a knight", "knave": "a knave"}, "solution": [False, True],
    "solution_text": "Zoey is a knave, and Leo is a knight.", "cot_head": "", "index": 0,
}  # fmt: skip


def dapo(number: int) -> dict[str, Any]:
    return {
        "data_source": "math_dapo",
        "prompt": [{"content": _DAPO.format(f"What is {number} squared?"), "role": "user"}],
        "ability": "MATH",
        "reward_model": {"ground_truth": str(number**2), "style": "rule-lighteval/MATH_v2"},
        "extra_info": {"index": f"id-{number}"},
    }


ROWS: dict[str, list[tuple[Any, str, str]]] = {
    "gsm8k": [
        ({"question": "Ann has 2 and gets 3. How many?", "answer": "2+3=<<2+3=5>>5.\n#### 5"}, "Ann has", "5"),
        ({"question": "A boat costs how much?", "answer": "It is #1.\n#### 1,450"}, "A boat", "1,450"),
    ],
    "math": [
        (
            {"problem": "Halve $x$.", "level": "Level 3", "type": "Algebra",
             "solution": "First \\boxed{2}, then\n$\\boxed{\\frac{x}{2}}$."}, "Halve", "\\frac{x}{2}",
        ),
        ({"problem": "Two?", "level": "Level 1", "type": "Prealgebra", "solution": "$\\boxed{2}$"}, "Two?", "2"),
    ],
    "math500": [
        (
            {"problem": "Where?", "solution": "s", "answer": "\\left( 3, \\frac{\\pi}{2} \\right)",
             "subject": "Precalculus", "level": 2, "unique_id": "test/precalculus/807.json"},
            "Where?", "\\left( 3, \\frac{\\pi}{2} \\right)",
        ),
        ({"problem": "One?", "solution": "s", "answer": "1", "subject": "Algebra", "level": 5, "unique_id": "t"},
         "One?", "1"),
    ],
    "aime24": [
        ({"id": 60, "problem": "How long?", "solution": "s", "answer": "204", "url": "u", "year": "2024"},
         "How long?", "204"),
        ({"id": 61, "problem": "How many?", "solution": "s", "answer": "025", "url": "u", "year": "2024"},
         "How many?", "025"),
    ],
    "aime25": [
        ({"problem": "Find the sum.", "answer": "70", "id": "0"}, "Find the sum.", "70"),
        ({"problem": "Find the area.", "answer": "588", "id": "1"}, "Find the area.", "588"),
    ],
    "amc23": [
        ({"id": 0, "answer": 27.0, "question": "When do they meet?", "url": "u"}, "When do they meet?", "27"),
        ({"id": 1, "answer": "36.0", "question": "What is $x$?", "url": "u"}, "What is $x$?", "36"),
    ],
    "minerva": [
        ({"question": "What is the flux?", "answer": "4.5e33"}, "What is the flux?", "4.5e33"),
        ({"question": "Solve it.", "answer": "\\frac{t^2}{2}"}, "Solve it.", "\\frac{t^2}{2}"),
    ],
    "olympiadbench": [
        (_OLYMPIAD | {"question": "How many?", "final_answer": ["4"]}, "How many?", "4"),
        (_OLYMPIAD | {"question": "Which $n$?", "final_answer": ["$2^{10}$"]}, "Which $n$?", "$2^{10}$"),
    ],
    "dapo-math-17k": [(dapo(3), "What is 3 squared?", "9"), (dapo(4), "What is 4 squared?", "16")],
    "deepscaler": [
        ({"problem": "Half of one?", "answer": "\\frac{1}{2}", "solution": "It is half."}, "Half", "\\frac{1}{2}"),
        ({"problem": "Ten?", "answer": "10", "solution": ""}, "Ten?", "10"),
    ],
    "big-math": [
        ({"problem": "Ten?", "answer": "10", "source": "orca_math", "domain": ["Mathematics -> Algebra -> Other"],
          "llama8b_solve_rate": 0.5}, "Ten?", "10"),
        ({"problem": "Six?", "answer": "6", "source": "cn_k12", "domain": [], "llama8b_solve_rate": None}, "Six?", "6"),
    ],
    "orz-57k": [
        ([{"from": "human", "value": "Ten?"}, {"from": "assistant", "ground_truth": {"value": "10"}}], "Ten?", "10"),
        ([{"from": "human", "value": "Six?"}, {"from": "assistant", "ground_truth": {"value": "6"}}], "Six?", "6"),
    ],
    "countdown-3to4": [
        ({"target": 22, "nums": [3, 5, 7]}, "22", "22"),
        ({"target": 98, "nums": [44, 19, 35]}, "98", "98"),
    ],
    "knights-and-knaves": [
        (_KNIGHTS | {"quiz": "Who is who?", "solution_text_format": "(1) Zoey is a knave\n(2) Leo is a knight"},
         "Who is who?", "(1) Zoey is a knave\n(2) Leo is a knight"),
        (_KNIGHTS | {"quiz": "And here?", "solution_text_format": "(1) Zoey is a knight\n(2) Leo is a knave"},
         "And here?", "(1) Zoey is a knight\n(2) Leo is a knave"),
    ],
}  # fmt: skip


def local_copy(name: str, folder: Path) -> str:
    """The rows as the real file holds them: a list in JSON where rows are lists, else lines."""
    records = [record for record, _, _ in ROWS[name]]
    path = folder / ("rows.json" if isinstance(records[0], list) else "rows.jsonl")
    path.write_text(
        json.dumps(records) if path.suffix == ".json" else "".join(json.dumps(record) + "\n" for record in records)
    )
    return str(path)


def test_every_preset_has_rows_here() -> None:
    assert set(ROWS) == set(presets.PRESETS)
    assert not set(presets.PRESETS) & set(tasks.names())


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_read_as_they_are_and_their_golds_can_be_judged(name: str, tmp_path: Path) -> None:
    task = tasks.get(name, path=local_copy(name, tmp_path))
    rows = task.every_row()
    assert task.bad_rows == []
    assert task.name == name
    for row, (_, question, gold) in zip(rows, ROWS[name], strict=True):
        assert question in row.question
        assert "Remember" not in row.question
        assert row.gold == gold
        if task.verifier != "countdown":  # a target is no answer
            assert verify.get(task.verifier)(row.gold, row.gold, row.meta).status == "correct"
    assert verify.get(task.verifier)("nonsense", rows[0].gold, rows[0].meta).status != "correct"


@pytest.mark.parametrize("name", ROWS)
def test_the_hub_is_asked_for_the_pinned_split(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []
    monkeypatch.setattr(
        datasets,
        "load_dataset",
        lambda path, config=None, **options: asked.append((path, config, options)) or [r for r, _, _ in ROWS[name]],
    )
    preset = presets.PRESETS[name]
    rows = tasks.get(name, split=preset.split).every_row()
    configs = (preset.config or "").split("+")
    assert len(rows) == (len(ROWS[name]) if preset.options.get("distinct") else len(ROWS[name]) * len(configs))
    pinned = {} if preset.revision is None else {"revision": preset.revision}
    assert asked == [(preset.dataset, config or None, {"split": preset.split, **pinned}) for config in configs]


def test_a_recipe_trains_on_the_training_split_and_on_no_benchmark() -> None:
    assert tasks.get("gsm8k").split == "train"
    assert tasks.get("dapo-math-17k").split == "train"
    with pytest.raises(RecipeError, match=r"a benchmark, for `r1rl eval`; .* --task_options.split test"):
        tasks.get("math500")
    assert tasks.get("math500", split="test").split == "test"


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(RecipeError, match="did you mean 'gsm8k'"):
        tasks.get("gsm8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"answer_extraction": "box"}, "unknown, known are .*boxed", id="extraction"),
        pytest.param({"question_pattern": "Q: .+"}, "has 0 groups, need exactly one around the question", id="group"),
        pytest.param({"question_pattern": "("}, "question_pattern='\\('", id="no expression"),
        pytest.param({"revision": "abc"}, "revision='abc': belongs to dataset", id="a file has no revision"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        FileTask(path=local_copy("gsm8k", tmp_path), **options)


def test_copies_of_a_question_are_left_out_where_asked(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"question": q, "answer": "1"}) + "\n" for q in ("One?", " one? ", "Two?")))
    assert [row.question for row in FileTask(path=str(path), distinct=True).every_row()] == ["One?", "Two?"]
    assert len(FileTask(path=str(path)).every_row()) == 3


def test_a_solution_without_a_box_is_a_bad_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    golds = ["no box", "\\boxed{1}", "\\boxed{2}"]
    path.write_text("".join(json.dumps({"question": f"q{i}", "answer": a}) + "\n" for i, a in enumerate(golds)))
    task = FileTask(path=str(path), answer_extraction="boxed")
    assert [row.gold for row in task.every_row()] == ["1", "2"]
    assert "no \\boxed in 'answer'" in task.bad_rows[0]
