"""What runs are here and how far each has come, from a few small files of its folder."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r1rl.ground import whole_files
from r1rl.ground.errors import RecipeError
from r1rl.run import budget, lock, process
from r1rl.run.folder import RunFolder
from r1rl.run.heartbeats import FOLDER as HEARTBEATS

_TAIL = 2**20  # bytes of metrics.jsonl: some hundred steps
_SILENT_SECONDS = 600  # a process on another machine that was silent for longer counts as gone


@dataclass(frozen=True)
class Overview:
    """One run; None for what its files do not say.

    Args:
        step, steps: updates made, and of how many.
        reward: of the last step.
        heldout: accuracy of the last held-out evaluation, sampled.
        state: finished, imported, interrupted, running, stopped or not started.
        holder: the process that trains it.
        spent: so far, in words.
        alarm: the last one.
    """

    name: str
    step: int | None
    steps: int | None
    reward: float | None
    heldout: float | None
    state: str
    holder: str | None = None
    spent: str | None = None
    alarm: str | None = None


def overviews(runs_dir: Path) -> list[Overview]:
    """The runs in a folder, the one that was started last at the end.

    Raises:
        RecipeError: no such folder.
    """
    if not runs_dir.is_dir():
        raise RecipeError(f"runs_dir={str(runs_dir)!r}: no such folder; give another --runs-dir")
    folders = [RunFolder(path) for path in runs_dir.iterdir() if (path / "rollouts").is_dir()]
    return [_overview(folder) for folder in sorted(folders, key=lambda folder: (_started(folder), folder.name))]


def overview(folder: Path) -> Overview:
    """How far one run has come."""
    return _overview(RunFolder(folder))


def _started(folder: RunFolder) -> float:
    return float((whole_files.read_json(folder.environment) or {}).get("time") or 0.0)


def _overview(folder: RunFolder) -> Overview:
    result = whole_files.read_json(folder.result) or {}
    lines = _tail(folder.metrics)

    def last(key: str) -> Any:
        return next((line[key] for line in reversed(lines) if line.get(key) is not None), None)

    step = result.get("steps", last("step"))
    return Overview(folder.name, step, _steps(folder.recipe), last("reward"), last("heldout/accuracy"),
                    _state(folder, result), _holder(folder), budget.shown(folder.path, _stated(folder.recipe, "price")),
                    _alarm(folder))  # fmt: skip


def _holder(folder: RunFolder) -> str | None:
    found = lock.holder(folder.path, wait=False)
    return None if found is None else lock.describe(found)


def _alarm(folder: RunFolder) -> str | None:
    try:
        alarms = [event for event in folder.read_events() if event.get("event") in ("alarm", "rolled_back")]
    except (OSError, ValueError):
        return None
    return f"step {alarms[-1].get('step')}: {alarms[-1].get('message')}" if alarms else None


def _state(folder: RunFolder, result: dict[str, Any]) -> str:
    if "imported" in result:
        return "imported"
    beats = [whole_files.read_json(path) for path in (folder.path / HEARTBEATS).glob("rank_*.json")]
    if any(_alive(beat) for beat in beats if beat):
        return "running"
    if result:
        return "finished" if result.get("finished") else "interrupted"
    return "stopped" if any(beats) else "not started"


def _alive(beat: dict[str, Any]) -> bool:
    """Whether the process of a heartbeat is at work: here its number tells, elsewhere the time of its last sign."""
    if beat.get("phase") == "done":
        return False
    if not process.is_here(beat):
        return time.time() - float(beat.get("time") or 0) < _SILENT_SECONDS
    return process.lives(beat)


def _steps(recipe: Path) -> int | None:
    """`max_steps`, where the recipe counts steps and not epochs."""
    found = _stated(recipe, "max_steps")
    return None if found is None or found < 0 else int(found)


def _stated(recipe: Path, key: str) -> float | None:
    """A number of a resolved recipe, without reading the rest of it."""
    try:
        found = re.search(rf"^{key}: ([0-9.e+-]+)$", recipe.read_text(encoding="utf-8"), re.MULTILINE)
        return float(found[1]) if found else None
    except (OSError, ValueError):
        return None


def _tail(path: Path) -> list[dict[str, Any]]:
    """The last whole lines of metrics.jsonl."""
    try:
        with path.open("rb") as stream:
            start = max(0, stream.seek(0, os.SEEK_END) - _TAIL)
            stream.seek(start)
            lines = stream.read().splitlines(keepends=True)[1 if start else 0 :]
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:  # torn off
            continue
    return [line for line in found if isinstance(line, dict)]
