"""Heartbeats, the watchdog's verdict, and the one report of what ended several processes."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import types
from pathlib import Path

import pytest

from r1rl.ground.errors import RecipeError
from r1rl.launch import agent
from r1rl.launch import start as launch
from r1rl.run import exits, heartbeats, rank_errors, watchdog

ROOT = Path(__file__).resolve().parents[2]
NOW = 1_700_000_000.0


def state(rank, passed=5, step=2, phase="update"):
    return {
        "rank": rank, "host": f"n{rank}", "pid": 40 + rank, "step": step, "phase": phase, "passed": passed,
        "time": NOW - 60,
    }  # fmt: skip


WAITS, BUSY = {"at": "distributed.py:9 in gather", "waiting": True}, {"at": "reward.py:3 in pay", "waiting": False}


@pytest.mark.parametrize(
    ("states", "answers", "expected"),
    [
        pytest.param([state(0), None], [WAITS, None], "rank 1 of 2 has not started: no heartbeat", id="absent"),
        pytest.param(
            [state(0), state(1, 4)], [None, WAITS], "rank 0 of 2 does not answer: stopped", id="silence before behind"
        ),
        pytest.param(
            [state(0), state(1, 4, phase="sampling")],
            [WAITS, WAITS],
            "rank 1 of 2 is behind the others: host n1, pid 41, step 2, 'sampling' for 60 s, at distributed.py:9",
            id="behind",
        ),
        pytest.param(
            [state(0), state(1)], [BUSY, WAITS], "rank 0 of 2 does not wait for the others: host n0", id="busy"
        ),
        pytest.param([state(0)], [BUSY], "rank 0 of 1 does not wait for the others", id="alone"),
        pytest.param([state(0), state(1)], [WAITS, WAITS], "no process is behind: host n0, pid 40", id="all wait"),
        pytest.param([state(0), state(1)], [BUSY, BUSY], "no process is behind: host n0, pid 40", id="none waits"),
    ],
)
def test_verdicts(tmp_path, monkeypatch, states, answers, expected):
    monkeypatch.setattr(watchdog.time, "time", lambda: NOW)
    message = watchdog.verdict(states, answers, 30, tmp_path)
    assert message.startswith("stalled: no process has made progress for 30 s (watchdog_seconds)")
    assert expected in message
    assert f"{tmp_path}/rank_*.stack.txt" in message


def test_many_slow_ranks_make_few_lines(tmp_path):
    message = watchdog.verdict([state(0), *[None] * 500], [WAITS, *[None] * 500], 30, tmp_path)
    assert len(message.splitlines()) == 11
    assert "and 492 more" in message


def test_where_knows_collectives():
    frame = sys._getframe()
    found = watchdog.where(frame)
    assert found["waiting"] is False
    assert found["at"].startswith("test_watchdog.py:")
    code = compile("import sys\ndef barrier():\n    return sys._getframe()", "/lib/torch/distributed/c10d.py", "exec")
    scope = {}
    exec(code, scope)
    assert watchdog.where(scope["barrier"]()) == {"at": "c10d.py:3 in barrier", "waiting": True}


@pytest.mark.parametrize(("stated", "processes", "expected"), [(None, 1, 0), (None, 2, 1500), (0.0, 2, 0), (7.0, 1, 7)])
def test_defaults(stated, processes, expected):
    assert watchdog.seconds_for(stated, processes) == expected


def test_heartbeats_count_phases_and_write_seldom(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeats, "_REWRITE_SECONDS", 600.0)  # a hundred beats may take more than a second
    beat = heartbeats.Heartbeat(tmp_path, 3, 4)
    path = tmp_path / "heartbeats" / "rank_00003.json"
    assert json.loads(path.read_text())["phase"] == "started"
    beat.ready()
    assert (tmp_path / "heartbeats" / "rank_00003.ready").exists()
    beat.beat("sampling", 7)
    first = path.stat().st_mtime_ns, json.loads(path.read_text())
    for _ in range(100):
        beat.beat("sampling")
    assert (path.stat().st_mtime_ns, json.loads(path.read_text())) == first
    beat.beat("update")
    now = json.loads(path.read_text())
    assert (now["step"], now["phase"], now["passed"]) == (7, "update", first[1]["passed"] + 1)
    assert [bool(each) for each in beat.all_states()] == [False, False, False, True]
    assert list(path.parent.glob(".*")) == []
    heartbeats.clear(tmp_path)
    assert list(path.parent.iterdir()) == []


def test_a_run_that_moves_is_left_alone(tmp_path, monkeypatch):
    """Another process that beats keeps this one alive."""
    now = [NOW]  # a clock that waits for this test, however busy the machine
    clock = types.SimpleNamespace(time=lambda: now[0], monotonic=lambda: now[0], sleep=time.sleep)
    monkeypatch.setattr(heartbeats, "time", clock)
    monkeypatch.setattr(watchdog, "time", clock)
    mine, other = heartbeats.Heartbeat(tmp_path, 0, 2), heartbeats.Heartbeat(tmp_path, 1, 2)
    watching = watchdog.Watchdog(mine, 30)
    watching.poll, watching._exit = 0.02, watching.stop  # nothing here may end pytest
    watching.start()
    for i in range(20):
        other.beat(f"phase {i}")
        now[0] += 10
        time.sleep(0.05)
    watching.stop()
    assert not watching.verdict.exists()
    assert not [path for path in mine.folder.iterdir() if "stall" in path.name]


# Each: what rank 1 does while rank 0 waits for it, and what is said of it.
HANGS = {
    "stopped": ("os.kill(os.getpid(), signal.SIGSTOP)", "rank 1 of 2 does not answer"),
    "asleep": ("time.sleep(300)", "rank 1 of 2 is behind the others"),
    # A regular expression that backtracks for ever holds the interpreter's lock.
    "lock held": ("import re; re.match('(a+)+$', 'a' * 60 + 'b')", "rank 1 of 2 does not answer"),
}


@pytest.mark.parametrize("name", HANGS)
def test_a_hang_ends_every_process(tmp_path, name):
    hang, expected = HANGS[name]
    answers = name == "asleep"
    script = tmp_path / "process.py"
    script.write_text(
        textwrap.dedent(f"""
            import os, signal, sys, threading, time
            from pathlib import Path
            from r1rl.run import heartbeats, watchdog
            rank = int(sys.argv[1])
            beat = heartbeats.Heartbeat(Path({str(tmp_path)!r}), rank, 2)
            # Both are there before one moves on, however long one of them took to start.
            while rank == 0 and beat.all_states()[1] is None:
                time.sleep(0.02)
            if rank == 0:
                beat.beat("update")
            while (beat.all_states()[0] or {{}}).get("phase") != "update":
                time.sleep(0.02)
            if {answers}:
                watchdog._ANSWER_SECONDS = 60.0
            watchdog.Watchdog(beat, 6).start()
            if rank == 0:
                threading.Event().wait(300)
            {hang}
            """)
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen([sys.executable, str(script), str(rank)], stderr=subprocess.PIPE, text=True, env=environment)
        for rank in (0, 1)
    ]
    try:
        said = "".join(process.communicate(timeout=240)[1] for process in processes)
    finally:
        for process in processes:
            process.kill()
    assert processes[0].returncode == 1
    assert processes[1].returncode == (1 if name == "asleep" else -signal.SIGKILL)
    assert said.count("stalled: no process") == 1
    assert expected in said
    for rank in (0, 1) if name != "stopped" else (0,):
        assert "most recent call first" in (tmp_path / "heartbeats" / f"rank_{rank:05d}.stack.txt").read_text()


def error(rank, at, message, kind="error"):
    return {"rank": rank, "world_size": 4, "host": "n", "time": at, "kind": kind, "message": message, "traceback": ""}


def write(folder, *errors):
    for each in errors:
        (folder / f"rank_{each['rank']:05d}.error.json").write_text(json.dumps(each))


@pytest.mark.parametrize(
    ("errors", "first", "code"),
    [
        pytest.param(
            [error(0, 9, "ValueError: late"), error(1, 8, "KeyError: early")], "rank 1 of 4 on n", 1, id="by time"
        ),
        pytest.param(
            [error(0, 8, "RuntimeError: [gloo] Connection closed by peer"), error(2, 9, "killed by SIGKILL", "killed")],
            "rank 2 of 4 on n failed first",
            1,
            id="a clock behind",
        ),
        pytest.param([error(r, r, "key=1: need 2", "usage") for r in range(4)], "error: key=1: need 2", 2, id="usage"),
        pytest.param([error(0, 1, "no signal left", "failed")], "error: no signal left", 1, id="one line"),
    ],
)
def test_reports(tmp_path, capsys, errors, first, code):
    write(tmp_path, *errors)
    assert agent.report([1], tmp_path, 4) == code
    said = capsys.readouterr().err
    assert said.strip().startswith(first)
    # The launcher of another node says nothing more, and ends alike.
    assert agent.report([1], tmp_path, 4) == code
    assert capsys.readouterr().err == ""


def test_an_interrupted_run_and_a_silent_end(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(agent, "_OTHER_NODES_SECONDS", 0)
    assert agent.report([130, 130], tmp_path, 2) == exits.INTERRUPTED
    assert capsys.readouterr().err == ""
    assert agent.report([7], tmp_path, 2) == 1
    assert "exit code 7" in capsys.readouterr().err


def test_guarded_records_for_a_launcher_and_prints_otherwise(tmp_path, capsys, monkeypatch):
    def wrong():
        raise RecipeError("key=1: need 2")

    assert exits.guarded(wrong) == 2
    assert capsys.readouterr().err == "error: key=1: need 2\n"
    monkeypatch.setenv(rank_errors.FOLDER, str(tmp_path / "errors"))
    monkeypatch.setenv("RANK", "3")
    assert exits.guarded(wrong) == 2
    assert exits.guarded(lambda: 1 // 0) == 1  # the first of a process counts
    assert capsys.readouterr().err == ""
    assert [(each["rank"], each["kind"]) for each in rank_errors.errors(tmp_path / "errors")] == [(3, "usage")]


@pytest.mark.parametrize(
    ("body", "code", "expected"),
    [
        pytest.param("raise RecipeError('key=1: need 2')", 2, "error: key=1: need 2\n", id="usage"),
        pytest.param(
            "os.kill(os.getpid(), 9) if rank else time.sleep(240)", 1, "killed by SIGKILL (out of memory?", id="killed"
        ),
    ],
)
def test_two_processes_under_accelerate(tmp_path, body, code, expected):
    script = tmp_path / "process.py"
    script.write_text(
        textwrap.dedent(f"""
            import os, sys, time
            from r1rl.run import exits
            from r1rl.ground.errors import RecipeError
            rank = int(os.environ["RANK"])
            def main():
                {body}
            sys.exit(exits.guarded(main))
            """)
    )
    words = [sys.executable, "-m", "r1rl.launch.agent", "launch", "--config_file", "recipes/accelerate/ddp.yaml"]
    words += ["--num_processes", "2", "--num_machines", "1", "--main_process_port", str(launch.free_port())]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*words, str(script)], capture_output=True, text=True, timeout=300, cwd=ROOT, env=environment, check=False
    )
    assert done.returncode == code, done.stderr
    assert done.stderr.count(expected) == 1
    assert "Traceback" not in done.stderr
