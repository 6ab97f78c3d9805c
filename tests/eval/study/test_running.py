"""The processes of a study: what is done, what fails, what waits for a base, and how all is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from r1rl.eval.study import running, work
from r1rl.eval.study.work import Job

# Stands for `r1rl`: FOLDER WHAT. Slow jobs take note of a signal as a run does that saves a checkpoint.
PROGRAM = textwrap.dedent("""
    import json, os, pathlib, signal, sys, time
    folder, what = pathlib.Path(sys.argv[1]), sys.argv[2]
    folder.mkdir(parents=True, exist_ok=True)
    if what == "fails":
        print("error: the disk is full")
        sys.exit(1)
    if what == "slow":
        def stop(*_):
            (folder / "checkpoint").touch()
            sys.exit(130)
        signal.signal(signal.SIGINT, stop)
        (folder / "begun").touch()
        time.sleep(600)
    (folder / "threads").write_text(os.environ.get("OMP_NUM_THREADS", ""))
    name = "base.json" if what == "base" else "result.json"
    (folder / name).write_text(json.dumps({"finished": True, "steps": 1, "wall_seconds": 30.0}))
""")


@pytest.fixture(autouse=True)
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    monkeypatch.setattr(running, "PROGRAM", (sys.executable, str(path)))
    monkeypatch.setattr(running, "_POLL_SECONDS", 0.02)
    return path


def job(folder: Path, name: str, what: str = "run", needs: Path | None = None) -> Job:
    return Job("base" if what == "base" else "run", name, (str(folder / name), what), folder / name, 1, needs)


def test_what_fails_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "a"), job(tmp_path, "b", "fails"), job(tmp_path, "c")]
    seen: list[tuple[str, str]] = []
    outcome = running.run(jobs, tmp_path / "logs", tell=lambda one, event: seen.append((one.name, event)))
    assert outcome.done == ["a", "c"]
    assert list(outcome.failed) == ["b"]
    assert outcome.failed["b"].startswith("error: the disk is full (exit code 1, ")
    assert seen == [("a", "begun"), ("a", "done"), ("b", "begun"), ("b", "failed"), ("c", "begun"), ("c", "done")]
    again = running.run(jobs, tmp_path / "logs")
    assert (again.done, list(again.failed)) == ([], ["b"]), "what is done is not done again"


def test_a_run_waits_for_its_base(tmp_path: Path) -> None:
    base = job(tmp_path, "base", "base")
    jobs = [base, job(tmp_path, "needs it", needs=base.folder), job(tmp_path, "does not")]
    events: list[str] = []
    running.run(jobs, tmp_path / "logs", at_once=2, tell=lambda one, event: events.append(f"{one.name} {event}"))
    assert events.index("base done") < events.index("needs it begun")
    assert events.index("does not begun") < events.index("base done"), "others need not wait"
    assert base.seconds() is not None


def test_a_run_whose_base_failed_is_not_begun(tmp_path: Path) -> None:
    base = Job("base", "base", (str(tmp_path / "base"), "fails"), tmp_path / "base")
    outcome = running.run([base, job(tmp_path, "run", needs=base.folder), job(tmp_path, "other")], tmp_path / "logs")
    assert outcome.done == ["other"]
    assert outcome.failed["run"] == "not begun, its base base was not built"


@pytest.mark.parametrize(
    ("at_once", "stated", "threads"),
    [
        pytest.param(1, None, "", id="alone, torch decides"),
        pytest.param(2, None, "2", id="two share four cores"),
        pytest.param(8, None, "1", id="never fewer than one"),
        pytest.param(2, "3", "3", id="as the user says"),
    ],
)
def test_jobs_share_the_cores(
    at_once: int, stated: str | None, threads: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("r1rl.ground.machine.usable_cores", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if stated:
        monkeypatch.setenv("OMP_NUM_THREADS", stated)
    running.run([job(tmp_path, "a")], tmp_path / "logs", at_once=at_once)
    assert (tmp_path / "a" / "threads").read_text() == threads


def test_the_budget_ends_it_with_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [job(tmp_path, "a", "slow"), job(tmp_path, "b")]
    # The budget is spent once the job has begun, whatever it takes to start a process.
    clock = SimpleNamespace(monotonic=lambda: 2.0 * (tmp_path / "a" / "begun").exists(), sleep=time.sleep)
    monkeypatch.setattr(running, "time", clock)
    outcome = running.run(jobs, tmp_path / "logs", budget_hours=1.5 / 3600)
    assert outcome.stopped == "the budget of 0.000416667 h is spent"
    assert (tmp_path / "a" / "checkpoint").exists()
    assert not jobs[1].folder.exists()
    assert not outcome.failed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_the_runs_for_a_checkpoint_and_begins_no_other(
    number: int, tmp_path: Path, program: Path
) -> None:
    """In a process of its own, as a user's shell starts it."""
    code = textwrap.dedent(f"""
        import pathlib, sys
        from r1rl.eval.study import running
        from r1rl.eval.study.work import Job
        running.PROGRAM = (sys.executable, {str(program)!r})
        folder = pathlib.Path({str(tmp_path)!r})
        jobs = [Job("run", name, (str(folder / name), "slow"), folder / name) for name in "abc"]
        print(running.run(jobs, folder / "logs", at_once=2).stopped)
    """)
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    until = time.monotonic() + 300
    while not all((tmp_path / name / "begun").exists() for name in "ab") and time.monotonic() < until:
        time.sleep(0.05)
    os.kill(parent.pid, number)
    out, _ = parent.communicate(timeout=240)
    assert out == "interrupted\n"
    assert all((tmp_path / name / "checkpoint").exists() for name in "ab")
    assert not (tmp_path / "c").exists()


def test_how_long_the_rest_takes(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "base", "base"), *(job(tmp_path, name) for name in "abcd")]
    assert work.minutes_left(jobs, {}, 1) is None
    assert work.minutes_left(jobs, {"run": 2.0}, 1) is None, "the base's time is not known"
    assert work.minutes_left(jobs, {"run": 2.0, "base": 5.0}, 2) == (5 + 4 * 2) / 2
    running.run(jobs[1:3], tmp_path / "logs")
    assert work.minutes_left(jobs, {"run": 2.0, "base": 5.0}, 1) == 5 + 2 * 0.5, "runs took half a minute here"


@pytest.mark.parametrize(
    ("minutes", "text"), [(0.2, "less than a minute"), (1.4, "1 min"), (59.6, "1 h 0 min"), (135, "2 h 15 min")]
)
def test_the_clock(minutes: float, text: str) -> None:
    assert work.clock(minutes) == text
