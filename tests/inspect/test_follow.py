"""`r1rl inspect RUN --follow`: each step and each evaluation once, until the run ends."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from r1rl.inspect import follow as followed
from r1rl.inspect.follow import follow
from r1rl.store.store import write_shard


def test_a_run_is_followed_until_it_ends(
    tmp_path: Path, make_run: Callable[..., Path], make_sampled: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "toy", steps=3)
    for path in (run / "rollouts").glob("eval-000020-*"):
        path.unlink()
    states = iter(["running", "running", "finished"])

    def happens(_: float) -> None:
        """What the run writes between two looks."""
        if not list((run / "rollouts").glob("eval-000020-*")):
            write_shard(run, make_sampled(20), kind="eval", step=20, rank=0)
        with (run / "metrics.jsonl").open("a") as stream:
            stream.write(json.dumps({"step": 4, "reward": 0.75, "aha/retried": 0.5, "entropy": None}) + "\n")

    monkeypatch.setattr(followed.time, "sleep", happens)
    monkeypatch.setattr(followed, "overview", lambda _: type("State", (), {"state": next(states)}))
    stream = io.StringIO()
    follow(run, Console(file=stream, width=140))
    lines = stream.getvalue().splitlines()
    assert [line.split()[1] for line in lines if line.startswith("step ")] == ["1", "2", "3", "4"], "each step once"
    assert next(line for line in lines if line.startswith("step     4")).split() == [
        "step",
        "4",
        "reward",
        "0.750",
        "retried",
        "50",
        "%",
    ]
    assert sum("retried after a miss" in line for line in lines) == 2, "the evaluations before, and the one that came"
    assert lines[-1] == "the run is finished"


def test_a_folder_that_is_no_run_cannot_be_followed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no run folder"):
        follow(tmp_path)
