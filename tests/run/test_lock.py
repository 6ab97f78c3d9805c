"""The lock of a run: who holds it, which ones were left behind, and that two launches never share a folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from r1rl.ground.errors import RecipeError, RunFailedError
from r1rl.run import lock, process
from r1rl.run.lock import Lock

HOLD = """
import sys, time
from pathlib import Path
from r1rl.run import lock
with lock.held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "heartbeats").mkdir()
    return tmp_path


@pytest.fixture
def other(run: Path) -> Any:
    """Another process that holds the run."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True) as holding:
        assert holding.stdout.readline() == "held\n"
        yield holding
        holding.kill()


def test_a_run_is_held_once_and_given_back(run: Path) -> None:
    with lock.held(run):
        assert lock.holder(run)["pid"] == os.getpid()
        with pytest.raises(RecipeError, match=f"process {os.getpid()} on"):
            Lock(run).take()
    assert not (run / lock.FILE_NAME).exists()
    assert not list(run.glob(".*tmp"))
    with lock.held(run):
        pass


def test_another_process_holds_it_until_it_is_killed(run: Path, other: Any) -> None:
    with pytest.raises(RecipeError, match=f"is being trained by process {other.pid}"), lock.held(run):
        pass
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert (run / lock.FILE_NAME).exists()
    with lock.held(run):
        assert lock.holder(run)["pid"] == os.getpid()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param('{"host": ', id="torn"),
        pytest.param("", id="emptied"),
        pytest.param(json.dumps(process.myself() | {"started": 5.0}), id="the number is another process's by now"),
        pytest.param(json.dumps(process.myself() | {"pid": "x"}), id="no number"),
        pytest.param(json.dumps(process.myself() | {"host": "elsewhere"}), id="another machine's, never touched"),
        pytest.param(json.dumps(process.myself() | {"names": "pid:[1]"}), id="another container's, never touched"),
    ],
)
def test_a_lock_that_was_left_behind_is_taken(run: Path, content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SILENT_SECONDS", 1.0)
    (run / lock.FILE_NAME).write_text(content)
    with lock.held(run) as held:
        assert json.loads((run / lock.FILE_NAME).read_text()) == held.content


def test_a_lock_of_another_machine_holds_while_it_is_touched(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, done = run / lock.FILE_NAME, threading.Event()
    path.write_text(json.dumps(process.myself() | {"host": "elsewhere"}))

    def touch() -> None:
        at = 1e9  # by a clock that is years behind
        while not done.wait(0.3):
            os.utime(path, (at := at + 1, at))

    toucher = threading.Thread(target=touch)
    toucher.start()
    try:
        with pytest.raises(RecipeError, match="on elsewhere"):
            Lock(run).take()
    finally:
        done.set()
        toucher.join()


def test_a_rank_that_outlives_its_launcher_holds_the_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_DYING_SECONDS", 1.0)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as rank:
        started = psutil.Process(rank.pid).create_time()
        named = process.myself() | {"pid": rank.pid, "started": started, "phase": "sampling"}
        (run / "heartbeats" / "rank_00001.json").write_text(json.dumps(named))
        with pytest.raises(RecipeError, match=f"process {rank.pid}"):
            lock.refuse(run)
        rank.kill()
    lock.refuse(run)


def test_two_that_find_a_lock_left_behind_do_not_both_take_it(run: Path) -> None:
    (run / lock.FILE_NAME).write_text(json.dumps(process.myself() | {"started": 5.0}))
    start, took = threading.Barrier(8), []

    def take() -> None:
        mine = Lock(run)
        start.wait()
        try:
            mine.take()
            took.append(mine)
        except RecipeError:
            pass

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(took) == 1
    took[0].release()
    assert [path.name for path in run.iterdir() if path.is_file()] == [".lock"]


def test_a_process_whose_run_was_taken_over_ends(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "_TOUCH_SECONDS", 0.05)
    with lock.held(run) as held:
        held.check()
        (run / lock.FILE_NAME).write_text(json.dumps(held.content | {"token": "another"}))
        until = time.monotonic() + 60
        while not held._lost and time.monotonic() < until:
            time.sleep(0.05)
        with pytest.raises(RunFailedError, match="has taken over"):
            held.check()
    assert json.loads((run / lock.FILE_NAME).read_text())["token"] == "another", "not ours to give back"
