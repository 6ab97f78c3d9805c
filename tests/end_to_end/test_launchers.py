"""Two real processes under DDP, ZeRO-2, ZeRO-3 and FSDP2: the same rewards, losses and weights, saved and resumed."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "recipes" / "tiny" / "countdown.yaml"
pytestmark = pytest.mark.processes
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
NEEDS_DEEPSPEED = pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="needs r1rl[deepspeed]")
# The order of float32 sums differs by strategy.
LOSS_TOLERANCE, WEIGHT_TOLERANCE = 1e-5, 1e-4
STEPS = 5


def train(small_run, launcher, *words):
    words = [
        *small_run,
        "--name",
        launcher,
        "--launcher",
        f"{launcher}:2",
        "--save_steps",
        str(STEPS),
        "--save_total_limit",
        "9",
        *words,
    ]
    return subprocess.run(
        [sys.executable, "-m", "r1rl.cli", "train", str(TINY), *words],
        capture_output=True, text=True, timeout=900, env=ENVIRONMENT, cwd=ROOT, check=False,
    )  # fmt: skip


def folder_of(small_run, name):
    return Path(small_run[small_run.index("--runs_dir") + 1]) / name


def steps(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "reward" in line]


@pytest.mark.long
@NEEDS_DEEPSPEED
def test_a_moving_reference_and_a_buffer_resume_under_zero3(small_run):
    """DeepSpeed wraps the reference model, holds its weights in parts, and calls the processor `cpu:0`."""
    words = ["--beta", "0.05", "--sync_ref_model", "true", "--ref_model_sync_steps", "2", "--steps_per_generation", "2"]
    words += ["--ref_model_mixup_alpha", "0.5", "--save_steps", "1", "--eval_steps", "0", "--max_steps", "5"]
    done = train(small_run, "zero3", *words)
    assert done.returncode == 0, done.stderr[-3000:]
    whole, cut = folder_of(small_run, "zero3"), folder_of(small_run, "cut")
    shutil.copytree(whole, cut)
    (cut / "result.json").unlink()
    shutil.rmtree(cut / "checkpoints" / "final")
    for step in (4, 5):
        shutil.rmtree(cut / "checkpoints" / f"checkpoint-{step}")
    done = train(small_run, "zero3", *words, "--name", "cut", "--resume")
    assert done.returncode == 0, done.stderr[-3000:]
    final = [(folder / "checkpoints" / "final" / "model.safetensors").read_bytes() for folder in (whole, cut)]
    assert final[0] == final[1]
    kl = [json.loads(line).get("kl") for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert max(value for value in kl if value is not None) > 0, "else the reference could be any model"


@pytest.fixture
def ddp_run(small_run, tmp_path_factory):
    """The folder of a run under DDP, one for all test processes."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    with FileLock(shared / "ddp.lock"):
        if not (shared / "ddp").exists():
            done = train(small_run, "ddp", "--max_steps", str(STEPS))
            assert done.returncode == 0, done.stderr[-3000:]
            shutil.copytree(folder_of(small_run, "ddp"), shared / "ddp")
    return shared / "ddp"


@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param("zero2", marks=[NEEDS_DEEPSPEED, pytest.mark.long]),
        pytest.param("zero3", marks=NEEDS_DEEPSPEED),
        pytest.param("fsdp", marks=pytest.mark.long),
    ],
)
def test_as_ddp_then_saved_resumed_and_loadable(small_run, ddp_run, launcher):
    from transformers import AutoModelForCausalLM

    done = train(small_run, launcher, "--max_steps", str(STEPS))
    assert done.returncode == 0, done.stderr[-3000:]
    # The longer run goes on from the checkpoint of the last step.
    done = train(small_run, launcher, "--max_steps", str(STEPS + 1), "--resume", "true")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "resumed" in (folder_of(small_run, launcher) / "events.jsonl").read_text()
    folder = folder_of(small_run, launcher)
    expected, found = steps(ddp_run), steps(folder)
    assert [line["step"] for line in found] == [*range(1, STEPS + 2)]
    assert found[0]["reward"] == expected[0]["reward"]
    for ours, ddps in zip(found[:STEPS], expected, strict=True):
        assert ours["loss"] == pytest.approx(ddps["loss"], abs=LOSS_TOLERANCE)
        assert ours["grad_norm"] == pytest.approx(ddps["grad_norm"], rel=1e-3, abs=LOSS_TOLERANCE)
    models = [
        AutoModelForCausalLM.from_pretrained(run / "checkpoints" / where)
        for run, where in ((ddp_run, "final"), (folder, f"checkpoint-{STEPS}"), (folder, "final"))
    ]
    ddp, same, final = (dict(model.named_parameters()) for model in models)
    assert max((ddp[name] - same[name]).abs().max().item() for name in ddp) < WEIGHT_TOLERANCE
    assert set(final) == set(ddp)
