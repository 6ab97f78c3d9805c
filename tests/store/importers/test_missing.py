"""What cannot be computed is said, and nothing is said that can."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from r1rl.store.importers import Settings, load

WHOLE: dict[str, Any] = {
    "prompt": "q", "completion": "a", "gold": "g", "verdict": "correct", "reward": 1.0, "n_tokens": 1,
    "finish_reason": "eos", "token_ids": [1], "logprobs": [-1.0], "kind": "eval",
}  # fmt: skip


def at(*steps: int, **changed: Any) -> list[dict[str, Any]]:
    """Two rollouts at each step; of a column that is changed to None, none."""
    row = {name: value for name, value in (WHOLE | changed).items() if value is not None}
    return [row | {"step": step} for step in steps for _ in range(2)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        pytest.param(at(0, 10), [], id="everything is there"),
        pytest.param(at(0, 10, verdict=None), ["no verdicts, but gold answers"], id="no verdicts"),
        pytest.param(at(0, 10, verdict=None, gold=None), ["no verdicts, and no gold answers"], id="no gold"),
        pytest.param(at(0) + at(10, verdict=None), ["no verdicts for 2 of 4 rollouts"], id="some verdicts"),
        pytest.param(at(0, 10)[::2], ["no groups"], id="one rollout a prompt"),
        pytest.param(at(0), ["one step (step 0)"], id="one step"),
        pytest.param(at(20, 40), ["no step 0: changes and onset are against step 20"], id="no step 0"),
        pytest.param(at(0, 10, kind="train"), ["no evaluation of the same prompts"], id="training rollouts"),
        pytest.param(at(0, 10, reward=None), ["no rewards"], id="no rewards"),
        pytest.param(at(0, 10, n_tokens=None), ["no token counts"], id="no token counts"),
        pytest.param(at(0, 10, finish_reason=None), ["no finish reasons"], id="no finish reasons"),
        pytest.param(at(0, 10, logprobs=None), ["no log-probabilities"], id="no log-probabilities"),
        pytest.param(
            at(0) + at(10, reward=float("inf")), ["numbers that are not finite, taken as not given: 2"], id="infinite"
        ),
    ],
)
def test_notes(tmp_path: Path, rows: list[dict[str, Any]], said: list[str]) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    notes = load(tmp_path / "a.jsonl", tmp_path / "run").notes
    assert len(notes) == len(said), notes
    assert all(note.startswith(start) for note, start in zip(notes, said, strict=True))
    assert json.loads((tmp_path / "run" / "result.json").read_text())["notes"] == list(notes)


def test_a_verifier_of_ours_judges(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in at(0, 10, verdict=None)))
    assert load(tmp_path / "a.jsonl", tmp_path / "run", settings=Settings(verifier="exact")).notes == ()
