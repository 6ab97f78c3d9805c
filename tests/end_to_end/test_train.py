"""Real processes: the command line, Accelerate with one and two processes, Ctrl-C and resume."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_training import TINY, folder_of, metric_lines

from r1rl.store import store

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.processes
# One thread a process: the machine's cores are shared by the processes of a test.
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def r1rl(*words, timeout=900, **kwargs):
    return subprocess.run(
        [sys.executable, "-m", "r1rl.cli", *map(str, words)],
        capture_output=True, text=True, timeout=timeout, env=ENVIRONMENT, cwd=ROOT, check=False, **kwargs,
    )  # fmt: skip


def test_train_then_inspect(small_run):
    done = r1rl("train", TINY, *small_run, "--name", "run")
    assert done.returncode == 0, done.stderr
    folder = folder_of(small_run)
    for name in ("recipe.yaml", "environment.json", "metrics.jsonl", "result.json", "checkpoints/final/config.json"):
        assert (folder / name).is_file(), name
    assert list((folder / "tensorboard").glob("events*")), "TensorBoard files are in the run folder"
    shown = r1rl("inspect", folder, "--json")
    assert shown.returncode == 0, shown.stderr
    summary = json.loads(shown.stdout)
    for key in ("accuracy", "accuracy_greedy", "retry_after_miss", "wrong_to_right"):
        assert {"first", "last", "change", "p_adjusted"} <= set(summary["figures"][key])
    assert (summary["steps"], summary["rollouts"]) == (3, 48)
    assert summary["wall_seconds"] > 0
    printed = r1rl("inspect", folder)
    assert printed.returncode == 0, printed.stderr
    assert (folder / "report.html").stat().st_size > 100_000


def test_two_processes_give_the_same_metrics_and_every_row_once(small_run):
    one, two = (
        r1rl("train", TINY, *small_run, "--name", name, *extra)
        for name, extra in (("one", ()), ("two", ("--launcher", "cpu_ddp2")))
    )
    assert one.returncode == 0, one.stderr
    assert two.returncode == 0, two.stderr
    first, second = metric_lines(folder_of(small_run, "one")), metric_lines(folder_of(small_run, "two"))
    assert [set(line) for line in first] == [set(line) for line in second]
    assert json.loads((folder_of(small_run, "two") / "environment.json").read_text())["world_size"] == 2
    tables = [store.read(folder_of(small_run, name)).to_pylist() for name in ("one", "two")]
    for rows in tables:
        keys = [(r["kind"], r["step"], r["rank"], r["group_id"], r["sample_idx"]) for r in rows]
        assert len(keys) == len(set(keys)), "no row twice"
    assert {row["rank"] for row in tables[1]} == {0, 1}
    for kind, step, columns in (
        ("train", 0, ("prompt_id", "token_ids", "reward", "advantage")),
        ("eval", 0, ("prompt_id", "temperature", "sample_idx", "token_ids")),
    ):
        # Before the first update both runs have the same policy, so they sample the same rollouts.
        same = [
            sorted(repr([r[c] for c in columns]) for r in rows if (r["kind"], r["step"]) == (kind, step))
            for rows in tables
        ]
        assert same[0] == same[1], kind
    assert first[0]["grad_norm"] == pytest.approx(second[0]["grad_norm"], rel=1e-4)
    for step in (1, 2):
        count = [sum(r["kind"] == "train" and r["step"] == step for r in rows) for rows in tables]
        assert count == [16, 16], "none missing"


def test_a_launcher_that_starts_too_few_processes_is_caught(small_run, tmp_path):
    trap = tmp_path / "trap.yaml"
    trap.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_CPU\nnum_machines: 1\nnum_processes: 2\n"
        "machine_rank: 0\nmixed_precision: 'no'\nuse_cpu: true\n"
    )
    done = r1rl("train", TINY, *small_run, "--name", "run", "--launcher", trap)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: 2 processes were asked for and 1 started")
    assert not (folder_of(small_run) / "metrics.jsonl").exists()


# From its third step on a run waits until it may go on.
GATE = """
import pathlib, time

def gate(completions, trainer_state, **columns):
    while trainer_state.global_step >= 2 and not pathlib.Path({!r}).exists():
        time.sleep(0.05)
    return [0.0] * len(completions)
"""


def test_ctrl_c_leaves_a_run_that_can_be_resumed(small_run, tmp_path):
    (tmp_path / "gate.py").write_text(GATE.format(str(tmp_path / "open")))
    train = ["train", str(TINY), *small_run, "--max_steps", "8"]
    train += ["--reward_funcs", "accuracy", f"{tmp_path / 'gate.py'}:gate"]
    words = [sys.executable, "-m", "r1rl.cli", *train, "--name", "run"]
    folder = folder_of(small_run)
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT, cwd=ROOT) as process:
        deadline = time.time() + 600
        while not (folder / "metrics.jsonl").exists() or not metric_lines(folder):
            assert process.poll() is None, process.stderr.read()
            assert time.time() < deadline, "no step within ten minutes"
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        (tmp_path / "open").touch()
        _, errors = process.communicate(timeout=300)
    assert process.returncode == 130, errors
    stopped = len(metric_lines(folder))
    assert 1 <= stopped < 8
    assert (folder / "checkpoints" / f"checkpoint-{stopped}").is_dir()
    assert f"stopped after step {stopped}" in errors
    for expected in ("", "is finished"):
        done = r1rl(*train, "--name", "run", "--resume")
        assert done.returncode == 0, done.stderr
        assert expected in done.stderr
    whole = r1rl(*train, "--name", "whole")
    assert whole.returncode == 0, whole.stderr
    resumed, straight = metric_lines(folder), metric_lines(folder_of(small_run, "whole"))
    assert [line["step"] for line in resumed] == [line["step"] for line in straight] == list(range(1, 9))
    measured = [key for key in straight[-1] if key.startswith("aha/") or key == "reward"]
    assert len(measured) > 2, "live figures are in the log"
    for one, other in zip(resumed, straight, strict=True):
        assert {key: one.get(key) for key in measured} == {key: other.get(key) for key in measured}
    tables = [store.read(path, columns=["kind", "step", "completion"]) for path in (folder, folder.with_name("whole"))]
    assert tables[0].to_pylist() == tables[1].to_pylist()


LONG = pytest.mark.long  # tests/test_refusals.py has them too, without processes
BAD = [
    pytest.param(["--prompts_per_stepp", "4"], "prompts_per_step", id="unknown key, nearest named", marks=LONG),
    pytest.param(["--learning_rate", "fast"], "learning_rate", id="wrong type", marks=LONG),
    pytest.param(["--launcher", "cpu_ddp2", "--prompts_per_step", "3"], "prompts_per_step=3", id="indivisible batch"),
    pytest.param(["--task", "countdwon"], "countdown", id="unknown task", marks=LONG),
    pytest.param(["--reward_funcs", "acuracy"], "accuracy", id="unknown reward", marks=LONG),
    pytest.param(["--prompt_template", "r1zero"], "r1-zero", id="unknown template", marks=LONG),
    pytest.param(["--model_name_or_path", "base:countdwn"], "base:countdwn", id="unknown base", marks=LONG),
    pytest.param(["--launcher", "cpu_dpd"], "cpu_ddp2", id="unknown launcher", marks=LONG),
    pytest.param(["--num_generations", "1"], "num_generations=1", id="a group of one", marks=LONG),
    pytest.param(["--task", "file", "--task_options", '{"path": "nowhere.jsonl"}'], "nowhere.jsonl", id="missing data"),
]


@pytest.mark.parametrize(("words", "named"), BAD)
def test_a_bad_recipe_is_one_message_and_code_2(words, named, small_run):
    done = r1rl("train", TINY, *small_run, *words)
    assert done.returncode == 2, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    assert named in lines[0]
    assert "Traceback" not in done.stderr
    assert not folder_of(small_run).parent.exists(), "nothing was written"


def test_a_missing_recipe_file(small_run):
    done = r1rl("train", ROOT / "recipes" / "tiny" / "countdwn.yaml")
    assert done.returncode == 2
    assert "did you mean" in done.stderr
    assert "countdown.yaml" in done.stderr
