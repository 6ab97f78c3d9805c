"""Reflection of a step, measured beside the training: the right figures, and never at the run's expense."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import TrainerControl, TrainerState, TrainingArguments

from r1rl.aha.detect import annotation
from r1rl.aha.detect.annotation import annotate
from r1rl.aha.figures import annotations, figures, live_process
from r1rl.aha.figures.figures import LOGGED
from r1rl.run import folder as run_folder
from r1rl.store import store
from r1rl.train import main as train
from r1rl.train import reflection as live
from r1rl.train.reflection import MeasureReflection
from tests.aha.annotated_runs import rollout

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "recipes" / "tiny" / "countdown.yaml"
CONTROL = TrainerControl()
TEXTS = (
    "<think> 1 + 2 = 3 , 3 - 3 = 0 no , wait , 1 + 2 = 3 , 3 + 3 = 6 yes </think> <answer> 1 + 2 + 3 </answer>",
    "<think> 1 - 2 = -1 , -1 + 3 = 2 no </think> <answer> 1 - 2 + 3 </answer>",
)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    for step in range(3):
        rows = [rollout(f"p{i}", 0, completion=TEXTS[(i + step) % 2]) for i in range(4)]
        store.write_shard(tmp_path, rows, kind="train", step=step, rank=0)
    return tmp_path


def answers(run_dir: Path, *requests: dict[str, int]) -> list[dict[str, Any]]:
    out = io.StringIO()
    live_process.serve(run_dir, io.StringIO("".join(json.dumps(request) + "\n" for request in requests)), out)
    return [json.loads(line) for line in out.getvalue().splitlines()]


def callback(folder: Path, *, beside: bool = True) -> tuple[MeasureReflection, Any]:
    trainer = SimpleNamespace(folder=SimpleNamespace(path=folder), on_stored=None, step_metrics=defaultdict(list))
    return MeasureReflection(trainer, beside=beside), trainer  # type: ignore[arg-type]


def state(*, first: bool = True) -> TrainerState:
    return TrainerState(is_world_process_zero=first)


ARGUMENTS = TrainingArguments(use_cpu=True)


def test_every_metric_is_a_figure() -> None:
    assert set(LOGGED) <= set(figures.FIGURES)


def test_the_figures_of_the_steps_that_were_asked_for(run_dir: Path) -> None:
    found = answers(run_dir, {"step": 0}, {"step": 2})
    assert [answer["step"] for answer in found] == [0, 2]
    assert found[0]["metrics"]["aha/retried"] == found[0]["metrics"]["aha/marker_strict_rate"] == 0.5
    assert found[0]["metrics"]["aha/wrong_to_right"] == 0.5
    assert found[0]["metrics"]["aha/retry_after_miss"] == 0.5
    # What was annotated for that stays.
    assert [part.shard.name for part in annotations.missing(run_dir)] == ["train-000001-0000.parquet"]


def test_held_out_figures_are_of_the_sampled_rollouts_alone(run_dir: Path) -> None:
    rows = [rollout(f"p{i}", 0, completion=TEXTS[1]) for i in range(4)]
    greedy = [rollout(f"p{i}", 0, completion=TEXTS[0], temperature=0.0) for i in range(4)]
    store.write_shard(run_dir, [*rows, *greedy], kind="eval", step=0, rank=0)
    assert live.measured(run_dir, "eval", 0)["aha/retried"] == 0.0
    assert not annotations.missing(run_dir, kind="eval")


def test_a_held_out_evaluation_that_cannot_be_measured_stops_nothing(
    run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert live.measured(run_dir, "eval", 0) == {}
    assert "step 0: reflection was not measured: ValueError" in caplog.text


def test_an_empty_request_ends_it(run_dir: Path) -> None:
    assert [answer["step"] for answer in answers(run_dir, {"step": 1}, {}, {"step": 2})] == [1]


def test_an_error_is_told_and_the_next_step_is_measured(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def failing(row: dict[str, Any]) -> dict[str, Any]:
        calls.append(row["step"])
        if row["step"] == 0:
            raise OSError("no space left")
        return annotate(row)

    monkeypatch.setattr(annotation, "annotate", failing)
    found = answers(run_dir, {"step": 0}, {"step": 1}, {"step": 9})
    assert found[0] == {"step": 0, "error": "OSError: no space left"}
    assert found[1]["metrics"]["aha/retried"] == 0.5
    assert "no annotated train rollouts" in found[2]["error"]


def test_the_step_gets_its_figures_and_the_process_ends_with_the_training(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_STOP_SECONDS", 300)  # it ends in what other processes leave of the cores
    measure, trainer = callback(run_dir)
    measure.on_train_begin(ARGUMENTS, state(), CONTROL)
    process = measure.process
    assert process is not None
    for step in (0, 1):
        trainer.on_stored(step)
        measure.on_step_end(ARGUMENTS, state(), CONTROL)
        assert len(trainer.step_metrics["aha/retried"]) == step + 1
    measure.on_train_end(ARGUMENTS, state(), CONTROL)
    assert process.returncode == 0


def test_only_the_first_process_measures(run_dir: Path) -> None:
    measure, trainer = callback(run_dir)
    measure.on_train_begin(ARGUMENTS, state(first=False), CONTROL)
    trainer.on_stored(0)
    measure.on_step_end(ARGUMENTS, state(first=False), CONTROL)
    measure.on_train_end(ARGUMENTS, state(first=False), CONTROL)
    assert measure.process is None
    assert not trainer.step_metrics


@pytest.mark.parametrize("when", ["before it is asked", "before it answers"])
def test_a_killed_process_does_not_stop_the_run(run_dir: Path, when: str, caplog: pytest.LogCaptureFixture) -> None:
    measure, trainer = callback(run_dir)
    measure.on_train_begin(ARGUMENTS, state(), CONTROL)
    process = measure.process
    assert process is not None
    ask = trainer.on_stored
    if when == "before it is asked":
        process.kill()
        process.wait()
        ask(0)
    else:
        process.send_signal(signal.SIGSTOP)
        ask(0)
        process.kill()
    measure.on_step_end(ARGUMENTS, state(), CONTROL)
    assert "has ended" in caplog.text
    trainer.on_stored(1)  # measured here from now on
    measure.on_step_end(ARGUMENTS, state(), CONTROL)
    assert len(trainer.step_metrics["aha/retried"]) == 2, "no step is lost, and none counted twice"
    measure.on_train_end(ARGUMENTS, state(), CONTROL)


def test_without_a_spare_core_it_measures_by_itself(run_dir: Path) -> None:
    measure, trainer = callback(run_dir, beside=False)
    measure.on_train_begin(ARGUMENTS, state(), CONTROL)
    assert measure.process is None
    for step in (0, 9):  # of the second there is nothing to measure, which is no reason to stop
        trainer.on_stored(step)
        measure.on_step_end(ARGUMENTS, state(), CONTROL)
    assert trainer.step_metrics["aha/retried"] == [0.5]


@pytest.mark.parametrize(
    ("device", "cores", "threads", "processes", "expected"),
    [
        pytest.param("cuda", 1, 8, 8, True, id="the accelerator computes"),
        pytest.param("cpu", 2, 2, 1, False, id="every core computes"),
        pytest.param("cpu", 2, 1, 1, True, id="one is left"),
        pytest.param("cpu", 2, 1, 2, False, id="two processes"),
    ],
)
def test_spare_cores(
    monkeypatch: pytest.MonkeyPatch, device: str, cores: int, threads: int, processes: int, expected: bool
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    assert live.has_spare_core(device, processes) is expected


def test_it_ends_with_its_parent_though_another_process_holds_the_pipe(run_dir: Path) -> None:
    # The parent starts the measuring process, leaves the pipe's end to a sleeper, and dies without a word.
    script = (
        "import os, subprocess, sys\n"
        "command = [sys.executable, '-m', 'r1rl.aha.figures.live_process', sys.argv[1], str(os.getpid())]\n"
        "quiet = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL}\n"
        "child = subprocess.Popen(command, stdin=subprocess.PIPE, **quiet)\n"
        "os.set_inheritable(child.stdin.fileno(), True)\n"
        "sleeper = subprocess.Popen(['sleep', '600'], close_fds=False, **quiet)\n"
        "print(child.pid, sleeper.pid, flush=True)\n"
        "child.stdin.write(b'{\"step\": 0}\\n'); child.stdin.flush()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    parent = subprocess.run(
        [sys.executable, "-c", script, str(run_dir)], capture_output=True, text=True, check=False, timeout=300,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    child, sleeper = map(int, parent.stdout.splitlines()[0].split())
    try:
        deadline = time.monotonic() + 300
        while _alive(child) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert not _alive(child)
    finally:
        os.kill(sleeper, 9)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("beside", [True, False])
def test_a_run_logs_what_the_store_says(small_run: list[str], beside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "has_spare_core", lambda *_: beside)
    assert train.main(["--config", str(TINY), *small_run, "--name", "run"]) == 0
    folder = run_folder.RunFolder(Path(small_run[small_run.index("--runs_dir") + 1]) / "run")
    lines = [line for text in folder.metrics.read_text().splitlines() if "reward" in (line := json.loads(text))]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert not annotations.missing(folder.path, kind="train")
    for line in lines:
        expected = figures.of_step(folder.path, "train", line["step"] - 1, LOGGED)
        logged = {name.removeprefix("aha/"): value for name, value in line.items() if name.startswith("aha/")}
        assert logged == pytest.approx(expected)
        assert {"marker_strict_rate", "retried"} <= set(logged)
