"""Trains what a study lacks: each base and run in a process of its own, some at once, until all is done or time is up.

A run goes on from its last checkpoint, so a study that was stopped is begun again by the same command. Ctrl-C, or the
end of the budget, asks the runs for a checkpoint; a second Ctrl-C ends them at once. A job that fails is named, and the
others go on, except runs from a base that could not be built.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Any, Final

from r1rl.eval.study.work import Job, note_seconds
from r1rl.ground import machine
from r1rl.run import exits

PROGRAM: Final = (sys.executable, "-m", "r1rl.cli")
_POLL_SECONDS: Final = 0.5
_TAIL: Final = 4_000  # characters of a log that are searched for the error


@dataclass
class Outcome:
    """How the jobs of one call ended.

    Args:
        failed: name -> the last line of its log, or why it was not begun.
        stopped: why the rest is left for later, "" where nothing is.
    """

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    stopped: str = ""


@dataclass
class _Child:
    job: Job
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    since: float


def run(
    jobs: Sequence[Job],
    logs: Path,
    *,
    at_once: int = 1,
    budget_hours: float | None = None,
    tell: Callable[[Job, str], None] = lambda job, event: None,
    tick: Callable[[], None] = lambda: None,
) -> Outcome:
    """Do the jobs that are not done.

    Args:
        logs: a folder; each job's output goes into a file of its name.
        at_once: processes, which share the cores.
        budget_hours: stop after so long.
        tell: called with a job and `begun`, `done`, `failed` or `stopped`.
        tick: called again and again, for a progress bar.
    """
    outcome, children = Outcome(), list[_Child]()
    waiting = [job for job in jobs if not job.done()]
    until = None if budget_hours is None else time.monotonic() + budget_hours * 3600
    logs.mkdir(parents=True, exist_ok=True)
    environment = _environment(at_once)
    with _asked_to_stop() as asked:
        while waiting or children:
            if until is not None and time.monotonic() >= until and not outcome.stopped:
                outcome.stopped = f"the budget of {budget_hours:g} h is spent"
                _signal(children)
            if len(asked) > 0 and outcome.stopped != "interrupted":
                outcome.stopped = "interrupted"
                _signal(children)
            if len(asked) > 1:  # they leave at once
                del asked[1:]
                _signal(children)
            if outcome.stopped:
                waiting.clear()
            for lost in [job for job in waiting if _blocked(job, children, waiting) == "never"]:
                waiting.remove(lost)
                outcome.failed[lost.name] = f"not begun, its base {lost.needs.name if lost.needs else ''} was not built"
                tell(lost, "failed")
            while len(children) < at_once and (job := _next(waiting, children)) is not None:
                waiting.remove(job)
                children.append(_start(job, logs, environment))
                tell(job, "begun")
            for child in [child for child in children if child.process.poll() is not None]:
                children.remove(child)
                tell(child.job, _ended(child, outcome))
            tick()
            if children:
                time.sleep(_POLL_SECONDS)
    return outcome


def _next(waiting: Sequence[Job], children: Sequence[_Child]) -> Job | None:
    return next((job for job in waiting if not _blocked(job, children, waiting)), None)


def _blocked(job: Job, children: Sequence[_Child], waiting: Sequence[Job]) -> str:
    """Why a job cannot begin: `yet` where its base is being built or will be, `never` where it will not."""
    if job.needs is None:
        return ""
    builds = [other for other in (*waiting, *(child.job for child in children)) if other.folder == job.needs]
    if builds:
        return "yet"
    return "" if Job("base", "", (), job.needs).done() else "never"


def _start(job: Job, logs: Path, environment: dict[str, str]) -> _Child:
    log = (logs / f"{job.name}.log").open("ab")
    # In a session of its own: Ctrl-C reaches this process alone, which passes it on once.
    process = subprocess.Popen(
        [*PROGRAM, *job.words],
        stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True,
    )  # fmt: skip
    return _Child(job, process, log, time.monotonic())


def _ended(child: _Child, outcome: Outcome) -> str:
    """Take note of how a job ended; the word for it."""
    child.log.close()
    if child.process.returncode == exits.SUCCESS and child.job.done():
        note_seconds(child.job, time.monotonic() - child.since)
        outcome.done.append(child.job.name)
        return "done"
    if outcome.stopped:
        return "stopped"
    outcome.failed[child.job.name] = _why(child)
    return "failed"


def _why(child: _Child) -> str:
    """The line of a job's log that says what went wrong, with its place."""
    path = Path(child.log.name)
    text = path.read_bytes()[-_TAIL:].decode(errors="replace").replace("\r", "\n")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    said = (errors or lines or ["nothing was said"])[-1]
    code = child.process.returncode
    return f"{said[:300]} (exit code {code}, {path})"


def _signal(children: Sequence[_Child]) -> None:
    for child in children:
        if child.process.poll() is None:
            child.process.send_signal(signal.SIGINT)


@contextmanager
def _asked_to_stop() -> Iterator[list[int]]:
    """The signals that came while the block runs; only a main thread can take them."""
    asked: list[int] = []

    def take(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    before: dict[int, Any] = {}
    for number in map(int, (signal.SIGINT, signal.SIGTERM)):
        try:
            before[number] = signal.signal(number, take)
        except ValueError:  # not the main thread
            break
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _environment(at_once: int) -> dict[str, str]:
    """The processes share the cores out, unless it is said how many threads each has."""
    threads = max(1, machine.usable_cores() // at_once)
    shared = {"OMP_NUM_THREADS": str(threads)} if at_once > 1 else {}
    return {**shared, "TOKENIZERS_PARALLELISM": "false", **os.environ}
