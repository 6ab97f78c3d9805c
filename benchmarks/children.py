"""The processes of the sides that are compared: started once, then asked for turns one after the other."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
from tqdm.auto import tqdm

from benchmarks import vllm_side
from benchmarks.side import JOB_VARIABLE, Job
from benchmarks.work import VLLM, Turn, Turns
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
        self._log = Path(self._folder.name) / "log"
        job = dataclasses.replace(
            self.job,
            folder=self._folder.name,
            threads=max(1, self.job.threads // self.processes),
            memory=int(psutil.virtual_memory().available * _MEMORY_SHARE),
        )
        port = str(free_port())
        with self._log.open("w", encoding="utf-8") as log:
            self._started = [
                subprocess.Popen(
                    [vllm_side.PYTHON if job.side == VLLM else sys.executable, "-m", "benchmarks.side"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE if rank == 0 else log,
                    stderr=log,
                    env=self._environment(job, str(rank), port),
                    text=True,
                    start_new_session=True,  # Ctrl-C is for the parent, which ends its children
                )
                for rank in range(self.processes)
            ]
        return self

    def __exit__(self, *failure: object) -> None:
        for process in self._started:
            assert process.stdin is not None
            process.stdin.close()
        for process in self._started:
            try:
                process.wait(timeout=1 if failure[0] else 10)
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
        if line := process.stdout.readline():
            answer: dict[str, Any] = json.loads(line)
            return answer
        log = self._log.read_text(encoding="utf-8", errors="replace")
        message = f"benchmark side {self.job.side!r} ended: …{log.strip()[-_TAIL:]}"
        if any(sign in log for sign in _NO_MEMORY):
            raise NoMemoryError(message, self.job.side)
        raise RunFailedError(message)

    def _environment(self, job: Job, rank: str, port: str) -> dict[str, str]:
        several = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": str(self.processes),
            "LOCAL_WORLD_SIZE": str(self.processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        kept = {name: value for name, value in os.environ.items() if name not in several}
        return {
            "HF_HUB_OFFLINE": "1",
            **kept,
            **(several if self.processes > 1 else {}),
            JOB_VARIABLE: json.dumps(dataclasses.asdict(job)),
            "OMP_NUM_THREADS": str(job.threads),
            "TOKENIZERS_PARALLELISM": "false",
        }


def take_turns(jobs: Mapping[str, Job], *, repeats: int, warmup: int, label: str, processes: int = 1) -> Turns:
    """`repeats` turns of each side, interleaved, after `warmup` turns that do not count.

    Every other round goes the other way round, so that no side always follows the same one.
    """
    turns: Turns = {name: [] for name in jobs}
    with ExitStack() as stack:
        # All sides are loaded together: their memory adds up, their processors' time does not.
        started = {name: stack.enter_context(Side(job, processes=processes)) for name, job in jobs.items()}
        for side in started.values():
            side.wait_until_ready()
        bar = stack.enter_context(tqdm(total=len(jobs) * (repeats + warmup), desc=label, unit="turn"))
        for number in range(warmup + repeats):
            for name in list(started)[:: -1 if number % 2 else 1]:
                bar.set_postfix_str(name)
                turn = started[name].turn()
                bar.update()
                if number >= warmup:
                    turns[name].append(turn)
    return turns


def micro_batch_seconds(job: Job, sizes: Sequence[int], *, rollouts: int, group: int) -> dict[int, float | None]:
    """Seconds that a side's update of a step of `rollouts` takes in micro-batches of each size, None: no memory for it.

    A turn updates on one micro-batch of made-up completions of the cap's length, to which plain TRL pads in any case.

    Args:
        group: rollouts of a prompt.
    """
    found: dict[int, float | None] = {}
    for size in tqdm(sizes, desc=f"micro-batch of {job.side}"):
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
