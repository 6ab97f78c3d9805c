"""Ends a run in which nothing moves any more: names the slow process, dumps every stack, exits non-zero.

A daemon thread in every process. It needs no collective, so it works while the main threads wait in one, and it talks
to the other processes through the run folder alone, so it works over nodes. The first process to find the run
stalled creates `stalled.json`; each then dumps its stacks and says whether it waits for others; the finder gives
the verdict and all exit. The rollout store needs no flush: a shard is on disk when it is written at all.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from r1rl.ground.whole_files import read_json, write_json
from r1rl.run import rank_errors
from r1rl.run.heartbeats import Heartbeat

DEFAULT_SECONDS = 1500.0  # below the 1800 s of ddp_timeout, so that it speaks before a collective gives up
_ANSWER_SECONDS = 3.0  # for the other processes to dump their stacks
_VERDICT_SECONDS = 15.0
# Whose frames mean that the main thread waits for other processes; DDP exchanges gradients inside backward.
_WAITING = ("torch/distributed/", "torch/autograd/graph", "accelerate/utils/operations", "deepspeed/comm/")


def seconds_for(stated: float | None, world_size: int) -> float:
    """The recipe's `watchdog_seconds`, or its default: off for a process alone, which only itself can hold up."""
    return stated if stated is not None else (DEFAULT_SECONDS if world_size > 1 else 0.0)


class Watchdog:
    """Watches the heartbeats of a run from one of its processes.

    Args:
        heartbeat: this process's own heartbeat.
        seconds: how long no process may beat before the run is ended; 0: for ever.
    """

    def __init__(self, heartbeat: Heartbeat, seconds: float) -> None:
        self.heartbeat, self.seconds = heartbeat, seconds
        self.poll = min(max(seconds / 10, 0.2), 10.0)
        self.verdict = heartbeat.folder / "stalled.json"
        self._stop = threading.Event()
        self._stacks: Any = None

    def start(self) -> None:
        """Start watching; `stop` ends it."""
        if self.seconds <= 0:
            return
        self._stacks = self.heartbeat.file("stack.txt").open("w", encoding="utf-8")
        if hasattr(faulthandler, "register"):
            # Written in C: works where Python code holds the interpreter's lock for ever.
            faulthandler.register(signal.SIGUSR2, file=self._stacks, all_threads=True)
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """The run is over. Leaves SIGUSR2's handler: a late signal must not kill."""
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.wait(self.poll):
            with contextlib.suppress(OSError):
                os.utime(self.heartbeat.file())  # alive, if not progressing
            if self.verdict.exists():
                self._obey()
            # Its own clock first: a process that moves need not read the files of all the others.
            elif time.monotonic() - self.heartbeat.moved >= self.seconds and self._nobody_moves():
                try:
                    self.verdict.touch(exist_ok=False)
                except FileExistsError:
                    self._obey()
                except OSError:
                    continue
                else:
                    self._judge()

    def _nobody_moves(self) -> bool:
        beats = [state["time"] for state in self.heartbeat.all_states() if state]
        return time.time() - max(beats, default=0.0) >= self.seconds

    def _obey(self) -> None:
        """Another process has found the run stalled: dump, wait for its verdict, so that it can be read, and exit."""
        self._dump()
        until = time.monotonic() + _VERDICT_SECONDS
        while read_json(self.verdict) is None and time.monotonic() < until:
            time.sleep(0.1)
        self._exit()

    def _judge(self) -> None:
        self._dump()
        others = [rank for rank in range(self.heartbeat.world_size) if rank != self.heartbeat.rank]
        until = time.monotonic() + _ANSWER_SECONDS + 2 * self.poll
        while time.monotonic() < until and not all(self.heartbeat.file("stall.json", r).exists() for r in others):
            time.sleep(0.1)
        states = self.heartbeat.all_states()
        silent = [rank for rank in others if not self.heartbeat.file("stall.json", rank).exists()]
        mine = [pid for rank in silent if (pid := self._sibling(states[rank])) is not None]
        for pid in mine:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGUSR2)
        if mine:
            time.sleep(1.0)
        answers = [read_json(self.heartbeat.file("stall.json", rank)) for rank in range(self.heartbeat.world_size)]
        message = verdict(states, answers, self.seconds, self.heartbeat.folder)
        sys.stderr.write(f"\n{message}\n")
        sys.stderr.flush()
        rank_errors.record("stalled", message)
        write_json(self.verdict, {"time": time.time(), "message": message}, durable=False)
        for pid in mine:  # one that is stopped cannot end itself
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self._exit()

    def _sibling(self, state: dict[str, Any] | None) -> int | None:
        """The pid of a process of this launch on this machine: the same name may be another's elsewhere."""
        if state is None or state["host"] != self.heartbeat.state["host"]:
            return None
        try:
            return int(state["pid"]) if psutil.Process(state["pid"]).ppid() == os.getppid() else None
        except psutil.Error:
            return None

    def _dump(self) -> None:
        if self._stacks is not None:
            faulthandler.dump_traceback(self._stacks, all_threads=True)
            self._stacks.flush()
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        with contextlib.suppress(OSError):
            write_json(self.heartbeat.file("stall.json"), where(frame), durable=False)

    def _exit(self) -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(1)  # the main thread may never come back


def where(frame: FrameType | None) -> dict[str, Any]:
    """`{"at", "waiting"}`: the innermost line, and whether some caller is a collective."""
    at, waiting = "", False
    while frame is not None:
        file = frame.f_code.co_filename.replace(os.sep, "/")
        at = at or f"{Path(file).name}:{frame.f_lineno} in {frame.f_code.co_name}"
        waiting = waiting or any(part in file for part in _WAITING)
        frame = frame.f_back
    return {"at": at, "waiting": waiting}


def verdict(
    states: list[dict[str, Any] | None], answers: list[dict[str, Any] | None], seconds: float, folder: Path
) -> str:
    """What to tell the user: which process holds the others up, as far as can be known.

    In this order: one without a heartbeat; one that does not answer; one that has begun fewer phases; one whose main
    thread does not wait in a collective.

    Args:
        states: heartbeats by rank, None where there is none.
        answers: what `where` said in each process, None where it did not answer.
    """
    ranks = range(len(states))
    most = max((state["passed"] for state in states if state), default=0)
    guesses = (
        ([r for r in ranks if states[r] is None], "has not started"),
        ([r for r in ranks if answers[r] is None], "does not answer: stopped, dead, or stuck outside Python"),
        ([r for r in ranks if (state := states[r]) and state["passed"] < most], "is behind the others"),
        ([r for r in ranks if (said := answers[r]) and not said["waiting"]], "does not wait for the others"),
    )
    slow, why = next(
        ((found, why) for found, why in guesses if 0 < len(found) < len(states) or (found and len(states) == 1)),
        ([], ""),
    )
    lines = [f"stalled: no process has made progress for {seconds:g} s (watchdog_seconds), the run is ended"]
    for rank in slow[:8]:
        lines.append(f"  rank {rank} of {len(states)} {why}: {_describe(states[rank], answers[rank])}")
    if len(slow) > 8:
        lines.append(f"  and {len(slow) - 8} more")
    if not slow:
        lines.append("  no process is behind: " + "; ".join(_describe(states[r], answers[r]) for r in ranks[:8]))
    lines.append(f"  stacks of all processes: {folder}/rank_*.stack.txt")
    return "\n".join(lines)


def _describe(state: dict[str, Any] | None, answer: dict[str, Any] | None) -> str:
    if state is None:
        return "no heartbeat"
    since = max(0.0, time.time() - state["time"])
    text = f"host {state['host']}, pid {state['pid']}, step {state['step']}, {state['phase']!r} for {since:.0f} s"
    return text + (f", at {answer['at']}" if answer else "")
