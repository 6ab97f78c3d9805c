"""Inspect's logs, on files that inspect-ai 0.3.285 wrote, from PyPI and unchanged.

`inspect/sums.eval` and `sums.json` are `inspect_ai.eval` of a mock model with `match` and `includes`, temperature 0.7,
two epochs of two samples (one in the JSON log), one of them with an id that looks like a path and one with an image.
`chunked.eval` is `sums.json` by `convert_eval_logs` and, with chunks of one, `convert_eval_logs_to_chunked`.
"""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from r1rl.store import store
from r1rl.store.importers import guess, load
from r1rl.store.importers.formats.inspect_logs import FORMAT, SAMPLE

FILES = Path(__file__).parents[1] / "files" / "inspect"


def test_a_log_of_the_tool(tmp_path: Path) -> None:
    assert guess([FILES / "sums.eval"]) == "inspect"
    done = load(FILES / "sums.eval", tmp_path / "run")
    rows = store.read(tmp_path / "run").to_pylist()
    assert [row["prompt_id"] for row in rows] == ["sums:sum/../1", "sums:2"] * 2
    assert len({row["group_id"] for row in rows}) == 2, "a sample's epochs are a group"
    assert {(row["kind"], row["step"], row["task"]) for row in rows} == {("eval", 20, "sums")}, "of the metadata"
    assert {(row["temperature"], row["top_p"], row["cap"]) for row in rows} == {(0.7, 0.9, 64)}
    assert [row["verdict"] for row in rows] == ["correct", "wrong", "correct", "correct"]
    assert [(row["reward"], row["reward_match"], row["reward_includes"]) for row in rows[:2]] == [(1, 1, 1), (0, 0, 0)]
    assert [row["finish_reason"] for row in rows] == ["stop", "length", "stop", "stop"]
    assert [row["gold"] for row in rows[:2]] == ["8", "12"]
    assert rows[0]["completion"] == "3 + 5 = 9. Wait, that is wrong. 3 + 5 = 8. The answer is 8"
    assert rows[0]["n_tokens"] == 18
    assert json.loads(rows[0]["meta"]) == {"level": 1}
    assert rows[1]["prompt"] == "system: Be brief.\nuser: What is 2 * 6?"
    assert any(note.startswith("images") and note.endswith(": 2") for note in done.notes)
    assert not list(tmp_path.glob("**/*sum*")), "nothing is unpacked"


@pytest.mark.parametrize("name", ["sums.json", "chunked.eval"])
def test_other_shapes_give_the_same(tmp_path: Path, name: str) -> None:
    load(FILES / "sums.eval", tmp_path / "zip")
    load(FILES / name, tmp_path / "other")
    told = ("prompt", "completion", "gold", "verdict", "reward", "meta", "step", "finish_reason", "n_tokens")
    (row,) = store.read(tmp_path / "other", columns=told).to_pylist()
    assert row in store.read(tmp_path / "zip", columns=told).to_pylist()


def log_of(sample: dict[str, Any], **evaluation: Any) -> dict[str, Any]:
    return {SAMPLE: sample, "log": {"eval": {"task": "t", **evaluation}, "plan": {}}}


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        pytest.param(
            log_of({}, model="vllm/out/checkpoint-120"), {"step": 120}, id="the checkpoint in the model's name"
        ),
        pytest.param(log_of({}, model="openai/gpt-4o-2024"), {"step": None}, id="a date is no step"),
        pytest.param(log_of({"scores": {"s": {"value": "P"}}}), {"verdict": "wrong", "s": 0.5}, id="partly right"),
        pytest.param(log_of({"scores": {"s": {"value": 7}}}), {"verdict": None, "s": 7.0}, id="a scale is no verdict"),
        pytest.param(log_of({"scores": {"s": {"value": {"a": 1}}}}), {"verdict": None}, id="a score in parts"),
        pytest.param(log_of({"scores": {"s": {"value": float("nan")}}}), {"verdict": None}, id="not scored"),
        pytest.param(log_of({"error": {}, "messages": []}), {"completion": None}, id="a sample that failed"),
        pytest.param(
            log_of({"input": "attachment://a", "attachments": {"a": "asked"}, "output": {"completion": "said"}}),
            {"prompt": "asked", "completion": "said"},
            id="a long text kept apart",
        ),
        pytest.param(log_of([]), {"completion": None}, id="a sample that is none"),
    ],
)
def test_records(record: dict[str, Any], expected: dict[str, Any]) -> None:
    (row,) = FORMAT.rollouts(record, Path("a.eval"), Counter())
    assert {name: row.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("models", "steps"),
    [
        pytest.param(["org/a", "org/a"], [0], id="one model"),
        pytest.param(["run/checkpoint-20", "run/checkpoint-40"], [20, 40], id="checkpoints"),
        pytest.param(["org/a", "org/b"], None, id="several models"),
    ],
)
def test_logs_in_a_folder(tmp_path: Path, models: list[str], steps: list[int] | None) -> None:
    (tmp_path / "logs").mkdir()
    for i, model in enumerate(models):
        sample = {"id": 1, "epoch": 1, "input": "q", "target": "t", "output": {"completion": "a"}}
        log = {"status": "success", "eval": {"task": "t", "model": model}, "plan": {}, "samples": [sample]}
        (tmp_path / "logs" / f"{i}.json").write_text(json.dumps(log))
    if steps is None:
        with pytest.raises(ValueError, match=r"several models \(org/a, org/b\) and no steps"):
            load(tmp_path / "logs", tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return
    load(tmp_path / "logs", tmp_path / "run")
    assert sorted(set(store.read(tmp_path / "run").column("step").to_pylist())) == steps


def test_a_log_that_is_still_written_has_its_head_in_the_journal(tmp_path: Path) -> None:
    sample = {"id": 1, "epoch": 1, "input": "q", "target": "t", "output": {"completion": "a"}}
    with zipfile.ZipFile(tmp_path / "a.eval", "w") as archive:
        archive.writestr("_journal/start.json", json.dumps({"eval": {"task": "mine"}, "plan": {}}))
        archive.writestr("samples/1_epoch_1.json", json.dumps(sample))
    load(tmp_path / "a.eval", tmp_path / "run")
    (row,) = store.read(tmp_path / "run").to_pylist()
    assert (row["task"], row["completion"], row["verdict"]) == ("mine", "a", None)
