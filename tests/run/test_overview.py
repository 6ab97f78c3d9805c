"""The list of runs: what each folder's files say, whole, torn or missing."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from r1rl import cli
from r1rl.run import folder as run_folder
from r1rl.run.overview import Overview, overviews

LINES = [
    {"step": 0, "heldout/accuracy": 0.25},
    {"step": 1, "reward": 0.125, "heldout/accuracy": None},
    {"step": 2, "reward": 0.5},
]


def make(runs: Path, name: str, *, result: Any = None, beat: Any = None, lines: list[Any] | None = None) -> None:
    folder = run_folder.create(name, runs)
    folder.recipe.write_text("name: x\nmax_steps: 5\n")
    if lines:
        folder.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 3, "rew')
    if result is not None:
        folder.result.write_text(json.dumps(result))
    if beat is not None:
        (folder.path / "heartbeats").mkdir()
        content = {"host": socket.gethostname(), "pid": os.getpid(), "phase": "sampling", "time": time.time()} | beat
        (folder.path / "heartbeats" / "rank_00000.json").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def dead() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("settings", "state"),
    [
        pytest.param({"result": {"finished": True, "steps": 5}}, "finished", id="finished"),
        pytest.param({"result": {"finished": False, "steps": 5}}, "interrupted", id="Ctrl-C"),
        pytest.param({"result": {"finished": True, "imported": "trl", "steps": 5}}, "imported", id="imported"),
        pytest.param({"beat": {}}, "running", id="its process is here"),
        pytest.param({"beat": {}, "result": {"finished": False, "steps": 5}}, "running", id="resumed"),
        pytest.param({"beat": {"phase": "done"}, "result": {"finished": True, "steps": 5}}, "finished", id="done"),
        pytest.param({"beat": {"pid": "DEAD"}}, "stopped", id="its process is gone"),
        pytest.param({"beat": {"host": "elsewhere", "pid": "DEAD"}}, "running", id="on another machine"),
        pytest.param({"beat": {"host": "elsewhere", "time": 1.0}}, "stopped", id="silent on another machine"),
        pytest.param({}, "not started", id="a folder alone"),
    ],
)
def test_states(tmp_path: Path, dead: int, settings: dict[str, Any], state: str) -> None:
    if settings.get("beat", {}).get("pid") == "DEAD":
        settings = settings | {"beat": settings["beat"] | {"pid": dead}}
    make(tmp_path, "one", lines=LINES, **settings)
    step = 5 if "result" in settings else 2
    assert overviews(tmp_path) == [Overview("one", step, 5, 0.5, 0.25, state)]


def test_the_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, "second", result={"finished": True, "steps": 2}, lines=LINES)
    make(tmp_path, "first")
    (tmp_path / "second" / "environment.json").write_text('{"time": 2.0}')
    (tmp_path / "first" / "environment.json").write_text('{"time": 1.0}')
    (tmp_path / "slurm").mkdir()  # no run
    assert cli.main(["runs", "--runs_dir", str(tmp_path)]) == 0
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert shown[1] == ["first", "-", "-", "-", "not", "started"]
    assert shown[2] == ["second", "2", "of", "5", "0.500", "25.0%", "finished"]
    assert cli.main(["runs", "--runs-dir", str(tmp_path), "--json"]) == 0
    assert [json.loads(line)["name"] for line in capsys.readouterr().out.splitlines()] == ["first", "second"]
    assert cli.main(["runs", "--runs-dir", str(tmp_path / "slurm")]) == 0
    assert capsys.readouterr().out == f"no runs in {tmp_path / 'slurm'}\n"
    assert cli.main(["runs", "--runs-dir", str(tmp_path / "none")]) == 2
