"""A disk that fills up: the run ends in one line, all before it is whole, and with space it goes on."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tiny_training import run

from r1rl.ground.errors import RunFailedError
from r1rl.run import exits
from r1rl.run import folder as run_folder
from r1rl.run.folder import RunFolder
from r1rl.store import store
from r1rl.train.trainer import ZeroTrainer

WORDS = ["--prompts_per_step", "2", "--max_completion_length", "16", "--eval_steps", "0", "--save_steps", "1",
         "--save_total_limit", "2", "--max_steps", "4", "--learning_rate", "1e-3"]  # fmt: skip


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", place], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("mounting a file system needs root")
    yield place
    ctypes.CDLL(None).umount2(os.fsencode(place), 2)  # MNT_DETACH: TensorBoard may hold a file


def fill(place: Path, left: int) -> None:
    """Leave so many bytes free."""
    with (place / "filler").open("ab") as stream:
        while (size := shutil.disk_usage(place).free - left) > 0:
            stream.write(b"\0" * min(size, 2**20))
            stream.flush()


@pytest.mark.parametrize(
    ("owner", "name", "left"),
    [
        pytest.param(store, "write_shard", 4096, id="in a shard"),
        pytest.param(ZeroTrainer, "_save_rng_state", 4096, id="in a checkpoint"),
        pytest.param(ZeroTrainer, "_save_checkpoint", 1_000_000, id="before one", marks=pytest.mark.long),
        pytest.param(RunFolder, "append_metrics", 0, id="in metrics.jsonl", marks=pytest.mark.long),
    ],
)
def test_a_full_disk_costs_nothing_that_was_written(small_run, small_disk, monkeypatch, owner, name, left):
    words = [str(small_disk) if word.endswith("/runs") else word for word in small_run] + WORDS
    whole = run([*small_run, *WORDS], name="whole")
    plain, calls = getattr(owner, name), []

    def full(*args, **kwargs):
        calls.append(name)
        if len(calls) == 3:
            fill(small_disk, left)
        return plain(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, full)
        with pytest.raises(RunFailedError, match=r"is full|are free on this disk"):
            run(words, name="cut")
    (small_disk / "filler").unlink()
    cut = run(words, "--resume", name="cut")
    assert [event["event"] for event in cut.read_events() if event["event"] == "resumed"] == ["resumed"]
    final = [(folder.checkpoints / "final" / "model.safetensors").read_bytes() for folder in (whole, cut)]
    assert final[0] == final[1]
    columns = ["step", "token_ids", "logprobs"]
    assert store.read(cut.path, columns=columns).equals(store.read(whole.path, columns=columns))


def test_a_disk_that_is_too_small_is_said_before_the_first_step(small_run, small_disk):
    fill(small_disk, 500_000)
    words = [str(small_disk) if word.endswith("/runs") else word for word in small_run] + WORDS
    with pytest.raises(RunFailedError, match=r"GB are free on this disk, and a checkpoint takes"):
        run(words)
    assert not (small_disk / "run" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        pytest.param(OSError(28, "No space left on device"), "the disk is full", id="no file named"),
        pytest.param(OSError(30, "Read-only", "/home/me/.cache/x"), "no access at /home/me/.cache/x: Read-only file",
                     id="a home that is read-only"),
        pytest.param(PermissionError(13, "no", "/runs/x"), "no access at /runs/x: Permission denied", id="not ours"),
    ],
)  # fmt: skip
def test_the_disks_errors_are_one_line(error, said, capsys):
    def fails():
        try:
            raise error
        except OSError as inner:
            raise RuntimeError("what a library makes of it") from inner

    assert exits.guarded(fails) == 1
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {said}")
    assert shown.count("\n") == 1


def test_an_emptied_result_is_no_result(small_run):
    words = [*WORDS, "--max_steps", "2"]
    folder = run(small_run, *words)
    folder.result.write_text("")
    assert run_folder.RunFolder(run(small_run, *words, "--resume").path).result.read_text()
