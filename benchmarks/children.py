"""The processes of the sides that are compared: started once, then asked for turns one after the other."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm.auto import tqdm

from benchmarks import machine
from benchmarks.side import JOB_VARIABLE, PARENT_VARIABLE, Job
from benchmarks.turn import Turn
from r1rl.ground.errors import RunFailedError
from r1rl.launch.start import free_port

_MEMORY_SHARE = 0.75  # of what is free may one side take; ours, beside plain TRL, needs less than the rest
_NO_MEMORY = ("not enough memory", "can't allocate memory", "Cannot allocate memory", "MemoryError", "bad_alloc")
_TAIL = 600
_SEARCH_SECONDS = 15.0  # for one micro-batch, begun turns not cut off


class NoMemoryError(RunFailedError):
    """The side `side` needs more memory than it may have."""

    def __init__(self, message: str, side: str = "") -> None:
        super().__init__(message)
        self.side = side


class Side:
    """A side's process, or processes where there are several; a context manager.

    Args:
        job: what it does; `folder` and `memory` are filled in here.
        processes: of data-parallel training; the job's threads are shared out among them.
    """

    def __init__(self, job: Job, *, processes: int = 1) -> None:
        self.job = job
        self.processes = processes

    def __enter__(self) -> Side:
        self._folder = tempfile.TemporaryDirectory(prefix="r1rl-bench-")
        folder = Path(self._folder.name)
        free = machine.available_memory()
        job = dataclasses.replace(
            self.job,
            folder=str(folder),
            threads=max(1, self.job.threads // self.processes),
            memory=None if free is None else int(free * _MEMORY_SHARE),
        )
        self._log = folder / "log"
        with self._log.open("w", encoding="utf-8") as log:
            self._started = [
                subprocess.Popen(
                    [sys.executable, "-m", "benchmarks.side"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE if rank == 0 else log,
                    stderr=log,
                    env=self._environment(job, rank, folder),
                    text=True,
                    start_new_session=True,  # Ctrl-C is for the parent, which ends its children
                )
                for rank in range(self.processes)
            ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._started:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._started:
            try:
                process.wait(timeout=10 if kind is None else 1)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._folder.cleanup()

    def wait_until_ready(self) -> None:
        """Until it can be asked for turns.

        Raises:
            NoMemoryError, RunFailedError: it ended; the message shows the end of its log.
        """
        self._answer()

    def turn(self) -> Turn:
        """One turn. Raises like `wait_until_ready`."""
        process = self._started[0]
        assert process.stdin is not None
        try:
            process.stdin.write("\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, which the missing answer says better
        return Turn.of(self.job.side, self._answer())

    def _answer(self) -> dict[str, Any]:
        process = self._started[0]
        assert process.stdout is not None
        line = process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        log = self._log.read_text(encoding="utf-8", errors="replace")
        message = f"benchmark side {self.job.side!r} ended: …{log.strip()[-_TAIL:]}"
        if any(sign in log for sign in _NO_MEMORY):
            raise NoMemoryError(message, self.job.side)
        raise RunFailedError(message)

    def _environment(self, job: Job, rank: int, folder: Path) -> dict[str, str]:
        environment = dict(os.environ)
        environment |= {
            JOB_VARIABLE: json.dumps(dataclasses.asdict(job)),
            PARENT_VARIABLE: str(os.getpid()),
            "OMP_NUM_THREADS": str(job.threads),
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": environment.get("HF_HUB_OFFLINE", "1"),
        }
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            environment.pop(name, None)
        if self.processes > 1:
            if rank == 0:
                self._port = free_port()
            environment |= {
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(self.processes),
                "LOCAL_WORLD_SIZE": str(self.processes),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(self._port),
            }
        return environment


@contextmanager
def sides(jobs: Mapping[str, Job], *, processes: int = 1) -> Iterator[dict[str, Side]]:
    """All sides at once, ready for turns."""
    with ExitStack() as stack:
        started = {name: stack.enter_context(Side(job, processes=processes)) for name, job in jobs.items()}
        for side in started.values():
            side.wait_until_ready()
        yield started


@dataclass
class Taken:
    """Turns by side, equally many of each; `stopped`: fewer than were asked for, by a Ctrl-C."""

    turns: dict[str, list[Turn]]
    stopped: bool = False

    def go_on(self) -> None:
        """Raises KeyboardInterrupt where it was stopped."""
        if self.stopped:
            raise KeyboardInterrupt


def take_turns(jobs: Mapping[str, Job], *, repeats: int, warmup: int, label: str, processes: int = 1) -> Taken:
    """`repeats` turns of each side, interleaved, after `warmup` turns that do not count.

    Every other round goes the other way round, so that no side always follows the same one.

    Raises:
        KeyboardInterrupt: before the first round was whole.
    """
    turns: dict[str, list[Turn]] = {name: [] for name in jobs}
    try:
        # The sides of one preset are loaded together: their memory adds up, their processors' time does not.
        with (
            sides(jobs, processes=processes) as started,
            tqdm(total=len(jobs) * (repeats + warmup), desc=label, unit="turn", file=sys.stderr) as bar,
        ):
            for number in range(warmup + repeats):
                for name in list(started)[:: -1 if number % 2 else 1]:
                    bar.set_postfix_str(name)
                    turn = started[name].turn()
                    bar.update()
                    if number >= warmup:
                        turns[name].append(turn)
    except KeyboardInterrupt:
        whole = min(map(len, turns.values()))
        if not whole:
            raise
        return Taken({name: taken[:whole] for name, taken in turns.items()}, stopped=True)
    return Taken(turns)


def micro_batch_seconds(job: Job, sizes: Sequence[int], *, rollouts: int, group: int) -> dict[int, float | None]:
    """Seconds that a side's update of a step of `rollouts` takes in micro-batches of each size, None: no memory for it.

    A turn updates on one micro-batch of made-up completions of the cap's length, to which plain TRL pads in any case.

    Args:
        group: rollouts of a prompt.
    """
    found: dict[int, float | None] = {}
    for size in tqdm(sizes, desc=f"micro-batch of {job.side}", file=sys.stderr):
        whole = size if size % group == 0 else rollouts
        trial = dataclasses.replace(job, work="update", micro_batch=size, prompts=whole // group)
        times: list[float] = []
        spent = 0.0
        try:
            with Side(trial) as side:
                side.wait_until_ready()
                while spent < _SEARCH_SECONDS:
                    seconds = side.turn().seconds
                    spent += seconds["step"]
                    gradient = (seconds["update"] - seconds["optimizer"]) * rollouts / whole
                    times.append(gradient + seconds["optimizer"])
        except NoMemoryError:
            found[size] = None
        else:
            found[size] = min(times)
    return found
