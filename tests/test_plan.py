"""The plan: sizes from configurations, memory by strategy, batch of every rank, and what it says when nothing fits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from r1rl import cli, plan, plan_memory, plan_models
from r1rl.recipe_values import RecipeError

ROOT = Path(__file__).resolve().parent.parent
TINY = ROOT / "recipes" / "tiny" / "countdown.yaml"


@pytest.mark.parametrize(
    ("name", "published"),
    [("Qwen/Qwen2.5-0.5B", 494_032_768), ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512)],
    ids=["tied embeddings", "untied, an instruct model of the same shape"],
)
def test_parameters_are_those_published(name: str, published: int) -> None:
    assert plan_models.size(name).parameters == published


def test_a_folder_with_a_configuration_alone(tmp_path: Path) -> None:
    plan_models.qwen25("0.5b").save_pretrained(tmp_path)
    size = plan_models.size(str(tmp_path))
    assert (size.parameters, size.layers, size.kv_values) == (494_032_768, 24, 2 * 24 * 2 * 64)
    assert plan_models.tokenizer(str(tmp_path)) is None or size.vocabulary == 151936


def test_experts_count_as_they_are_used() -> None:
    from transformers import MixtralConfig

    config = MixtralConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=100, num_local_experts=8, num_experts_per_tok=2,
    )  # fmt: skip
    size = plan_models.of_config(config, "here")
    assert size.parameters - size.active == 6 * 2 * 3 * 32 * 64  # six idle experts, two layers, three matrices


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-9B", "someone/some-model"])
def test_an_unknown_model_names_what_is_known(name: str) -> None:
    with pytest.raises(RecipeError, match=r"config\.json, or one of Qwen2\.5-0\.5B"):
        plan_models.size(name)


def work(**changes: Any) -> plan_memory.Workload:
    settings: dict[str, Any] = {
        "processes": 4, "bf16": True, "weights_bytes": 4, "pass_tokens": 0, "cached_tokens": 0,
        "checkpointing": True, "vllm": None, "embedded": True,
    }  # fmt: skip
    return plan_memory.Workload(**(settings | changes))


SIZE = plan_models.Size(1000, 1000, 2, 8, 16, 32, 20, 16, "made up")


@pytest.mark.parametrize(
    ("strategy", "states"),
    [
        pytest.param("ddp", (4000, 4000, 8000), id="ddp: 16 bytes a parameter"),
        pytest.param("zero2", (2000, 500, 3000), id="zero2: 2 + (2 + 12) / 4"),
        pytest.param("zero3", (500, 500, 3000), id="zero3: 16 / 4"),
        pytest.param("zero3_offload", (0, 500, 0), id="zero3_offload: gradients alone"),
        pytest.param("fsdp", (1000, 1000, 2000), id="fsdp: 16 / 4 in float32"),
    ],
)
def test_states_by_strategy(strategy: str, states: tuple[int, ...]) -> None:
    memory = plan_memory.memory(strategy, SIZE, work())
    assert (memory.weights, memory.gradients, memory.optimizer) == states
    assert memory.host == (3500 if strategy == "zero3_offload" else 0)


def test_sampling_and_update_do_not_add_up() -> None:
    memory = plan_memory.memory("ddp", SIZE, work(cached_tokens=10**7, pass_tokens=10))
    assert memory.kv_cache == 10**7 * 20 * 2
    assert memory.peak == memory.always + memory.sampling + memory.kv_cache
    limited = plan_memory.memory("ddp", SIZE, work(cached_tokens=10**7, kv_limit=1e6))
    assert limited.kv_cache == 1e6


def recipe(folder: Path, **changes: Any) -> Path:
    path = folder / "seven.yaml"
    content = {
        "model_name_or_path": "Qwen/Qwen2.5-7B", "prompts_per_step": 16, "num_generations": 8, "max_steps": 10,
        "train_size": 64, "heldout_size": 8, "launcher": "ddp",
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content | changes))
    return path


def test_what_does_not_fit_says_what_would(tmp_path: Path) -> None:
    made = plan.make(recipe(tmp_path), [], plan.Machines(gpus=8, price=2.0), check_gold=False)
    assert not made.fits("ddp")
    assert made.fits("zero3")
    text = "\n".join(plan.lines(made))
    for expected in (
        "does not fit: ddp needs",
        "what to change: --launcher zero2",
        "rank 1: prompts 2-3",
        "each process 16 rollouts",
        "no tokenizer is here",
        "--num_processes 8",
        "at 2 a GPU-hour",
    ):
        assert expected in text
    assert made.work.cost == pytest.approx(2 * made.work.gpu_hours)
    assert made.work.hours == pytest.approx(made.work.gpu_hours / 8)


def test_too_few_gpus_say_how_many_would_do(tmp_path: Path) -> None:
    path = recipe(
        tmp_path, model_name_or_path="Qwen/Qwen2.5-32B", launcher="zero3", prompts_per_step=512, train_size=512
    )
    made = plan.make(path, [], plan.Machines(gpus=2, gpu_memory=100e9), check_gold=False)
    advice = "\n".join(plan.advice(made))
    assert "zero3 over at least" in advice
    enough = int(advice.rpartition("at least ")[2].split()[0])
    fitting = next(count for count in (4, 8, 16, 32, 64, 128) if count >= enough)
    more = plan.make(path, [], plan.Machines(gpus=fitting, gpu_memory=100e9), check_gold=False)
    assert more.fits("zero3")


def test_checkpointing_is_read_from_the_recipe(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    with_it, without = (
        plan.make(path, ["--gradient_checkpointing", value], plan.Machines(gpus=8), check_gold=False)
        for value in ("true", "false")
    )
    assert with_it.memory["ddp"].activations < without.memory["ddp"].activations
    assert with_it.work.update_flops == pytest.approx(without.work.update_flops * 4 / 3)


def test_the_command_prints_json_and_takes_recipe_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", str(TINY), "--gpus", "0", "--nodes", "2", "--json", "--prompts_per_step", "4"]
    assert cli.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["processes"] == 2
    assert found["batch"]["rollouts"] == 2 * 16
    assert found["gold"].startswith("all of the first 512")
    assert set(found["memory"]) == set(plan_memory.STRATEGIES)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--gpus", "5"], "cannot be shared by 5 processes", id="batch that cannot be cut"),
        pytest.param(["--nodes", "0"], "need at least 1", id="no machine"),
        pytest.param(["--gpu-memory", "0"], "need more than 0", id="no memory"),
        pytest.param(["--gpus", "many"], "invalid int value", id="no number"),
    ],
)
def test_wrong_machines_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: Any = cli.main(["plan", str(TINY), "--no-gold", *words])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
