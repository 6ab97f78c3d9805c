"""A run whose newest checkpoint is damaged goes on from the one before, and is the uninterrupted run all the same."""

from __future__ import annotations

import shutil

import pytest
from tiny_training import run

from r1rl.run import folder as run_folder

WORDS = ["--learning_rate", "1e-3", "--eval_steps", "0", "--save_steps", "1", "--save_total_limit", "2"]


@pytest.fixture(scope="module")
def whole(small_base, tmp_path_factory):
    """A whole run with its last two checkpoints, and the words that make it."""
    settings = {
        "model_name_or_path": small_base, "runs_dir": tmp_path_factory.mktemp("runs"), "prompts_per_step": 2,
        "num_generations": 4, "max_completion_length": 24, "heldout_size": 4, "train_size": 32, "max_wasted_steps": 0,
        "lr_scheduler_type": "constant", "max_steps": 4,
    }  # fmt: skip
    words = [word for key, value in settings.items() for word in (f"--{key}", str(value))] + WORDS
    return run(words, name="whole"), words


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        pytest.param("model.safetensors", "truncated", id="truncated weights"),
        pytest.param("optimizer.pt", "gone", id="no optimizer state"),
        pytest.param("optimizer.pt", "flipped", id="a flipped bit in it"),
        pytest.param("trainer_state.json", "truncated", id="torn trainer state"),
    ],
)
def test_the_run_goes_on_from_the_whole_one(whole, caplog, name, damage):
    done, words = whole
    cut = run_folder.RunFolder(shutil.copytree(done.path, done.path.with_name(f"{damage}-{name}")))
    cut.result.unlink()
    shutil.rmtree(cut.checkpoints / "final")
    (cut.checkpoints / "checkpoint-best").mkdir()
    path = cut.checkpoints / "checkpoint-4" / name
    content = path.read_bytes()
    flipped = content[:-200] + bytes([content[-200] ^ 1]) + content[-199:] if damage == "flipped" else content[:-1]
    path.unlink() if damage == "gone" else path.write_bytes(flipped)
    caplog.set_level("WARNING", "r1rl")
    run(words, "--resume", "true", name=cut.path.name)
    assert f"checkpoint-4: {name}" in caplog.text
    skipped = next(event for event in cut.read_events() if event["event"] == "checkpoint_skipped")
    assert (skipped["checkpoint"], skipped["step"]) == ("checkpoint-4", 3)
    final = [(folder.checkpoints / "final" / "model.safetensors").read_bytes() for folder in (done, cut)]
    assert final[0] == final[1]
    assert (cut.checkpoints / "checkpoint-best").is_dir()
    again = [(folder.checkpoints / "checkpoint-4" / "optimizer.pt").read_bytes() for folder in (done, cut)]
    assert len(again[0]) == len(again[1]), "the damaged one was written again"
