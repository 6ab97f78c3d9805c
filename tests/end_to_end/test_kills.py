"""A run that is killed at random moments, in the middle of writes too, ends as the uninterrupted one, bit for bit.

`R1RL_TEST_KILLS=50 pytest tests/end_to_end/test_kills.py` kills each kind of run so often, and prints the figures.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from tiny_training import TINY, folder_of

from r1rl.run import folder as run_folder
from r1rl.store import store

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.processes
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
KILLS = int(os.environ.get("R1RL_TEST_KILLS", "0"))
COMMON = [
    "--max_steps", "6", "--save_steps", "1", "--save_total_limit", "2", "--eval_steps", "3", "--learning_rate", "1e-3",
    "--prompts_per_step", "2", "--max_completion_length", "16", "--heldout_size", "4", "--lr_scheduler_type", "linear",
    "--report_to", "none", "--guards.all", "off",
]  # fmt: skip
REFERENCE = ["--beta", "0.01", "--sync_ref_model", "true", "--ref_model_sync_steps", "2"]
KINDS = {
    "plain": [],
    "KL with a synced reference": REFERENCE,
    "two iterations": ["--num_iterations", "2", *REFERENCE],
    "four steps a batch": ["--steps_per_generation", "4"],
    "LoRA": ["--use_peft", "true", "--lora_target_modules", "down_proj"],
    "dynamic sampling": ["--dynamic_sampling", "true", "--train_size", "32"],
    "two processes": ["--launcher", "cpu_ddp2"],
}
SHORT = {"two iterations": 3}  # what is killed, and how often, where nobody asks for more


class Starter:
    """Starts runs, each in a process of its own.

    Attributes:
        takes: seconds that the last one took that was left alone; one that was launched, since its ranks were ready.
    """

    def __init__(self) -> None:
        self.takes = 0.0
        self.forks = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("forked_runs.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
        )  # fmt: skip
        self.said: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        self.said.extend(self.forks.stderr)

    def run(self, words: list[str], *, kill_at: int | None = None, kill_after: float | None = None) -> int:
        """The exit code of a run that is killed in a write (if forked), after so many seconds, or not at all."""
        if "--launcher" in words:
            return self._launched(words, kill_after)
        began = time.time()
        self.forks.stdin.write(json.dumps({"words": ["--config", str(TINY), *words], "kill_at": kill_at}) + "\n")
        self.forks.stdin.flush()
        child = int(self.forks.stdout.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        code = int(self.forks.stdout.readline())
        if kill_at is None and kill_after is None:
            self.takes = time.time() - began
        return code

    def _launched(self, words: list[str], kill_after: float | None) -> int:
        command = [sys.executable, "-m", "r1rl.cli", "train", str(TINY), *words]
        heartbeat = folder_of(words, words[words.index("--name") + 1]) / "heartbeats"
        for old in heartbeat.glob("*.ready"):
            old.unlink()
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=ROOT) as process:
            threading.Thread(target=lambda: self.said.extend(process.stderr), daemon=True).start()
            while process.poll() is None and not list(heartbeat.glob("*.ready")):
                time.sleep(0.1)
            began = time.time()
            if kill_after is not None:
                time.sleep(kill_after)
                with contextlib.suppress(psutil.Error):
                    parent = psutil.Process(process.pid)
                    random.choice([parent, *parent.children(recursive=True)]).kill()
            code = process.wait()
            if kill_after is None:
                self.takes = time.time() - began
            return code


@pytest.fixture(scope="module")
def starter():
    made = Starter()
    yield made
    made.forks.stdin.close()
    made.forks.wait(120)


def left_by(folder):
    """What a run leaves, less what the clock decides: weights, rollouts with log-probabilities, metrics."""
    (weights,) = (folder.checkpoints / "final").glob("*.safetensors")
    rows = store.read(folder.path)
    rows = rows.drop_columns(["run", "wall_time"]).to_pylist()
    clock = ("time", "seconds", "runtime", "per_second", "flos", "train_loss")
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    lines = [{k: v for k, v in line.items() if not any(word in k for word in clock)} for line in lines]
    return hashlib.sha256(weights.read_bytes()).hexdigest(), [repr(row) for row in rows], lines


@pytest.mark.parametrize("kind", KINDS if KILLS else SHORT)
def test_a_killed_run_is_the_uninterrupted_one(small_run, starter, kind):
    words = [*small_run, *COMMON, *KINDS[kind]]
    assert starter.run([*words, "--name", "whole"]) == 0, "".join(starter.said[-30:])
    takes = starter.takes
    whole = left_by(run_folder.RunFolder(folder_of(small_run, "whole")))
    draws, killed, ended, runs = random.Random(kind), 0, 0, 0
    wanted = KILLS or SHORT[kind]
    while killed < wanted:
        runs += 1
        name = f"killed-{runs}"
        for _ in range(min(wanted - killed, 5)):  # then another run: the later ones would be killed at the end alone
            in_write = draws.random() < 0.5 and "--launcher" not in words
            how = {"kill_at": draws.randint(1, 60)} if in_write else {"kill_after": draws.uniform(0.1, 0.8) * takes}
            code = starter.run([*words, "--name", name, "--resume", "true"], **how)
            killed += code != 0
            if code == 0:
                ended += 1
                break
        assert starter.run([*words, "--name", name, "--resume", "true"]) == 0, "".join(starter.said[-30:])
        left = left_by(run_folder.RunFolder(folder_of(small_run, name)))
        assert left[0] == whole[0], "weights"
        assert left[1] == whole[1], "rollouts"
        assert left[2] == whole[2], "metrics"
    if KILLS:
        print(f"\n{kind}: {killed} kills in {runs} runs, {ended} starts ended before; {takes:.1f} s a whole run")
