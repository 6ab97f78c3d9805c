"""Recipes of open-r1 and TRL as r1rl's: what stays, what is renamed, derived or left out, and that it loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from r1rl import cli
from r1rl.ground.errors import RecipeError
from r1rl.recipe import foreign
from r1rl.recipe.load import load

OPEN_R1 = {
    "model_name_or_path": "Qwen/Qwen2.5-1.5B-Instruct", "model_revision": "main", "torch_dtype": "bfloat16",
    "attn_implementation": "flash_attention_2", "dataset_name": "someone/MATH", "dataset_configs": ["all"],
    "num_processes": 7, "bf16": True, "vllm_device": "auto", "do_eval": True, "eval_strategy": "steps",
    "eval_steps": 100, "gradient_accumulation_steps": 16, "gradient_checkpointing": True,
    "gradient_checkpointing_kwargs": {"use_reentrant": False}, "hub_model_id": "x/y", "hub_strategy": "every_save",
    "learning_rate": 2.0e-5, "log_completions": True, "log_level": "info", "lr_scheduler_type": "cosine",
    "max_prompt_length": 512, "max_completion_length": 1024, "max_steps": -1, "num_generations": 7,
    "num_train_epochs": 1, "output_dir": "data/Qwen-GRPO", "overwrite_output_dir": True,
    "per_device_eval_batch_size": 32, "per_device_train_batch_size": 16, "push_to_hub": True, "report_to": ["none"],
    "save_strategy": "epoch", "save_total_limit": 1, "seed": 42, "warmup_ratio": 0.1,
}  # fmt: skip


def test_an_open_r1_recipe_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "config_demo.yaml", tmp_path / "demo.yaml"
    data = tmp_path / "data"
    data.mkdir()
    rows = [{"problem": f"{n} + 1?", "solution": rf"So \boxed{{{n + 1}}}."} for n in range(700)]
    (data / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = {key: value for key, value in OPEN_R1.items() if key != "dataset_configs"}
    text = yaml.safe_dump({**recipe, "dataset_name": str(data)})
    source.write_text(text + "do_eval: true\n")  # twice, as in some of theirs
    assert cli.main(["init", "--from", str(source), "--to", str(target)]) == 0
    loaded = load(target, check_only=True)
    assert {row.gold for row in loaded.task.every_row()} == {str(n + 1) for n in range(700)}  # type: ignore[attr-defined]
    assert (loaded.recipe.prompts_per_step, loaded.grpo.num_generations) == (259, 7)
    assert loaded.recipe.reward_funcs == ["accuracy", "format", "tag-count"]
    assert (loaded.recipe.name, loaded.grpo.learning_rate, loaded.grpo.seed) == ("Qwen-GRPO", 2e-5, 42)
    out = capsys.readouterr().out
    for key in ("torch_dtype", "vllm_device", "max_prompt_length", "num_processes", "dataset_…", "tag_count"):
        assert key in out


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param({"reward_funcs": ["accuracy"]}, {"reward_funcs": ["accuracy"]}, id="one reward"),
        pytest.param(
            {"reward_funcs": ["accuracy", "format", "soft_format"], "reward_weights": [1.0, 0.25, 0.25]},
            {"reward_funcs": ["accuracy", "format", "format-soft"], "reward_weights": [1.0, 0.25, 0.25]},
            id="weights",
        ),
        pytest.param(
            {"reward_funcs": ["cf_code", "format"], "reward_weights": [1.0, 0.1]},
            {"reward_funcs": ["format"], "reward_weights": [0.1]},
            id="a reward without a counterpart takes its weight along",
        ),
        pytest.param({"system_prompt": "Think."}, {"prompt_options": {"system": "Think."}}, id="system prompt"),
        pytest.param({"do_eval": False}, {"eval_steps": 0}, id="no evaluation"),
        pytest.param({"scale_rewards": False}, {"scale_rewards": "none"}, id="Dr. GRPO's scale"),
        pytest.param(
            {"dataset_prompt_column": "prompt_c++17"},
            {"task_options": {
                "dataset": "someone/MATH", "config": "all", "question_column": "prompt_c++17",
                "answer_column": "solution", "answer_pattern": foreign._BOXED,
            }},
            id="prompt column",
        ),
        pytest.param({"num_processes": None, "num_generations": 16}, {"prompts_per_step": 128}, id="eight processes"),
    ],
)  # fmt: skip
def test_keys_that_are_said_otherwise(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    found, said = foreign.translated({**OPEN_R1, **changes})
    assert {key: found[key] for key in expected} == expected
    assert said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"model_name_or_path": None}, "no model_name_or_path", id="no model"),
        pytest.param({"dataset_name": ""}, "no dataset_name", id="no data"),
        pytest.param({"reward_funcs": ["cf_code"]}, "none of its rewards", id="no reward"),
        pytest.param({"reward_weights": [1.0]}, "1 reward_weights for 3", id="weights"),
    ],
)
def test_what_cannot_be_said(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        foreign.translated({**OPEN_R1, **changes})
