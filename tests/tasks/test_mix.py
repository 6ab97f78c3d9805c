"""Mixtures: shares by weight from the first row on, splits and verifiers of the parts kept."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from r1rl import tasks
from r1rl.ground.errors import RecipeError
from r1rl.tasks import gold, prompts
from r1rl.tasks.dataset import dataset_rows


@pytest.fixture
def words(tmp_path: Path) -> str:
    path = tmp_path / "words.jsonl"
    path.write_text("".join(json.dumps({"question": f"{n} + 1?", "answer": n + 1}) + "\n" for n in range(20)))
    return str(path)


def mix(*parts: dict[str, Any]) -> Any:
    return tasks.get("mix", parts=list(parts))


def test_shares_hold_from_the_first_row_on(words: str) -> None:
    task = mix({"task": "countdown", "weight": 3}, {"task": "file", "options": {"path": words}})
    kinds = [row.verifier for row in task.rows("train", 40)]
    for count in range(1, 41):
        assert abs(Counter(kinds[:count])["countdown"] - 0.75 * count) <= 1
    assert task.rows("train", 12) == task.rows("train", 40)[:12]


def test_a_part_that_is_used_up_leaves_its_turns_to_the_others(words: str) -> None:
    task = mix({"task": "countdown"}, {"task": "file", "options": {"path": words}})
    kinds = Counter(row.verifier for row in task.rows("train", 100))
    assert kinds == {"countdown": 84, "math": 16}


def test_rows_are_judged_by_their_own_verifiers(words: str, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("R1RL_CACHE", str(tmp_path / "cache"))
    task = mix({"task": "countdown"}, {"task": "file", "options": {"path": words}})
    rows = task.rows("heldout", 6)
    assert [row["verifier"] for row in dataset_rows(rows, task, prompts.get("none"))] == ["countdown", "math"] * 3
    assert gold.check_task(task, rows) == [""] * 6
    assert len({row.prompt_id for row in rows}) == 6


def test_the_same_task_twice_keeps_its_problems_apart() -> None:
    task = mix({"task": "countdown"}, {"task": "countdown"})
    assert len({row.prompt_id for row in task.rows("train", 10)}) == 10


def test_files_are_found_beside_the_recipe(words: str, tmp_path: Path) -> None:
    options = {"parts": [{"task": "countdown"}, {"task": "file", "options": {"path": "words.jsonl"}}]}
    found = tasks.located("mix", options, tmp_path)
    assert found["parts"][1]["options"]["path"] == words


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        pytest.param([{"task": "countdown"}], "need two parts", id="one part"),
        pytest.param([{"task": "countdown"}, {"task": "mix"}], r"parts\[1\].task='mix'", id="a mix in a mix"),
        pytest.param([{"task": "countdown"}, {"task": "countdwn"}], "did you mean 'countdown'", id="no such task"),
        pytest.param([{"task": "countdown"}, {"task": "countdown", "weight": 0}], "need more than 0", id="weight"),
        pytest.param([{"task": "countdown"}, {"tsk": "countdown"}], r"parts\[1\].tsk: unknown key", id="key"),
        pytest.param(
            [{"task": "countdown"}, {"task": "countdown", "options": {"lw": 3}}], r"parts\[1\]: .*lw", id="option"
        ),
    ],
)
def test_mistakes(parts: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        mix(*parts)
