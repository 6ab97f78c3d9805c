"""What people hear of a run from outside: its end, its alarms, `r1rl status`; and what of it stays on disk."""

from __future__ import annotations

import json
import shlex
import sys

import pytest
from tiny_training import folder_of, run

from r1rl import cli
from r1rl.run import lock, tell
from r1rl.store import store
from r1rl.train.guards import GuardStoppedError

SHORT = ["--prompts_per_step", "2", "--max_completion_length", "2", "--eval_steps", "0"]


def test_alarms_and_ends_are_told_and_shown(small_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tell, "_SECONDS", 300)  # in which any machine starts Python
    told = tmp_path / "told"
    write = f"import sys; open(r'{told}', 'ab').write(sys.stdin.buffer.read() + b'\\n')"
    words = [*SHORT, "--price", "2", "--keep_rollouts", "eval"]
    for key in ("--on_alarm", "--on_end"):
        words += [key, f'{shlex.quote(sys.executable)} -c "{write}"']
    run(small_run, *words, "--guards.truncation.window", "1")
    with pytest.raises(GuardStoppedError):
        run(small_run, *words, "--guards.truncation", '{"action": "stop", "window": 2}', name="sick")
    said = [json.loads(line) for line in told.read_text().splitlines()]
    assert [(each["run"], each["event"], each.get("outcome")) for each in said] == [
        ("run", "alarm", None), ("run", "end", "finished"), ("sick", "alarm", None), ("sick", "end", "failed"),
    ]  # fmt: skip
    assert "truncation" in said[-1]["message"]
    assert len(store.read(folder_of(small_run), kind="train")) == 0
    assert len(store.read(folder_of(small_run), kind="eval")) > 0
    capsys.readouterr()
    with lock.held(folder_of(small_run, "sick")):
        assert cli.main(["status", "--runs-dir", str(folder_of(small_run).parent)]) == 0
    shown = capsys.readouterr().out
    assert "run  finished, step 3 of 3, reward " in shown
    for part in ("held by process ", "spent ", ", cost ", "alarm step 2: truncation: "):
        assert part in shown
