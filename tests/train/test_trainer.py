"""ZeroTrainer against TRL: what is overridden, and that it computes the same."""

import copy
import hashlib
import inspect
import json
import math
import shutil
from dataclasses import replace

import pytest
import torch
from tiny_training import TINY, build, folder_of, run
from trl import GRPOTrainer
from trl.generation.vllm_generation import VLLMGeneration

from r1rl.ground.errors import RunFailedError
from r1rl.models.base import tokenizer
from r1rl.recipe import load as recipe
from r1rl.run import folder as run_folder
from r1rl.store import store
from r1rl.tasks.countdown import Countdown
from r1rl.train import main as train
from r1rl.verify.verdict import OUTCOMES

# Hash of each upstream source that an override (or what it relies on) was written against. Where one differs: read
# the new source, check the override in r1rl/train/trainer.py, then renew the hash.
UPSTREAM = {
    "_generate_single_turn": "e0f02e4fc094cefd",
    "_generate": "2a27fdf8f5e6f356",
    "_calculate_rewards": "736ae29b083840b5",
    "_generate_and_score_completions": "1fa48922792dcd5c",
    "_get_per_token_logps_and_entropies": "ea73c3909275851d",
    "_compute_loss": "80295546bbdbf6f7",
    "_prepare_inputs": "f824e7fb07147956",
    "_init_training_state": "8fbd17ebb7d3793d",
    "_get_train_sampler": "36497afb4d311dc9",
    "_run_epoch": "31aff00f34c302a2",
    "_save_checkpoint": "ec91bde123649111",
    "_save_rng_state": "27a97d1061240f42",
    "_load_rng_state": "d5ebdfc0a0884c4b",
    "training_step": "9e18632f7dd8e8d8",
}


UPSTREAM_VLLM = {"_init_vllm": "0e584002e0f6a9c0", "generate": "2d2ac2be5b1309c4", "sync_weights": "63d669fb32304ff5"}


@pytest.mark.parametrize(
    ("owner", "name", "known"),
    [(GRPOTrainer, *pair) for pair in UPSTREAM.items()] + [(VLLMGeneration, *pair) for pair in UPSTREAM_VLLM.items()],
)
def test_upstream_is_what_the_override_was_written_against(owner, name, known):
    source = inspect.getsource(getattr(owner, name))
    assert hashlib.sha256(source.encode()).hexdigest()[:16] == known


def test_a_run_resumed_in_a_later_epoch_goes_on_with_the_problems_of_that_epoch(small_run):
    words = ["--train_size", "8", "--eval_steps", "0", "--save_steps", "5"]  # two steps an epoch
    whole = run(small_run, *words, "--max_steps", "7", name="whole")
    run(small_run, *words, "--max_steps", "5", name="cut")
    cut = run(small_run, *words, "--max_steps", "7", "--resume", "true", name="cut")
    rows = [
        [
            (row["step"], row["prompt_id"], row["completion"])
            for row in store.read(folder.path, kind="train").to_pylist()
        ]
        for folder in (whole, cut)
    ]
    assert rows[0] == rows[1]
    orders = [tuple(row[1] for row in rows[0] if row[0] // 2 == epoch) for epoch in range(3)]
    assert len(set(orders)) == 3, "else this could not fail"


def test_every_rollout_is_stored_with_the_advantage_it_was_trained_on(small_run):
    folder = run(small_run)
    rows = store.read(folder.path, kind="train").to_pylist()
    assert len(rows) == 3 * 4 * 4
    eos = tokenizer.build().eos_token_id
    groups = {}
    for row in rows:
        groups.setdefault(row["group_id"], []).append(row)
        assert row["n_tokens"] == len(row["token_ids"]) == len(row["logprobs"])
        assert all(-50 < logprob <= 0 for logprob in row["logprobs"])
        assert row["reward"] == pytest.approx(row["reward_accuracy"] + 0.1 * row["reward_format"])
        assert row["reward_accuracy"] == (row["verdict"] == "correct")
        ended = row["token_ids"][-1] == eos or "</answer>" in row["completion"]
        assert (row["finish_reason"] == "length") == (row["n_tokens"] == 48 and not ended)
    assert len(groups) == 12
    for group in groups.values():
        assert len({row["prompt_id"] for row in group}) == 1
        assert [row["sample_idx"] for row in group] == [0, 1, 2, 3]
        rewards = torch.tensor([row["reward"] for row in group])
        expected = (rewards - rewards.mean()) / (rewards.std() + 1e-4)  # DeepSeekMath, with TRL's sample std + 1e-4
        assert torch.allclose(torch.tensor([row["advantage"] for row in group]).float(), expected, atol=1e-4)


def test_evaluations_cover_the_same_heldout_prompts_at_every_evaluated_step(small_run):
    folder = run(small_run)
    train_prompts = set(store.read(folder.path, kind="train", columns=["prompt_id"])["prompt_id"].to_pylist())
    seen = {}
    for row in store.read(folder.path, kind="eval").to_pylist():
        seen.setdefault((row["temperature"], row["step"]), []).append((row["prompt_id"], row["sample_idx"]))
        assert row["prompt_id"] not in train_prompts
    for temperature, count in ((1.0, 2), (0.0, 1)):
        for step in (0, 2, 3):
            found = seen[temperature, step]
            assert len(found) == len(set(found)) == 6 * count
            assert set(found) == set(seen[temperature, 0])
    assert {step for _, step in seen} == {0, 2, 3}
    groups = store.read(folder.path, kind="eval", steps=[0], columns=["group_id"])["group_id"].to_pylist()
    assert len(set(groups)) == 2 * 6, "a greedy completion is a group of its own"


def test_metrics_have_the_keys_that_the_report_reads(small_run):
    folder = run(small_run)
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    steps = [line for line in lines if "reward" in line]
    assert [line["step"] for line in steps] == [1, 2, 3]
    for line in steps:
        assert {
            "task_accuracy", "rewards/accuracy/mean", "rewards/format/mean", "completions/mean_length",
            "completions/clipped_ratio", "entropy", "grad_norm", "learning_rate", "step_time", "aha/marker_strict_rate",
        } <= set(line)  # fmt: skip
    rows = store.read(folder.path, kind="train", steps=[0]).to_pylist()
    first = steps[0]
    assert first["reward"] == pytest.approx(sum(row["reward"] for row in rows) / len(rows), abs=1e-6)
    assert first["completions/mean_length"] == pytest.approx(sum(row["n_tokens"] for row in rows) / len(rows))
    clipped = sum(row["finish_reason"] == "length" for row in rows) / len(rows)
    assert first["completions/clipped_ratio"] == pytest.approx(clipped)


def test_task_accuracy_is_logged_when_the_reward_is_something_else(small_run):
    folder = run(small_run, "--reward_funcs", "format", "--reward_weights", "1.0", "--max_steps", "1")
    line = next(line for text in folder.metrics.read_text().splitlines() if "reward" in (line := json.loads(text)))
    assert "task_accuracy" in line
    assert "rewards/accuracy/mean" not in line


def test_a_group_that_cannot_be_judged_gets_no_gradient_and_no_reward(small_run):
    trainer = build(small_run)
    row = trainer.train_dataset[0]
    inputs = [dict(row, gold="not a number") for _ in range(4)] + [dict(row) for _ in range(4)]
    assert trainer.reward_func_names == ["accuracy", "format"], "format alone would pay the row all the same"
    trainer.model.train()
    output = trainer._generate_and_score_completions(inputs)
    assert output["advantages"][:4].tolist() == [0.0] * 4
    stored = store.read(trainer.folder.path, kind="train").to_pylist()
    assert [r["verdict"] for r in stored[:4]] == ["bad_gold"] * 4
    assert [r["reward"] for r in stored[:4]] == [None] * 4
    assert all(r["reward"] is not None for r in stored[4:])


@pytest.fixture
def some_bad_gold(monkeypatch):
    """Every third training problem and two held-out ones have a target that cannot be reached."""
    rows = Countdown.rows

    def with_bad(task, split, count):
        bad = {"train": range(0, 64, 3), "heldout": (0, 4)}[split]
        return [replace(r, gold="99999") if i in bad else r for i, r in enumerate(rows(task, split, count))]

    monkeypatch.setattr(Countdown, "rows", with_bad)


def test_bad_gold_is_listed_and_never_trained_on_or_evaluated(small_run, some_bad_gold):
    folder = run(small_run)
    listed = [json.loads(line) for line in (folder.path / "bad_gold.jsonl").read_text().splitlines()]
    assert [line["split"] for line in listed] == ["train"] * 22 + ["heldout"] * 2
    assert all("99999 cannot be made from" in line["reason"] for line in listed)
    stored = store.read(folder.path).to_pylist()
    assert not {row["prompt_id"] for row in stored} & {line["prompt_id"] for line in listed}
    assert {row["verdict"] for row in stored}.isdisjoint({"bad_gold"})
    assert len({row["prompt_id"] for row in stored if row["kind"] == "eval"}) == 6 - 2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param(["--bad_gold", "stop"], "bad_gold='stop': 24 of 70 gold answers", id="stop"),
        pytest.param(["--train_size", "4"], "prompts_per_step=4: only 2 of 4 training", id="less than a step"),
    ],
)
def test_bad_gold_can_end_the_run_before_its_first_step(small_run, some_bad_gold, overrides, message):
    with pytest.raises(recipe.RecipeError, match=message):
        run(small_run, *overrides)
    folder = folder_of(small_run)
    assert (folder / "bad_gold.jsonl").is_file()
    assert not (folder / "metrics.jsonl").exists()


def test_other_processes_take_the_first_ones_word_for_bad_gold(small_run, some_bad_gold, monkeypatch, tmp_path):
    """Two processes in turn: the first sends what it found, the second neither judges nor writes."""
    loaded = recipe.load(TINY, small_run)
    loaded.world_size = 2
    sent, process = [], 0
    monkeypatch.setattr(type(loaded.grpo), "process_index", property(lambda grpo: process))

    def broadcast(box):
        if process == 0:
            sent.extend(box)
        else:
            box[:] = sent

    monkeypatch.setattr("accelerate.utils.broadcast_object_list", broadcast)
    kept = []
    for process in (0, 1):  # read by the closures above
        folder = run_folder.create(f"process-{process}", tmp_path / "shared")
        kept.append(train.usable_rows(loaded, folder))
        monkeypatch.setattr("r1rl.tasks.gold.check", None)
        assert (folder.path / "bad_gold.jsonl").exists() == (process == 0)
    assert kept[0] == kept[1]
    assert [len(part) for part in kept[0]] == [42, 4]


def test_a_row_that_only_a_metric_cannot_judge_stays_in_its_group(small_run):
    trainer = build(small_run, "--reward_weights", "0.0", "1.0")
    trainer.model.train()
    trainer._generate_and_score_completions([dict(trainer.train_dataset[0], gold="not a number") for _ in range(8)])
    stored = store.read(trainer.folder.path, kind="train").to_pylist()
    assert [r["verdict"] for r in stored] == ["bad_gold"] * 8
    assert [r["reward"] for r in stored] == [r["reward_format"] for r in stored]


def test_every_rollout_has_one_outcome(small_run):
    folder = run(small_run, "--max_completion_length", "24")
    rows = store.read(folder.path, kind="train", steps=[0]).to_pylist()
    line = next(line for text in folder.metrics.read_text().splitlines() if "reward" in (line := json.loads(text)))
    shares = {name: line[f"verdicts/{name}"] for name in OUTCOMES[1:]}
    assert sum(shares.values()) + line["task_accuracy"] == pytest.approx(1)
    cut = [row for row in rows if row["finish_reason"] == "length" and row["verdict"] == "unparseable"]
    assert cut
    assert shares["truncated"] == pytest.approx(len(cut) / len(rows))


def test_a_rule_of_weight_zero_only_measures(small_run):
    folder = run(small_run, "--reward_weights", "1.0", "0.0", "--max_steps", "1")
    rows = store.read(folder.path, kind="train").to_pylist()
    assert {row["reward_format"] for row in rows} == {0.0, 1.0}
    assert all(row["reward"] == row["reward_accuracy"] for row in rows)


def test_transformers_generate_ends_where_the_engine_would(small_run):
    folder = run(small_run, "--engine", "generate", "--max_steps", "2")
    for row in store.read(folder.path, kind="train").to_pylist():
        assert row["completion"].count("</answer>") <= 1
        assert (row["finish_reason"] == "stop") == row["completion"].endswith("</answer>")


def test_truncated_completions_can_be_masked(small_run):
    trainer = build(small_run, "--mask_truncated_completions", "true", "--max_completion_length", "18")
    trainer.model.train()
    output = trainer._generate_and_score_completions([trainer.train_dataset[i // 4] for i in range(16)])
    truncated = torch.tensor([c.finish_reason == "length" for c in trainer.rollouts.completions])
    assert truncated.any()
    assert (output["completion_mask"].sum(1) == 0).equal(truncated)
    assert output["num_items_in_batch"] == output["completion_mask"].sum()
    trainer.current_gradient_accumulation_steps = 1
    assert math.isfinite(trainer._compute_loss(trainer.model, output).item())


def test_sampling_weights_follow_the_policy_in_bf16(small_run):
    trainer = build(small_run, "--bf16", "true", "--sampling_dtype", "bfloat16")
    ids = torch.tensor([[5, 9, 11, 7]])
    for _ in range(2):
        with torch.no_grad():
            for parameter in trainer.model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.02)
            plain = copy.deepcopy(trainer.model).to(torch.bfloat16)
            with trainer._sampling_model() as model:
                assert next(model.parameters()).dtype == torch.bfloat16
                gap = model(ids).logits.float().log_softmax(-1) - plain(ids).logits.float().log_softmax(-1)
        assert gap.abs().max() < 0.1


@pytest.mark.parametrize(
    ("words", "gap", "after"),
    [
        (["--sampling_dtype", "float32"], (0, 1e-4), torch.float32),
        (["--sampling_dtype", "bfloat16", "--max_logp_gap", "0"], (1e-4, 0.1), torch.bfloat16),  # as told
        (["--sampling_dtype", "auto"], (0, 1e-4), None),  # the recipe computes in float32
        (["--sampling_dtype", "auto", "--bf16", "true"], (1e-4, 0.1), torch.bfloat16),
        (["--sampling_dtype", "auto", "--bf16", "true", "--max_logp_gap", "1e-5"], (1e-4, 0.1), None),  # fell back
    ],
)
def test_gap_between_sampling_and_policy_is_watched(small_run, monkeypatch, words, gap, after):
    monkeypatch.setattr("torch.ops.mkldnn._is_mkldnn_bf16_supported", lambda: True)
    trainer = build(small_run, "--max_steps", "2", *words)
    trainer.train()
    found = [entry["sampling/logp_gap"] for entry in trainer.state.log_history if "sampling/logp_gap" in entry]
    assert gap[0] <= found[0] < gap[1]
    assert trainer.sampling_dtype == after
    alarms = [event["nats"] for event in trainer.folder.read_events() if event["event"] == "sampler_gap"]
    assert alarms == ([found[0]] if found[0] > trainer.max_logp_gap else [])


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(small_run, tmp_path):
    whole = run(small_run, "--max_steps", "4")
    again = [str(tmp_path / "again") if word == str(tmp_path / "runs") else word for word in small_run]
    again += ["--save_steps", "2"]
    run(again, "--max_steps", "2")
    resumed = run(again, "--max_steps", "4", "--resume")
    final = [(folder.checkpoints / "final" / "model.safetensors").read_bytes() for folder in (whole, resumed)]
    assert final[0] == final[1]
    assert whole.path != resumed.path
    for kind in ("train", "eval"):
        first, second = (
            store.read(folder.path, kind=kind, columns=["step", "prompt_id", "token_ids", "advantage"]).to_pylist()
            for folder in (whole, resumed)
        )
        assert [r for r in first if r["step"] >= 2] == [r for r in second if r["step"] >= 2]
    steps = [json.loads(line) for line in resumed.metrics.read_text().splitlines()]
    assert [line["step"] for line in steps if "reward" in line] == [1, 2, 3, 4]
    assert "resumed" in resumed.events.read_text()


def test_a_run_killed_behind_its_last_checkpoint_makes_no_step_more(small_run):
    """Upstream asks whether all steps are made only after the next one."""
    words = ["--max_steps", "2", "--save_steps", "1", "--save_total_limit", "9", "--learning_rate", "1e-3"]
    whole = run(small_run, *words, name="whole")
    cut = run_folder.RunFolder(shutil.copytree(whole.path, whole.path.with_name("cut")))
    cut.result.unlink()
    shutil.rmtree(cut.checkpoints / "final")
    cut.metrics.write_text("".join(cut.metrics.read_text().splitlines(keepends=True)[:-1]))  # upstream's sum of the run
    run(small_run, *words, "--resume", "true", name="cut")
    assert json.loads(cut.result.read_text())["steps"] == 2
    assert weights_in(cut) == weights_in(whole)
    assert rows_of(cut) == rows_of(whole)
    assert metrics_of(cut) == metrics_of(whole)


SEVERAL_UPDATES = {
    "four steps": ["--steps_per_generation", "4"],
    "two iterations": ["--num_iterations", "2"],
    "both, and micro-batches": [
        "--steps_per_generation", "2", "--num_iterations", "2", "--per_device_train_batch_size", "3",
    ],
    "a reference that moves": [
        "--steps_per_generation", "2", "--beta", "0.01", "--sync_ref_model", "true", "--ref_model_sync_steps", "3",
        "--ref_model_mixup_alpha", "1.0",
    ],
    "dynamic sampling": ["--steps_per_generation", "4", "--dynamic_sampling", "true", "--train_size", "32"],
    "LoRA": ["--num_iterations", "3", "--use_peft", "true", "--lora_target_modules", "down_proj"],
    "settings that change": [
        "--steps_per_generation", "2", "--max_completion_length", "{0: 12, 4: 24}", "--temperature", "{0: 1.0, 3: 0.5}",
        "--beta", "{0: 0.0, 2: 0.01}", "--sync_ref_model", "true", "--ref_model_sync_steps", "3",
    ],
    "bfloat16 samples": ["--steps_per_generation", "2", "--sampling_dtype", "bfloat16"],
}  # fmt: skip


@pytest.mark.parametrize("steps", [[5], pytest.param([1, 2, 3], marks=pytest.mark.long)], ids=["one place", "others"])
@pytest.mark.parametrize("words", SEVERAL_UPDATES.values(), ids=SEVERAL_UPDATES)
def test_a_run_resumed_inside_a_rollout_batch_is_the_uninterrupted_one(small_run, words, steps):
    """Every checkpoint of a run, most of them inside a rollout batch, leads to the same weights, rows and metrics."""
    words = [*words, "--learning_rate", "1e-3", "--eval_steps", "0", "--save_steps", "1", "--save_total_limit", "9"]
    whole = run(small_run, *words, "--max_steps", "7", name="whole")
    for step in steps:
        cut = run_folder.RunFolder(shutil.copytree(whole.path, whole.path.with_name(f"from-{step}")))
        cut.result.unlink()
        shutil.rmtree(cut.checkpoints / "final")
        for later in range(step + 1, 8):
            shutil.rmtree(cut.checkpoints / f"checkpoint-{later}", ignore_errors=True)
        run(small_run, *words, "--max_steps", "7", "--resume", "true", name=cut.path.name)
        assert [event["step"] for event in cut.read_events() if event["event"] == "resumed"] == [step]
        assert weights_in(cut) == weights_in(whole)
        assert rows_of(cut) == rows_of(whole)
        assert metrics_of(cut) == metrics_of(whole)
        assert events_of(cut) == events_of(whole)
    assert len({line["step"] for line in rows_of(whole)}) < 7, "else nothing was used twice"


def weights_in(folder):
    (path,) = folder.checkpoints.glob("final/*.safetensors")
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rows_of(folder):
    columns = ["step", "policy_step", "prompt_id", "token_ids", "logprobs", "advantage", "reward"]
    return [
        {name: str(value) for name, value in row.items()} | {"step": row["step"]}
        for row in store.read(folder.path, kind="train", columns=columns).to_pylist()
    ]


def events_of(folder):
    found = [event for event in folder.read_events() if event["event"] != "resumed"]
    return [{key: value for key, value in event.items() if key != "time"} for event in found]


def metrics_of(folder):
    """What was logged, less what the clock decides, and upstream's last line, which sums up the last start alone."""
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    clock = ("time", "seconds", "runtime", "per_second", "flos", "train_loss")
    return [{k: v for k, v in line.items() if not any(word in k for word in clock)} for line in lines]


def test_a_checkpoint_without_its_rollouts_is_named(small_run):
    words = ["--steps_per_generation", "4", "--eval_steps", "0", "--save_steps", "1"]
    folder = run(small_run, *words, "--max_steps", "2")
    folder.result.unlink()
    (folder.checkpoints / "checkpoint-2" / "rollout_buffer_0.pt").unlink()
    with pytest.raises(RunFailedError, match=r"checkpoint-2: rollout_buffer_0\.pt is missing"):
        run(small_run, *words, "--max_steps", "4", "--resume", "true")


def test_wasted_steps_are_those_that_sampled(small_run):
    from r1rl.train.callbacks import NothingEarnedError

    words = ["--max_wasted_steps", "2", "--max_completion_length", "2", "--steps_per_generation", "2"]
    with pytest.raises(NothingEarnedError, match="0 of 32 rollouts earned anything in the first 2 samplings"):
        run(small_run, *words, "--max_steps", "8")
    lines = (folder_of(small_run) / "metrics.jsonl").read_text().splitlines()
    assert max(json.loads(line)["step"] for line in lines) == 2  # the third step samples again, and is never logged


def test_a_run_that_earns_nothing_says_so_and_stops(small_run):
    from r1rl.train.callbacks import NothingEarnedError

    arguments = ["--config", str(TINY), *small_run, "--name", "run", "--max_wasted_steps", "2"]
    # Two tokens are never an answer.
    with pytest.raises(NothingEarnedError, match="0 of 32 rollouts earned anything in the first 2 samplings"):
        train.main([*arguments, "--max_completion_length", "2"])
    folder = folder_of(small_run)
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    assert [(e["event"], e["step"], e["rollouts"]) for e in events] == [
        ("nothing_earned", 1, 16),
        ("nothing_earned", 2, 32),
    ]


def test_a_chat_template_that_opens_the_thoughts_is_paid_for_the_rest(small_run, small_base, tmp_path):
    """The base writes its format behind `<think>`; with the tag in the prompt nobody else can write it."""
    chatty = shutil.copytree(small_base, tmp_path / "chatty")
    template = "{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %} <think>{% endif %}"
    (chatty / "chat_template.jinja").write_text(template)
    folder = run(small_run, "--model_name_or_path", str(chatty), "--prompt_template", "chat", "--max_steps", "1")
    rows = store.read(folder.path).to_pylist()
    assert {row["prefill"] for row in rows} == {"<think>"}
    assert all(row["prompt"].endswith("<think>") for row in rows)
    assert any(row["reward_format"] == 1 for row in rows if row["kind"] == "train")
