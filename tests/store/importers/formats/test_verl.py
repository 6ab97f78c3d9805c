"""verl's dumps: by verl itself, and made up in its format.

`files/verl` was written by verl 0.9.1, from PyPI and unchanged, on made-up rollouts: `train` by
`RayPPOTrainer._log_rollout_data` (a `DataProto` of prompts, responses, token-level scores and golds with NumPy arrays,
as Parquet files give them; `global_steps` 1 and 2), `validation` by `_dump_generations` as `_validate` calls it
(`global_steps` 0; `reward_extra_infos_dict` with `reward` and `acc`). The trainer was made by `__new__` with a
tokenizer that has one id a text, and `_init_dump_executor`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from r1rl.store import store
from r1rl.store.importers import Settings, load


def verl_dump(folder: Path, step: int, scores: list[float], extra: dict[str, list[Any]], gts: list[Any]) -> None:
    """A step's file as verl writes it.

    The format of `RayPPOTrainer._dump_generations` (verl/trainer/ppo/ray_trainer.py, read at commit 3d9df733): the
    file is called `{global_steps}.jsonl`; keys in this order, each list of `reward_extra_infos_dict` that has a value
    for every row follows, and one of the same name replaces it; no escapes of non-ASCII text; a line feed at the end.
    Training dumps come from `trainer.rollout_data_dir` with global_steps from 1 on, with `request_id` where rollouts
    are asynchronous, validation from `trainer.validation_data_dir`, before training as 0.
    """
    n = len(scores)
    base_data = {
        "input": [f"user\nWhat is {i // 2} + 1?\nassistant\n" for i in range(n)],
        "output": [f"<think>é</think> It is \\boxed{{{i}}}" for i in range(n)],
        "gts": gts,
        "score": scores,
        "step": [step] * n,
        **{key: values for key, values in extra.items() if len(values) == n},
    }
    lines = [json.dumps({key: values[i] for key, values in base_data.items()}, ensure_ascii=False) for i in range(n)]
    folder.mkdir(exist_ok=True)
    (folder / f"{step}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_verl_dumps(tmp_path: Path) -> None:
    gold = ["1", "1", "2", "2"]
    for step in (1, 2, 10):
        extra = {"acc": [False, True, True, False], "pred": list("abcd"), "request_id": ["r"] * 4, "uneven": [1]}
        verl_dump(tmp_path / "dump", step, [-1.0, 1.0, 1.0, float("nan")], extra, gold)
    done = load(tmp_path / "dump", tmp_path / "run")
    assert (done.rollouts, done.steps, done.left_out) == (12, 3, ("pred", "request_id"))
    rows = store.read(tmp_path / "run").to_pylist()
    assert [r["step"] for r in rows] == [0] * 4 + [1] * 4 + [9] * 4, "in order of numbers, and as updates made before"
    assert [r["verdict"] for r in rows[:4]] == ["wrong", "correct", "correct", "wrong"]
    assert [r["reward"] for r in rows[:4]] == [-1.0, 1.0, 1.0, None]
    assert [r["reward_acc"] for r in rows[:4]] == [0.0, 1.0, 1.0, 0.0]
    assert [r["sample_idx"] for r in rows[:4]] == [0, 1, 0, 1]
    assert rows[0]["prompt"] == "user\nWhat is 0 + 1?\nassistant\n"
    assert rows[0]["completion"] == "<think>é</think> It is \\boxed{0}"

    load(tmp_path / "dump" / "10.jsonl", tmp_path / "validation", settings=Settings(kind="eval"))
    assert set(store.read(tmp_path / "validation").column("step").to_pylist()) == {10}


def test_verl_steps_of_file_names(tmp_path: Path) -> None:
    """As where `step` was not dumped, or was lost on the way."""
    verl_dump(tmp_path / "dump", 120, [1.0], {}, ["1"])
    path = tmp_path / "dump" / "120.jsonl"
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != "step"}))
    assert load(path, tmp_path / "run").format == "verl"
    assert store.read(tmp_path / "run").column("step").to_pylist() == [119]


def test_files_of_verl_itself(tmp_path: Path) -> None:
    dumps = Path(__file__).parents[1] / "files" / "verl"
    how = Settings(task="countdown", verifier="countdown")
    done = load(dumps / "train", tmp_path / "run", settings=how)
    assert (done.rollouts, done.steps, done.left_out) == (8, 2, ("pred", "request_id"))
    rows = store.read(tmp_path / "run").to_pylist()
    assert [r["step"] for r in rows] == [0] * 4 + [1] * 4
    assert [r["gold"] for r in rows[:4]] == ["22", "22", "4", "4"]
    assert json.loads(rows[0]["meta"]) == {"numbers": [3, 5, 7]}, "verl wrote the array as text"
    assert [r["verdict"] for r in rows[:4]] == ["correct", "wrong", "bad_gold", "bad_gold"]
    assert [r["reward"] for r in rows[:4]] == pytest.approx([1.0, 0.1, 1.0, 0.0])
    assert [r["sample_idx"] for r in rows[:4]] == [0, 1, 0, 1]
    assert rows[2]["completion"] == "Two and two — é — is \\boxed{4}."

    load(dumps / "validation", tmp_path / "validation", settings=Settings(kind="eval"))
    table = store.read(tmp_path / "validation")
    assert "reward_reward" not in table.column_names, "the score, which is there already"
    assert [r["verdict"] for r in table.to_pylist()] == ["correct", "wrong", "correct", "wrong"]
    assert table.column("reward").to_pylist() == pytest.approx([1.0, 0.1, 1.0, 0.0])


def test_verl_judged_again_and_tinyzero_gold(tmp_path: Path) -> None:
    gts = [{"target": 22, "numbers": [3, 5, 7]}] * 2
    verl_dump(tmp_path / "dump", 1, [0.0, 0.0], {}, gts)
    text = (tmp_path / "dump" / "1.jsonl").read_text()
    (tmp_path / "dump" / "1.jsonl").write_text(text.replace("\\\\boxed{1}", "<answer>3 * 5 + 7</answer>"))
    load(tmp_path / "dump", tmp_path / "run", settings=Settings(verifier="countdown", task="countdown"))
    rows = store.read(tmp_path / "run", columns=["gold", "meta", "verdict", "verdict_reason"]).to_pylist()
    assert [r["gold"] for r in rows] == ["22", "22"]
    assert json.loads(rows[0]["meta"]) == {"numbers": [3, 5, 7]}
    assert [r["verdict"] for r in rows] == ["unparseable", "correct"]
    assert "<answer>" in rows[0]["verdict_reason"]
