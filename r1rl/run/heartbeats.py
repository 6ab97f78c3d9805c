"""RUN/heartbeats: one small file for each process, which says how far the process is, for people and the watchdog."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from r1rl.ground import whole_files
from r1rl.run import process

FOLDER = "heartbeats"
_REWRITE_SECONDS = 1.0  # between two writes of the same phase


def clear(run: Path) -> None:
    """Remove the heartbeats of an earlier start. First process only, before any other beats."""
    folder = run / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        path.unlink(missing_ok=True)


class Heartbeat:
    """The heartbeat of one process: it writes `rank_00003.json` once a phase, and `rank_00003.ready` when it can train.

    Args:
        run: the run folder.

    The file holds rank, host, pid, step, phase, time (Unix seconds of the last sign of progress) and `passed`, the
    number of phases begun. All processes go through the same phases, so the one with the fewest is behind.
    """

    def __init__(self, run: Path, rank: int, world_size: int) -> None:
        self.folder = run / FOLDER
        self.rank, self.world_size = rank, world_size
        self.folder.mkdir(parents=True, exist_ok=True)
        self.state: dict[str, Any] = {
            "rank": rank, **process.myself(), "step": 0, "phase": "", "passed": 0, "time": 0.0,
        }  # fmt: skip
        self.moved = time.monotonic()
        self._written = -_REWRITE_SECONDS
        self.beat("started")

    def file(self, ending: str = "json", rank: int | None = None) -> Path:
        """The path of a process's file; default: this one's heartbeat."""
        return self.folder / f"rank_{self.rank if rank is None else rank:05d}.{ending}"

    def beat(self, phase: str, step: int | None = None) -> None:
        """Say that a phase begins, or that it goes on (then the file is written once a second at most)."""
        step = self.state["step"] if step is None else step
        self.moved = now = time.monotonic()
        new = (phase, step) != (self.state["phase"], self.state["step"])
        if not new and now - self._written < _REWRITE_SECONDS:
            return
        passed = self.state["passed"] + new
        self.state = self.state | {"phase": phase, "step": step, "passed": passed, "time": time.time()}
        self._written = now
        whole_files.write_json(self.file(), self.state, durable=False)

    def ready(self) -> None:
        """Say that the model is loaded and the processes have met."""
        self.beat("ready")
        whole_files.write_json(self.file("ready"), {"time": time.time()}, durable=False)

    def all_states(self) -> list[dict[str, Any] | None]:
        """The heartbeat that each process has last written, by rank; None where there is none."""
        return [whole_files.read_json(self.file(rank=rank)) for rank in range(self.world_size)]
