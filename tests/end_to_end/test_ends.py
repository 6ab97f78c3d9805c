"""However a run of real processes is ended, nothing of it trains on, and it goes on where it was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tiny_training import TINY, folder_of, metric_lines

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.processes
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def start(small_run, *words):
    """A run of its own process group."""
    command = [sys.executable, "-m", "r1rl.cli", "train", str(TINY), *small_run, "--name", "run", *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=ROOT)


def wait_for(condition, process, seconds=240):
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
        assert second.wait(120) == 2
        assert "is being trained by process" in second.stderr.read()
        run.send_signal(signal.SIGKILL)
        run.wait()
        _, alive = psutil.wait_procs(everyone, 15)
        assert not alive
    assert json.loads((folder_of(small_run) / "lock.json").read_text())["pid"] in [each.pid for each in everyone]
