"""A real Slurm of two nodes on this machine: `make test-slurm`, as root, with Slurm and munge installed.

Not part of `make test`: it edits /etc/hosts while it runs and starts daemons.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "recipes" / "tiny" / "countdown.yaml"
SCRIPTS = sorted((ROOT / "tests" / "launch" / "slurm_scripts").glob("*.sh"))
assert SCRIPTS, "no golden script would be skipped in silence"
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
    environment = os.environ | {"CPUS_PER_NODE": "2", "GPU_NODES": "5"}
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

    def call(name, *words, profile=profile):
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


def same_weights(submit, *names):
    from safetensors.torch import load_file

    first, second = (load_file(submit.runs / name / "checkpoints" / "final" / "model.safetensors") for name in names)
    return set(first) == set(second) and all((first[key] == second[key]).all() for key in first)


def slurm(submit, *words):
    return subprocess.run(words, check=True, env=submit.environment, timeout=60, capture_output=True, text=True)


def test_a_stopped_run_ends_with_the_weights_of_an_uninterrupted_one(submit):
    """Stopped by a job that takes its nodes (and leaves it time to save), and by a kill in the middle of a step."""
    words = ("--nodes", "2", "--launcher", "ddp", "--max_steps", "60", "--eval_steps", "0")
    whole = submit("whole", *words)
    wait_for(lambda: over(submit, whole), 180)
    assert states(submit, whole) == {"COMPLETED"}, output(submit, "whole", whole)[-3000:]
    seed = random.randrange(1000)
    print(f"random.Random({seed})")
    step = random.Random(seed).randrange(1, 21)  # the rest lasts longer than Slurm takes to preempt
    job = submit("preempted", *words)
    wait_for(lambda: made_steps(submit.runs / "preempted") >= step, 120)
    slurm(submit, "sbatch", "--partition=high", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    wait_for(lambda: over(submit, job), 180)
    shown = output(submit, "preempted", job)
    assert states(submit, job) == {"COMPLETED"}, shown[-3000:]
    assert "restart 1: preempted goes on from its last checkpoint" in shown
    assert same_weights(submit, "whole", "preempted")
    job = submit("killed", *words)
    wait_for(lambda: made_steps(submit.runs / "killed") >= 3, 120)
    slurm(submit, "scontrol", "requeue", job)
    wait_for(lambda: over(submit, job), 180)
    shown = output(submit, "killed", job)
    assert states(submit, job) == {"COMPLETED"}, shown[-3000:]
    assert "restart 1: killed goes on from its last checkpoint" in shown
    assert same_weights(submit, "whole", "killed")


def test_requeues_are_counted(submit):
    job = submit("often", "--max-requeues", "0", "--max_steps", "200", "--eval_steps", "0")
    wait_for(lambda: made_steps(submit.runs / "often") >= 1, 120)
    slurm(submit, "scancel", "--signal=USR1", "--batch", job)
    wait_for(lambda: over(submit, job), 120)
    assert states(submit, job) == {"FAILED"}
    assert "not requeued again (--max-requeues)" in output(submit, "often", job)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_sbatch_accepts_the_golden_scripts(cluster, path):
    done = subprocess.run(
        ["sbatch", "--test-only", "--partition=gpu", str(path)],
        capture_output=True, text=True, timeout=60, env=cluster, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "to start at" in done.stderr


def test_a_killed_rank_ends_the_job_within_a_minute(submit):
    job = submit("killed", "--nodes", "2", "--launcher", "ddp", "--max_steps", "200", "--eval_steps", "0")
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
    assert "failed first (" in output(submit, "killed", job)
    assert "killed by SIGKILL" in output(submit, "killed", job)


def test_an_array_of_three_seeds_gives_one_report(submit):
    job = submit("seeds", "--seeds", "3", "--max_steps", "2", "--eval_steps", "0")
    known = json.loads((submit.runs / "slurm" / f"{job}.json").read_text())
    wait_for(lambda: over(submit, str(known["report"])), 240)
    report = Path(known["report_output"]).read_text()
    assert states(submit, job) == states(submit, str(known["report"])) == {"COMPLETED"}, report[-3000:]
    results = [json.loads((submit.runs / f"seeds-seed{seed}" / "result.json").read_text()) for seed in range(3)]
    assert [(each["finished"], each["seed"]) for each in results] == [(True, seed) for seed in range(3)]
    assert "runs seeds-seed0, seeds-seed1, seeds-seed2" in report


FAKE_TRAINING = """#!/bin/bash
# An interpreter whose trainings only ask the server how it is.
case "$*" in
  *r1rl.train*) {python} -c 'import json, sys, urllib.request
url = sys.argv[sys.argv.index("--vllm_server_base_url") + 1]
assert urllib.request.urlopen(url + "/health/", timeout=5).status == 200
import os; os.makedirs("{runs}/served", exist_ok=True)
json.dump(dict(finished=True), open("{runs}/served/result.json", "w"))' "$@" ;;
  *) exec {python} "$@" ;;
esac
"""
FAKE_TRL = """#!{python}
import http.server, os, time
open("{here}/server.pid", "w").write(str(os.getpid()))
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health/" else 404)
        self.end_headers()
time.sleep(3)
http.server.HTTPServer(("0.0.0.0", 8000), Health).serve_forever()
"""


def test_training_waits_for_a_dedicated_server_and_takes_it_along(submit, small_run, tmp_path):
    """With stand-ins for `trl vllm-serve`, which is slow to answer, and for the training."""
    for name, text in (("trl", FAKE_TRL), ("python", FAKE_TRAINING)):
        text = text.replace("{python}", sys.executable).replace("{runs}", str(submit.runs))
        (tmp_path / name).write_text(text.replace("{here}", str(tmp_path)))
        (tmp_path / name).chmod(0o755)
    profile = tmp_path / "gpus.yaml"
    profile.write_text(
        f"partition: gpu\ngpus_per_node: 1\npython: {tmp_path}/python\nsetup: ['export PATH={tmp_path}:$PATH']\n"
    )
    job = submit("served", "--vllm", "server", "--nodes", "2", profile=profile)
    wait_for(lambda: over(submit, job), 60)
    shown = output(submit, "served", job)
    assert states(submit, job) == {"COMPLETED"}, shown[-3000:]
    assert shown.index("is ready after") < shown.index("served is finished")
    server = Path("/proc") / (tmp_path / "server.pid").read_text()
    wait_for(lambda: not server.exists(), 30)
