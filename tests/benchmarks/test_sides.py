"""Both sides of a step and of sampling, for real with a small model: the same settings, and figures that add up."""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import math
import random
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from benchmarks import children, growth, machine, presets, rollout, side, train, work
from benchmarks.machine import Peak
from benchmarks.side import Job
from benchmarks.work import CONTINUOUS, OURS, TRL, Turn
from r1rl.ground.errors import RunFailedError
from r1rl.models import resolve as models

CHANGES = {"prompts_per_step": 2, "num_generations": 4, "max_completion_length": 24, "train_size": 16}
NEEDS_DATA = "smollm2-fewshot-nostop"


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    prepared = presets.setting("tiny", dtype="fp32", changes=CHANGES | presets.SIGNAL)
    return str(prepared.write(tmp_path))


def _serve(job: Job, turns: int) -> list[dict[str, Any]]:
    answers = io.StringIO()
    side.serve(job, io.StringIO("\n" * turns), answers)
    ready, *rest = map(json.loads, answers.getvalue().splitlines())
    assert ready == {"ready": True}
    assert len(rest) == turns
    return rest


def _job(kind: str, work: str, recipe: str, folder: Path, model: Path, micro_batch: int | None = None) -> Job:
    (folder / f"{kind}-{work}").mkdir()
    return Job(kind, work, recipe, str(folder / f"{kind}-{work}"), micro_batch, model=str(model))


def test_plain_trl_has_the_recipes_settings(recipe: str, tmp_path: Path, small_base: Path) -> None:
    """All of them but where a file lies, how progress is shown, and how the batch is cut."""
    ours = side.build(_job(OURS, "step", recipe, tmp_path, small_base))
    plain = side.build(_job(TRL, "step", recipe, tmp_path, small_base, 4))
    own = {
        "output_dir", "run_name", "logging_dir", "disable_tqdm", "model_init_kwargs", "per_device_train_batch_size",
        "gradient_accumulation_steps", "steps_per_generation", "per_device_eval_batch_size",
        # Of held-out evaluations, which neither side makes.
        "eval_steps", "num_generations_eval",
        # TRL's default, which our trainer applies to stop strings itself.
        "mask_truncated_completions",
    }  # fmt: skip
    different = {
        field.name
        for field in dataclasses.fields(ours.args)
        if getattr(ours.args, field.name, None) != getattr(plain.args, field.name, None)
    }
    assert different <= own
    assert type(plain).__module__.startswith("trl.")
    assert not plain.model.is_gradient_checkpointing
    for a, b in zip(ours.model.parameters(), plain.model.parameters(), strict=True):
        assert a.dtype == b.dtype
        assert a.equal(b)
    assert ours.train_dataset["prompt"] == plain.train_dataset["prompt"]


def test_both_sides_step_over_the_same_prompts_and_count_what_they_did(
    recipe: str, tmp_path: Path, small_base: Path
) -> None:
    ours = [Turn.of(OURS, a) for a in _serve(_job(OURS, "step", recipe, tmp_path, small_base), 2)]
    plain = [Turn.of(TRL, a) for a in _serve(_job(TRL, "step", recipe, tmp_path, small_base, 4), 2)]
    for mine, theirs in zip(ours, plain, strict=True):
        assert mine.prompts == theirs.prompts
        assert len({tuple(p) for p in mine.prompts}) == 2
        for turn in (mine, theirs):
            assert len(turn.lengths) == len(turn.signal) == 8
            assert all(1 <= n <= 24 for n in turn.lengths)
            assert turn.needed is None or turn.needed <= turn.forwarded
            parts = sum(turn.seconds[name] for name in ("sampling", "grading", "rest", "update"))
            assert 0.9 * turn.seconds["step"] <= parts <= 1.01 * turn.seconds["step"]
            assert 0 < turn.seconds["optimizer"] < turn.seconds["update"]
            assert turn.peak_bytes > 10**8
        assert mine.draws == mine.sampled
        assert mine.prefilled <= sum(map(len, {tuple(p) for p in mine.prompts}))
        widest = max(map(len, theirs.prompts))
        assert theirs.draws == 8 * max(theirs.lengths)
        assert theirs.prefilled == 8 * widest
        assert theirs.forwarded == 8 * (widest + max(theirs.lengths))
        assert [rows for rows, _ in theirs.update] == [4, 4]
    assert ours[0].prompts != ours[1].prompts
    found = {row["name"]: row for row in train.rows("step", {OURS: ours, TRL: plain}, "here", note="why")}
    assert found["step: speed"]["note"] == "why"
    assert found["step: sampled"]["ours"] == sum(turn.sampled for turn in ours) / 2
    assert found["step: rollouts with signal"]["ours"] > 0


def test_sampling_alone(recipe: str, tmp_path: Path, small_base: Path) -> None:
    turns = {
        kind: [Turn.of(kind, _serve(_job(kind, "sample", recipe, tmp_path, small_base), 1)[0])] for kind in (OURS, TRL)
    }
    for kind, (turn,) in turns.items():
        assert turn.seconds["update"] == 0.0
        assert turn.seconds["sampling"] > 0
        assert turn.update == []
        assert turn.draws is not None
        assert turn.draws >= turn.sampled, kind
    assert turns[OURS][0].prompts == turns[TRL][0].prompts
    peak = Peak(1e11, 1e10)
    found = {row["name"]: row["ours"] for row in rollout.rows("x", turns, "here", peak=peak, weight_bytes=4)}
    ours = turns[OURS][0]
    least = work.least_seconds(ours.cost, peak, ours.prompts, ours.lengths, 4)
    share = found["x: of the machine's limit, against TRL generate"]
    assert share == pytest.approx(least / ours.seconds["sampling"], rel=1e-3)
    assert {
        "x: speed, against TRL generate",
        "x: useful of processed in decoding, against TRL generate",
    } <= found.keys()


def test_a_trial_update_pads_to_the_cap(recipe: str, tmp_path: Path, small_base: Path) -> None:
    job = dataclasses.replace(_job(TRL, "update", recipe, tmp_path, small_base, 4), prompts=1)
    turn = Turn.of(TRL, _serve(job, 1)[0])
    assert turn.lengths == [24] * 4
    assert turn.forwarded == 4 * (24 + len(turn.prompts[0]))


@pytest.mark.long
@pytest.mark.processes
def test_two_processes_take_turns(tmp_path: Path, small_base: Path) -> None:
    prepared = presets.setting("tiny", dtype="fp32", changes=CHANGES)
    turns, choice = train.compare(prepared, [8], threads=1, repeats=1, warmup=0, model=str(small_base))
    assert choice == "TRL's micro-batch 8"
    assert {name: len(taken) for name, taken in turns.items()} == {OURS: 1, TRL: 1}
    found = train.rows("step, tiny fp32", turns, machine.describe(1))
    assert json.loads(json.dumps(found)) == found
    for row in found:
        assert set(row) == {"name", "ours", "peer", "ratio", "unit", "machine"}
    assert all(row["ratio"] > 0 for row in found if row["unit"] in ("steps/min", "tokens/s"))


class _Side:
    """A side that answers at once with the number of its turn."""

    order: ClassVar[list[str]] = []

    def __init__(self, job: Job, *, processes: int = 1) -> None:
        self.job = job

    def __enter__(self) -> _Side:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def wait_until_ready(self) -> None:
        pass

    def turn(self) -> Any:
        if self.job.work == "update":
            if self.job.micro_batch == 64:
                raise children.NoMemoryError("none")
            return argparse.Namespace(seconds={"step": 9.0, "update": 1.0 + self.job.prompts, "optimizer": 1.0})
        self.order.append(self.job.side)
        return len(self.order)


def test_turns_are_interleaved_after_a_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Side, "order", [])
    monkeypatch.setattr(children, "Side", _Side)
    jobs = {name: Job(name, "step", "") for name in "ab"}
    # The first round warms up; every other round goes the other way round.
    assert children.take_turns(jobs, repeats=2, warmup=1, label="x") == {"a": [4, 5], "b": [3, 6]}
    assert "".join(_Side.order) == "abbaab"


def test_a_step_in_which_nothing_was_earned_says_so() -> None:
    def turn(signal: bool) -> Turn:
        seconds = dict.fromkeys(("step", "sampling", "grading", "rest", "update"), 1.0)
        return Turn(OURS, seconds, [[1]], [2], [signal], 1, 2, [], work.ModelCost(1, 1, 1, 1), 1)

    named = {
        share: train.rows("step, x", {OURS: [turn(share)], TRL: [turn(True)]}, "here")[0]["name"]
        for share in (True, False)
    }
    assert named == {True: "step, x: speed", False: "step, x, nothing earned: speed"}


def test_the_fastest_micro_batch_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "Side", _Side)
    job = Job(TRL, "step", "", micro_batch=8)
    tried = children.micro_batch_seconds(job, [8, 16, 64, 12], rollouts=64, group=8)
    # A turn with n prompts takes n seconds without the optimizer's one; 12 cuts groups, so the whole step is timed.
    assert tried == {8: 9.0, 16: 9.0, 64: None, 12: 9.0}
    assert train.by_speed({8: 2.0, 16: 1.0, 64: None}) == (
        [16, 8],
        ", the fastest by an update at the cap (8: 2 s, 16: 1 s, 64: no memory)",
    )
    with pytest.raises(RunFailedError, match="no memory for any of them"):
        train.by_speed({8: None})


def test_where_trl_has_no_memory_in_a_whole_step_it_has_the_next_fastest_micro_batch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[int | None] = []
    failing = TRL

    def take_turns(jobs: dict[str, Job], **options: Any) -> dict[str, list[Turn]]:
        tried.append(jobs[TRL].micro_batch)
        if tried[-1] != 48:
            raise children.NoMemoryError("none", failing)
        return {OURS: [], TRL: []}

    prepared = presets.setting("tiny", dtype="fp32")
    monkeypatch.setattr(children, "take_turns", take_turns)
    monkeypatch.setattr(children, "micro_batch_seconds", lambda *_, **__: {16: 1.0, 48: 2.0, 96: 3.0})
    _, choice = train.compare(prepared, [16, 48, 96], threads=1, repeats=1, warmup=0)
    assert tried == [16, 48]
    assert choice.startswith("TRL's micro-batch 48, the fastest by")
    assert choice.endswith("; 16 had no memory in a whole step")
    assert "going on with 48" in capsys.readouterr().err
    with pytest.raises(children.NoMemoryError):  # nothing is left to try
        train.compare(prepared, [16], threads=1, repeats=1, warmup=0)
    failing = OURS
    with pytest.raises(children.NoMemoryError):
        train.compare(prepared, [16, 48], threads=1, repeats=1, warmup=0)


def test_a_side_without_memory_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    real = subprocess.Popen

    def popen(words: list[str], **options: Any) -> Any:
        return real([sys.executable, "-c", "raise MemoryError"], **options)

    monkeypatch.setattr(children.subprocess, "Popen", popen)
    with (
        pytest.raises(children.NoMemoryError, match="benchmark side 'ours' ended"),
        children.Side(Job(OURS, "step", "")) as started,
    ):
        started.wait_until_ready()


def test_growth_shows_sizes_and_exponents() -> None:
    def turns(size: int) -> dict[str, list[Turn]]:
        made = {
            OURS: (0.5 * size, 10**8),
            TRL: (0.1 * size**2, 10**7 * size),
        }
        return {
            name: [
                Turn.of(
                    name,
                    {
                        "seconds": {"step": seconds, "sampling": seconds / 2, "update": seconds / 2},
                        "prompts": [], "lengths": [], "signal": [], "prefilled": 0, "draws": 0, "update": [],
                        "cost": {"per_token": 1, "per_pair": 1, "head": 1, "parameters": 1}, "peak_bytes": memory,
                    },
                )
            ]
            for name, (seconds, memory) in made.items()
        }  # fmt: skip

    found = {r["name"]: r for r in growth.rows("cap", {n: turns(n) for n in (16, 64, 256)}, "here")}
    for label, ours, peer in (("time of the step", 1.0, 2.0), ("peak memory", 0.0, 1.0)):
        exponent = found[f"growth, cap: exponent of {label}"]
        assert (exponent["ours"], exponent["peer"]) == pytest.approx((ours, peer), abs=1e-6)
        assert exponent["ratio"] is None
    assert found["growth, cap: time of the step at 64"]["ours"] == 32.0


def test_the_model_of_growth_never_ends(tmp_path: Path, small_base: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(small_base)
    folder = growth.endless_model(tmp_path / "model", small_base, positions=80)
    model = AutoModelForCausalLM.from_pretrained(folder)
    torch.manual_seed(0)
    written = model.generate(
        torch.tensor([[5, 6, 7]] * 16), do_sample=True, max_new_tokens=64, attention_mask=torch.ones(16, 3)
    )
    assert written.shape == (16, 67)
    assert not (written == tokenizer.eos_token_id).any()


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.7, -0.5])
def test_the_exponent_of_a_power_law_is_found(exponent: float) -> None:
    sizes = [4, 8, 16, 32, 64]
    assert growth.fitted_exponent(sizes, [3.0 * size**exponent for size in sizes]) == pytest.approx(exponent, abs=1e-3)


def test_the_exponent_is_the_least_squares_one() -> None:
    chance = random.Random(0)
    sizes = [4, 8, 16, 32]
    costs = [size * chance.uniform(0.7, 1.4) for size in sizes]

    def squares(p: float) -> float:
        logs = [math.log(cost) - p * math.log(size) for size, cost in zip(sizes, costs, strict=True)]
        mean = sum(logs) / len(logs)
        return sum((x - mean) ** 2 for x in logs)

    best = growth.fitted_exponent(sizes, costs)
    assert all(squares(best) <= squares(best + step) for step in (-0.01, 0.01))


@pytest.mark.long
@pytest.mark.processes
def test_both_sides_of_growth_write_to_the_cap(small_base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "resolve", lambda *_, **__: small_base)
    words = ["--over", "cap", "--sizes", "8", "96", "--repeats", "1", "--threads", "1"]
    found = {row["name"]: row for row in growth.measure(_namespace(growth, *words))}
    for label in ("time of the step", "peak memory"):
        assert found[f"growth, cap: {label} at 96"]["ours"] > 0
        assert math.isfinite(found[f"growth, cap: exponent of {label}"]["peer"])


def test_growth_is_not_measured_where_completions_end_early() -> None:
    full, early = (argparse.Namespace(lengths=lengths) for lengths in ([8, 8], [8, 3]))
    growth.check_lengths({OURS: [full], TRL: [full]}, 8)
    with pytest.raises(RunFailedError, match=r"side 'trl': 1 completions ended before the cap of 8 .* after 3;"):
        growth.check_lengths({OURS: [full], TRL: [full, early]}, 8)


def _namespace(module: Any, *words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    return parser.parse_args(list(words))


def test_a_micro_batch_must_divide_the_rollouts() -> None:
    with pytest.raises(ValueError, match="micro_batch=7: must divide the step's 192 rollouts"):
        train.compare(presets.setting("tiny", dtype="fp32"), [7], threads=1, repeats=1, warmup=0)


@pytest.mark.parametrize(
    ("module", "words", "message"),
    [
        (train, ["--preset", NEEDS_DATA], f"data=None: preset {NEEDS_DATA!r} reads mawps_singleop.jsonl; give"),
        (
            train,
            ["--preset", NEEDS_DATA, "--data", "nowhere"],
            f"data='nowhere': preset {NEEDS_DATA!r} reads mawps_sing",
        ),
        (train, ["--preset", "tiny", "--repeats", "0"], "repeats=0: need at least 1"),
        (rollout, ["--preset", "tiny", "--warmup", "-1"], "warmup=-1: need at least 0"),
        (rollout, ["--preset", "tiny", "--threads", "0"], "threads=0: need at least 1"),
        (rollout, ["--preset", "tiny", "--peers", "vllm"], "peers=vllm: .* is missing; `make test-vllm` makes it"),
        (growth, ["--over", "group", "--sizes", "1"], r"sizes=\[1\]: need at least 2"),
        (growth, ["--over", "cap", "--sizes", "0"], r"sizes=\[0\]: need at least 1"),
        (growth, ["--over", "processes", "--sizes", "3"], r"sizes=\[3\]: processes must divide the 2 prompts"),
    ],
)
def test_bad_options(module: Any, words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module.measure(_namespace(module, *words))


@pytest.mark.parametrize("name", list(presets.PRESETS))
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_every_preset_is_a_recipe(name: str, dtype: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from r1rl.recipe import load as recipes

    (tmp_path / presets.DATA_FILE).write_text(
        "".join(f'{{"input": "1 + {n}?", "target": "{n + 1}"}}\n' for n in range(20))
    )
    monkeypatch.setattr(presets, "has_bf16_kernels", lambda: True)
    prepared = presets.setting(name, dtype=dtype, seed=5, data=tmp_path)
    words = ["--name", "run", "--model_name_or_path", "Qwen/Qwen2.5-0.5B"]  # the preset's own is an optional package
    loaded = recipes.load(prepared.write(tmp_path), words, check_only=True)
    assert loaded.grpo.bf16 is (dtype == "bf16")
    assert (loaded.grpo.seed, loaded.grpo.learning_rate) == (5, 1e-7)
    assert loaded.batch.rollouts == prepared.keys["prompts_per_step"] * prepared.keys["num_generations"]
    assert all(loaded.batch.rollouts % size == 0 for size in prepared.micro_batches)
    if presets.PRESETS[name].reads_data:
        assert loaded.recipe.prompt_options["stop"] == []


@pytest.mark.parametrize(("quick", "expected"), [(True, "bf16"), (False, "fp32")], ids=["bf16 instructions", "none"])
def test_the_default_is_what_the_recipe_trains_in_here(
    monkeypatch: pytest.MonkeyPatch, quick: bool, expected: str
) -> None:
    monkeypatch.setattr(presets, "has_bf16_kernels", lambda: quick)
    assert presets.setting("tiny").name == "tiny fp32"
    assert presets.setting("smollm2-short").name == f"smollm2-short {expected}"


def test_bf16_is_refused_where_the_recipe_would_train_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "has_bf16_kernels", lambda: False)
    with pytest.raises(ValueError, match=r"dtype=bf16: this processor has no bf16 instructions.*try fp32"):
        presets.setting("tiny", dtype="bf16")


def test_peak_rates_are_those_of_some_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(machine, "_SIDE", 256)
    monkeypatch.setattr(machine, "_READ_BYTES", 2**24)
    peak = machine.peak(torch.float32, 1)
    assert 1e8 < peak.flops < 1e15
    assert 1e8 < peak.bandwidth < 1e14
    assert Peak(3.0, 1.0).best(Peak(2.0, 4.0)) == Peak(3.0, 4.0)


def test_peak_memory_begins_anew() -> None:
    """In a process of its own: one that has trained reuses what it has freed."""
    script = (
        "from benchmarks import machine; from r1rl.ground.machine import peak_memory; import numpy as np\n"
        "size = 2**26; peaks = [peak_memory()]\n"
        "block = np.ones(size // 8); peaks.append(peak_memory()); del block\n"
        "machine.reset_peak_memory(); peaks.append(peak_memory()); print(*peaks)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    before, high, after = map(int, done.stdout.split())
    assert high - before > 0.9 * 2**26
    if Path("/proc/self/clear_refs").exists():
        assert after - before < 2**25


def test_continuous_batching_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(_Side):
        def turn(self) -> Any:
            raise RunFailedError("benchmark side ended:\n\nno such kernel\n")

    monkeypatch.setattr(children, "Side", Broken)
    assert rollout.reason_it_fails(Job(CONTINUOUS, "sample", "")) == "does not run here: no such kernel"
    monkeypatch.setattr(children, "Side", _Side)
    assert rollout.reason_it_fails(Job(CONTINUOUS, "sample", "")) == ""
