"""A real Slurm of two nodes on this machine: `make test-slurm`, as root, with Slurm and munge installed.

Not part of `make test`: it edits /etc/hosts while it runs and starts daemons.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TINY = ROOT / "recipes" / "tiny" / "countdown.yaml"
pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not os.environ.get("R1RL_TEST_SLURM"), reason="make test-slurm"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    assert shutil.which("slurmctld"), "install slurmctld, slurmd, slurm-client and munge"
    # munge refuses folders that others may write to, and pytest's are in one
    root = Path(os.environ.get("R1RL_TEST_SLURM_ROOT", "/tmp")) / f"r1rl-slurm-{os.getpid()}"
    script = ROOT / "tests" / "slurm_cluster.sh"
    environment = os.environ | {"CPUS_PER_NODE": "2"}
    subprocess.run(["bash", str(script), "start", str(root), "2"], check=True, timeout=120, env=environment)
    yield os.environ | {
        "SLURM_CONF": str(root / "slurm.conf"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1",
    }  # fmt: skip
    subprocess.run(["bash", str(script), "stop", str(root)], check=True, timeout=120)
    shutil.rmtree(root)


@pytest.fixture
def submit(cluster, small_run, tmp_path):
    profile = tmp_path / "here.yaml"
    profile.write_text(f"python: {sys.executable}\nsignal_seconds: 60\ntimeout_seconds: 120\n")

    def call(name, *words):
        words = [*small_run, "--name", name, "--use_cpu", "true", "--save_steps", "2", *words]
        done = subprocess.run(
            [sys.executable, "-m", "r1rl.cli", "submit", str(TINY), "--profile", str(profile), *words],
            capture_output=True, text=True, timeout=120, env=cluster, cwd=ROOT, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[1].rstrip(":")

    call.runs = Path(small_run[small_run.index("--runs_dir") + 1])
    call.environment = cluster
    return call


def states(submit, job):
    shown = subprocess.run(
        ["scontrol", "show", "job", job], capture_output=True, text=True, timeout=30, check=True, env=submit.environment
    ).stdout
    return {word.partition("=")[2] for word in shown.split() if word.startswith("JobState=")}


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.5)


def over(submit, job):
    return states(submit, job) <= {"COMPLETED", "FAILED", "CANCELLED"}


def made_steps(folder):
    path = folder / "metrics.jsonl"
    return path.read_text().count('"reward"') if path.is_file() else 0


def output(submit, name, job):
    return (submit.runs / "slurm" / f"{name}-{job}.out").read_text(errors="replace")


def test_a_preempted_run_ends_with_the_weights_of_an_uninterrupted_one(submit):
    from safetensors.torch import load_file

    words = ("--nodes", "2", "--launcher", "ddp", "--max_steps", "8", "--probe_every", "0")
    job = submit("whole", *words)
    wait_for(lambda: over(submit, job), 180)
    assert states(submit, job) == {"COMPLETED"}, output(submit, "whole", job)[-3000:]
    job = submit("cut", *words)
    wait_for(lambda: made_steps(submit.runs / "cut") >= 3, 120)
    subprocess.run(["scancel", "--signal=USR1", "--batch", job], check=True, env=submit.environment, timeout=30)
    wait_for(lambda: over(submit, job), 240)
    shown = output(submit, "cut", job)
    assert states(submit, job) == {"COMPLETED"}, shown[-3000:]
    assert "restart 1: cut goes on from its last checkpoint" in shown
    whole, cut = (
        load_file(submit.runs / name / "checkpoints" / "final" / "model.safetensors") for name in ("whole", "cut")
    )
    assert all((whole[name] == cut[name]).all() for name in whole)


def test_a_killed_rank_ends_the_job_within_a_minute(submit):
    job = submit("killed", "--nodes", "2", "--launcher", "ddp", "--max_steps", "200", "--probe_every", "0")
    folder = submit.runs / "killed"
    wait_for(lambda: made_steps(folder) >= 1, 120)
    victim = next(
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if (words := path.read_bytes().decode(errors="replace").split("\0"))[1:4] == ["-u", "-m", "r1rl.train"]
        and str(submit.runs) in words
    )
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: over(submit, job), 60)
    assert states(submit, job) == {"FAILED"}
    assert f"(pid: {victim})" in output(submit, "killed", job)


def test_an_array_of_three_seeds(submit):
    job = submit("seeds", "--seeds", "3", "--max_steps", "2", "--probe_every", "0")
    wait_for(lambda: over(submit, job), 240)
    assert states(submit, job) == {"COMPLETED"}
    results = [json.loads((submit.runs / f"seeds-seed{seed}" / "result.json").read_text()) for seed in range(3)]
    assert [(each["finished"], each["seed"]) for each in results] == [(True, seed) for seed in range(3)]
