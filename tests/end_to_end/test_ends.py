"""However a run of real processes is ended, nothing of it trains on, and it goes on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from tiny_training import TINY, folder_of, metric_lines

from r1rl.run import manifest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.processes
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def start(small_run, *words):
    """A run of its own process group."""
    command = [sys.executable, "-m", "r1rl.cli", "train", str(TINY), *small_run, "--name", "run", *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=ROOT)


def wait_for(condition, process, seconds=600):
    deadline = time.time() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.time() < deadline
        time.sleep(0.05)


def steps(folder):
    return len(metric_lines(folder)) if (folder / "metrics.jsonl").is_file() else 0


def family(process):
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def test_nothing_is_left_of_a_run_whose_launcher_is_killed(small_run):
    with start(small_run, "--launcher", "cpu_ddp2", "--max_steps", "1000") as run:
        wait_for(lambda: steps(folder_of(small_run)) >= 2, run)
        everyone = family(run)
        assert len(everyone) >= 4, "command, launcher, two ranks"
        second = start(small_run, "--launcher", "cpu_ddp2", "--resume")
        assert second.wait(300) == 2
        assert "is being trained by process" in second.stderr.read()
        run.send_signal(signal.SIGKILL)
        run.wait()
        _, alive = psutil.wait_procs(everyone, 120)
        assert not alive
    assert json.loads((folder_of(small_run) / "lock.json").read_text())["pid"] in [each.pid for each in everyone]


def evaluating(folder):
    """Whether the first evaluation is under way."""
    beat = folder / "heartbeats" / "rank_00000.json"
    return beat.is_file() and json.loads(beat.read_text())["phase"] == "sampling" and steps(folder) == 0


def test_a_signal_in_the_first_evaluation_leaves_cleanly(small_run):
    folder = folder_of(small_run)
    long = ["--heldout_size", "300", "--num_generations_eval", "64"]
    with start(small_run, *long) as run:
        wait_for(lambda: evaluating(folder), run)
        everyone = family(run)
        run.send_signal(signal.SIGTERM)
        _, errors = run.communicate(timeout=240)
    assert run.returncode == 130
    assert "interrupted" in errors.splitlines()
    # What measures beside a run has only what others leave of the cores.
    assert not psutil.wait_procs(everyone, 120)[1]
    assert not (folder / "lock.json").exists()
    assert not (folder / "metrics.jsonl").exists()


# Its fourth step lasts until it is ended.
ENDLESS = """
import time

def endless(completions, trainer_state, **columns):
    if trainer_state.global_step == 3:
        time.sleep(600)
    return [0.0] * len(completions)
"""


@pytest.mark.parametrize(
    ("numbers", "launcher"),
    [
        pytest.param([signal.SIGUSR1], [], id="SIGUSR1 saves", marks=pytest.mark.long),
        pytest.param([signal.SIGINT, signal.SIGINT], [], id="two Ctrl-C end at once"),
        pytest.param([signal.SIGTERM], ["--launcher", "cpu_ddp2"], id="SIGTERM, two processes"),
    ],
)
def test_a_signal_in_training(small_run, tmp_path, numbers, launcher):
    folder = folder_of(small_run)
    words = ["--max_steps", "1000", "--save_steps", "2", "--eval_steps", "0", *launcher]
    if len(numbers) > 1:  # the second comes in the step of the first
        (tmp_path / "lasting.py").write_text(ENDLESS)
        words += ["--reward_funcs", "accuracy", f"{tmp_path / 'lasting.py'}:endless"]
    with start(small_run, *words) as run:
        wait_for(lambda: steps(folder) >= 3, run)
        everyone = family(run)
        hangs = threading.Timer(300, run.kill)
        hangs.start()
        run.send_signal(numbers[0])
        for number in numbers[1:]:
            assert any("finishing this step" in line for line in iter(run.stderr.readline, "")), "it took the first"
            run.send_signal(number)
        errors = run.stderr.read()
        hangs.cancel()
    assert run.returncode == 130, errors
    assert not psutil.wait_procs(everyone, 120)[1]
    found, _ = manifest.newest_whole(folder / "checkpoints")
    done = manifest.step_of(found)
    assert done == steps(folder) if len(numbers) == 1 else done >= 2
    assert ("stopped after step" in errors) == (len(numbers) == 1)
    assert not (folder / "lock.json").exists()
