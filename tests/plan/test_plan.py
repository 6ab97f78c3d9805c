"""The plan: sizes from configurations, memory by strategy, batch of every rank, what a run really took, the docs."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from r1rl import cli
from r1rl.ground.errors import RecipeError
from r1rl.models import resolve as models
from r1rl.plan import memory as plan_memory
from r1rl.plan import plan
from r1rl.plan import sizes as plan_models
from r1rl.plan import text as plan_text
from r1rl.plan.work import Machines

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "recipes" / "tiny" / "countdown.yaml"


@pytest.mark.parametrize(
    ("name", "published"),
    [("Qwen/Qwen2.5-0.5B", 494_032_768), ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512)],
    ids=["tied embeddings", "untied, an instruct model of the same shape"],
)
def test_parameters_are_those_published(name: str, published: int) -> None:
    assert plan_models.size(name).parameters == published


def test_a_folder_with_a_configuration_alone(tmp_path: Path) -> None:
    plan_models.known("Qwen2.5", "0.5B").save_pretrained(tmp_path)
    size = plan_models.size(str(tmp_path))
    assert (size.parameters, size.layers, size.kv_values) == (494_032_768, 24, 2 * 24 * 2 * 64)
    assert models.tokenizer(str(tmp_path), to_train=False) is None


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


def test_deepseek_v3_has_the_published_sizes() -> None:
    size = plan_models.size("deepseek-ai/DeepSeek-V3-Base")
    assert round(size.parameters / 1e9) == 671
    assert round(size.active / 1e9) in (37, 38)  # 37B by their count, which leaves the embedding out
    assert size.kv_values == 61 * (512 + 64)  # the latent and the rotary key of each layer


def work(**changes: Any) -> plan_memory.Workload:
    settings: dict[str, Any] = {
        "processes": 4, "bf16": True, "weights_bytes": 4, "pass_tokens": 0, "context": 0, "cached_tokens": 0,
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


def test_vllm_that_sleeps_is_not_there_in_the_update() -> None:
    awake, sleeping = (
        plan_memory.memory("zero3", SIZE, work(embedded=False, vllm=1e6, pass_tokens=1000, vllm_sleeps=sleeps))
        for sleeps in (False, True)
    )
    assert awake.peak == awake.always + awake.activations + awake.exchange
    assert awake.always - sleeping.always == 1e6
    assert sleeping.peak == sleeping.always + max(sleeping.activations + sleeping.exchange, sleeping.sampling + 1e6)


def test_a_reference_model_is_shared_out_as_the_weights_are() -> None:
    whole, shared = (plan_memory.memory(name, SIZE, work(reference=True)).reference for name in ("ddp", "zero3"))
    assert (whole, shared) == (4000, 500)
    assert plan_memory.memory("ddp", SIZE, work()).reference == 0


def test_a_process_on_a_cpu() -> None:
    settings = {"on_cpu": True, "bf16": False, "processes": 1, "checkpointing": False, "cached_tokens": 100}
    memory = plan_memory.memory("ddp", SIZE, work(**settings, pass_tokens=10, context=30))
    assert memory.libraries == plan_memory.HOST_LIBRARIES
    assert (memory.weights, memory.gradients, memory.optimizer, memory.exchange) == (4000, 4000, 8000, 0)
    assert memory.activations == 10 * 4 * (2 * (13 * 8 + 4 * 16) + 32)  # no heads: no attention weights
    assert memory.kv_cache == 100 * 20 * 4  # float32 even where sampling is in bfloat16
    assert memory.sampling == 0  # a small policy samples itself
    living = 16000 + memory.activations
    assert memory.peak == pytest.approx(memory.libraries + (1 + plan_memory.HOST_HEAP) * living)
    larger = plan_models.Size(10**7, 10**7, 2, 8, 16, 32, 20, 16, "made up")
    assert plan_memory.memory("ddp", larger, work(**settings)).sampling == 4e7
    assert plan_memory.memory("zero2", SIZE, work(**settings)).libraries > memory.libraries


def recipe(folder: Path, **changes: Any) -> Path:
    path = folder / "seven.yaml"
    content = {
        "model_name_or_path": "Qwen/Qwen2.5-7B", "prompts_per_step": 16, "num_generations": 8, "max_steps": 10,
        "train_size": 64, "heldout_size": 8, "launcher": "ddp",
    }  # fmt: skip
    path.write_text(yaml.safe_dump(content | changes))
    return path


def test_what_does_not_fit_says_what_would(tmp_path: Path) -> None:
    made = plan.make(recipe(tmp_path), [], Machines(gpus=8, price=2.0), check_gold=False)
    assert not made.fits("ddp")
    assert made.fits("zero3")
    text = "\n".join(plan_text.lines(made))
    for expected in (
        "does not fit: ddp needs",
        "what to change: --launcher zero2",
        "each process 16",
        "no tokenizer is here",
        "--num_processes 8",
        "at 2 a GPU-hour",
    ):
        assert expected in text
    assert made.work.gpu_hours is not None
    assert made.work.cost == pytest.approx(2 * made.work.gpu_hours)
    assert made.work.hours == pytest.approx(made.work.gpu_hours / 8)


def test_too_few_gpus_say_how_many_would_do(tmp_path: Path) -> None:
    path = recipe(
        tmp_path, model_name_or_path="Qwen/Qwen2.5-32B", launcher="zero3", prompts_per_step=512, train_size=512
    )
    made = plan.make(path, [], Machines(gpus=2, memory=100e9), check_gold=False)
    advice = "\n".join(plan_text.advice(made))
    assert "zero3 over at least" in advice
    enough = int(advice.rpartition("at least ")[2].split()[0])
    fitting = next(count for count in (4, 8, 16, 32, 64, 128) if count >= enough)
    more = plan.make(path, [], Machines(gpus=fitting, memory=100e9), check_gold=False)
    assert more.fits("zero3")


def test_checkpointing_is_read_from_the_recipe(tmp_path: Path) -> None:
    path = recipe(tmp_path)
    with_it, without = (
        plan.make(path, ["--gradient_checkpointing", value], Machines(gpus=8), check_gold=False)
        for value in ("true", "false")
    )
    assert with_it.memory["ddp"].activations < without.memory["ddp"].activations
    assert with_it.work.update_flops == pytest.approx(without.work.update_flops * 4 / 3)
    assert without.work.gpu_hours is not None


def test_the_command_prints_json_and_takes_recipe_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", str(TINY), "--gpus", "0", "--nodes", "2", "--json", "--prompts_per_step", "4"]
    assert cli.main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["processes"] == 2
    assert found["batch"]["rollouts"] == 2 * 16
    assert found["gold"].startswith("all of the first 512")
    assert set(found["memory"]) == set(plan_memory.STRATEGIES)
    assert found["work"]["hours"] is None  # nobody knows a CPU's peak


def test_a_recipe_without_gpus_is_compared_with_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan.work.machine, "memory_gib", lambda: 8.0)
    made = plan.make(TINY, ["--launcher", "zero2:2"], Machines(gpus=0), check_gold=False)
    assert made.machines.processes == 2
    assert made.loaded.batch.rollouts == 6 * 16
    assert made.machines.share == 4 * 2**30
    assert made.fits("zero2")
    assert 0.6e9 < made.memory["zero2"].peak < 1.2e9
    text = "\n".join(plan_text.lines(made))
    assert "CPU: 2 process(es), 4.3 GB of memory each" in text
    assert "time      not estimated for a CPU" in text
    assert "80" not in "\n".join(plan_text.advice(made))


def finished_run(folder: Path, peaks: list[int] | None, gpus: int = 0) -> Path:
    folder.mkdir()
    (folder / "environment.json").write_text(json.dumps({"gpus": [{}] * gpus}))
    (folder / "result.json").write_text(json.dumps({} if peaks is None else {"peak_memory_bytes": peaks}))
    return folder


def test_predicted_beside_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished_run(tmp_path / "run", [10**9, 5 * 10**8])
    assert cli.main(["plan", str(TINY), "--gpus", "0", "--check", str(run), "--launcher", "zero3:2"]) == 0
    shown = capsys.readouterr().out
    assert "measured 1.000 GB at most in one of 2 process(es)" in shown
    made = plan.make(TINY, ["--launcher", "zero3:2"], Machines(gpus=0), check_gold=False)
    assert f"predicted / measured = {made.memory['zero3'].peak / 1e9:.2f}" in shown


@pytest.mark.parametrize(
    ("peaks", "gpus", "message"),
    [
        pytest.param(None, 0, "recorded no peak memory", id="made before peaks were recorded"),
        pytest.param([10**9], 1, "a run on GPUs", id="GPUs"),
        pytest.param([10**9] * 3, 0, "the run had 3 process", id="another number of processes"),
    ],
)
def test_runs_that_cannot_be_compared(peaks: list[int] | None, gpus: int, message: str, tmp_path: Path) -> None:
    run = finished_run(tmp_path / "run", peaks, gpus)
    made = plan.make(TINY, [], Machines(gpus=0), check_gold=False)
    with pytest.raises(RecipeError, match=message):
        list(plan_text.check(made, run))
    with pytest.raises(RecipeError, match="no finished run there"):
        list(plan_text.check(made, tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--gpus", "5"], "cannot be shared by 5 processes", id="batch that cannot be cut"),
        pytest.param(["--nodes", "0"], "need a positive number", id="no machine"),
        pytest.param(["--gpu-memory", "0"], "need a positive number", id="no memory"),
        pytest.param(["--gpus", "many"], "invalid int value", id="no number"),
    ],
)
def test_wrong_machines_are_one_line(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: Any = cli.main(["plan", str(TINY), "--no-gold", "--gpus", "1", *words])
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def shown_in_the_docs() -> list[Any]:
    """The commands in docs/plan.md, each with the lines of output below it; `...` stands for lines left out."""
    found = []
    for block in (ROOT / "docs" / "plan.md").read_text().split("```")[1::2]:
        command, *output = block.strip("\n").splitlines()
        if command.startswith("$ r1rl plan"):
            found.append(pytest.param(command, [line for line in output if line.strip() != "..."], id=command[12:60]))
    assert len(found) >= 3
    return found


@pytest.mark.parametrize(("command", "output"), shown_in_the_docs())
def test_the_docs_show_what_plan_prints(
    command: str, output: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert cli.main(shlex.split(command)[2:]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line for line in printed if line in output] == output


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"path": "not_here.jsonl", "verifier": "math"}, id="no file"),
        pytest.param({"dataset": "nobody/nothing-at-all"}, id="no data set"),
    ],
)
def test_a_plan_without_golds_needs_no_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: dict[str, Any]
) -> None:
    content = yaml.safe_load(TINY.read_text()) | {"task": "file", "task_options": options}
    (path := tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    assert cli.main(["plan", str(path), "--no-gold"]) == 0
    assert "a problem of the data, which is not here" in capsys.readouterr().out
    assert cli.main(["plan", str(path)]) == 2
    path.write_text(yaml.safe_dump(content | {"heldout_size": 0}))
    assert cli.main(["plan", str(path), "--no-gold"]) == 2  # all else is checked


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Qwen/Qwen2.5-0.5B", 0.494), ("Qwen/Qwen2.5-Math-7B", 7.616), ("Qwen/Qwen2.5-32B-Instruct", 32.764),
        ("Qwen/Qwen3-0.6B-Base", 0.596), ("Qwen/Qwen3-1.7B", 1.721), ("Qwen/Qwen3-4B", 4.022), ("Qwen/Qwen3-8B", 8.191),
        ("Qwen/Qwen3-14B", 14.768), ("meta-llama/Llama-3.2-1B", 1.236), ("meta-llama/Llama-3.2-3B-Instruct", 3.213),
        ("meta-llama/Llama-3.1-8B", 8.030), ("mistralai/Mistral-7B-v0.1", 7.242),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", 1.777),
    ],
)  # fmt: skip
def test_known_models_have_the_published_number_of_parameters(name: str, billions: float) -> None:
    assert plan_models.size(name).parameters / 1e9 == pytest.approx(billions, abs=0.001)


LORA = ["--use_peft", "true", "--lora_r", "8", "--dtype", "bfloat16", "--model_name_or_path", "Qwen/Qwen2.5-0.5B"]


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        pytest.param([], 24 * 8 * (2 * 896 + 896 + 128), id="peft's own choice: queries and values"),
        pytest.param(["--lora_target_modules", "o_proj"], 24 * 8 * 2 * 896, id="one kind of layer"),
        pytest.param(
            ["--lora_target_modules", "all-linear"],
            24 * 8 * (4 * 896 + 2 * (896 + 128) + 3 * (896 + 4864)),
            id="all but the head",
        ),
    ],
)
def test_with_lora_only_adapters_have_gradients_and_moments(words: list[str], numbers: int) -> None:
    made = plan.make(TINY, [*LORA, *words, "--beta", "0.1"], Machines(gpus=1), check_gold=False)
    whole = plan.make(TINY, [*LORA, "--use_peft", "false", "--beta", "0.1"], Machines(gpus=1), check_gold=False)
    assert made.workload.adapters == numbers
    for name in ("ddp", "fsdp"):
        held, full = made.memory[name], whole.memory[name]
        assert (held.gradients, held.optimizer) == (4 * numbers, 8 * numbers)
        assert held.weights == full.weights + 4 * numbers
        assert held.reference == 0 < full.reference  # the model without its adapters
    assert made.memory["zero3"].optimizer == 12 * numbers
    assert made.work.update_flops < whole.work.update_flops
    assert "in adapters are trained" in next(iter(plan_text.lines(made)))


def test_adapters_of_layers_that_are_not_there_are_refused() -> None:
    with pytest.raises(RecipeError, match="no such layer"):
        plan.make(TINY, [*LORA, "--lora_target_modules", "wq"], Machines(gpus=1), check_gold=False)
