"""Two real processes of which one raises, is killed, is stopped or hangs: one message names it, and the run ends."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "recipes" / "tiny" / "countdown.yaml"
pytestmark = pytest.mark.processes
TROUBLE = """
import os, signal, time

def trouble(completions, trainer_state, **columns):
    if os.environ.get("RANK") == "1" and trainer_state.global_step >= 1:  # asked once before
        raised = os.environ.get("TROUBLE")
        if raised == "raise":
            raise ValueError("no such column: golden")
        if raised == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        if raised == "sleep":
            time.sleep(300)
    return [0.0] * len(completions)
"""


def train(small_run, tmp_path, trouble, *words):
    (tmp_path / "trouble_here.py").write_text(TROUBLE)
    environment = os.environ | {
        "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}", "TROUBLE": trouble,
    }  # fmt: skip
    words = [
        *small_run, "--name", "run", "--launcher", "ddp:2", "--heldout_size", "2", "--num_generations_eval", "1",
        "--reward_funcs", "accuracy", "trouble_here:trouble", *words,
    ]  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "r1rl.cli", "train", str(TINY), *words],
        capture_output=True, text=True, timeout=600, env=environment, cwd=ROOT, check=False,
    )  # fmt: skip


def heartbeats(small_run):
    return Path(small_run[small_run.index("--runs_dir") + 1]) / "run" / "heartbeats"


def test_the_first_error_is_shown_once(small_run, tmp_path):
    done = train(small_run, tmp_path, "raise")
    assert done.returncode == 1, done.stderr[-3000:]
    assert done.stderr.count("failed first (") == 1
    line = next(line for line in done.stderr.splitlines() if "failed first (" in line)
    assert line.startswith("rank 1 of 2 on ")
    assert line.endswith("ValueError: no such column: golden")
    assert done.stderr.count("Traceback (most recent call last)") == 1
    assert done.stderr.rstrip().endswith("the other processes stopped because of it")
    assert "ChildFailedError" not in done.stderr


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        ("stop", "rank 1 of 2 does not answer: stopped, dead, or stuck outside Python: host "),
        pytest.param("sleep", "rank 1 of 2 does not wait for the others: host ", marks=pytest.mark.long),
    ],
)
def test_the_process_that_holds_the_run_up_is_named(small_run, tmp_path, trouble, expected):
    # Loading takes longer than a step, and much longer on a busy machine.
    done = train(small_run, tmp_path, trouble, "--watchdog_seconds", "40")
    ended, folder = time.time(), heartbeats(small_run)
    assert done.returncode == 1, done.stderr[-3000:]
    judged = json.loads((folder / "stalled.json").read_text())["time"]
    assert ended - judged < 60  # else torch's agent waited for the stopped process
    assert done.stderr.count("stalled: no process has made progress for 40 s") == 1
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert "most recent call first" in (folder / "rank_00000.stack.txt").read_text()
    if trouble == "sleep":
        assert "in trouble" in (folder / "rank_00001.stack.txt").read_text()
        assert "trouble_here.py:" in done.stderr
    pid = json.loads((folder / "rank_00001.json").read_text())["pid"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIG_DFL)
