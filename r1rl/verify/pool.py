"""Grader pool: worker processes that judge, killed from outside when one takes too long.

sympy can run for ever, or for minutes inside one C call where no signal handler of Python's runs. So the clock is
kept here and a worker that is late is killed; its item alone pays for that. `pool_batch` says how much time an item
and a batch have, `nursery` where workers come from.

Several items are in flight to a worker, answered one by one, so it never waits for the pool, and the pool knows at
which item a worker is when it dies: that one is tried once more, the others go back to the queue.
"""

import atexit
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from r1rl.ground.errors import RunFailedError
from r1rl.ground.machine import cores_of_a_rank
from r1rl.verify.nursery import Limits, Nursery, decode
from r1rl.verify.pool_batch import MAX_ITEM_BYTES, Batch, Item
from r1rl.verify.verdict import Verdict

__all__ = ["GraderPool", "Item", "Limits"]

ITEMS_IN_FLIGHT = 8
"""Bound on the items in flight to one worker; their bytes are bounded by `MAX_ITEM_BYTES`."""

_MAX_DEATHS = 2  # a worker killed from outside is no fault of its item; twice is
_MAX_FAILED_STARTS = 5


@dataclass(eq=False)
class _Worker:
    pid: int
    connection: Connection
    queue: deque[int] = field(default_factory=deque)  # the items it was sent; it is at the first
    began: float = 0.0  # when it began that item, with what limit and until when
    limit: float = 0.0
    deadline: float = 0.0
    starved: float = 0.0  # `_starved_seconds` when it began
    preparing: bool = False  # the item's own clock has not started


_pools: "weakref.WeakSet[GraderPool]" = weakref.WeakSet()


class GraderPool:
    """Worker processes for one judge, started at first use and only as many as a batch needs.

    `judge` is "module:function", `function(*item) -> Verdict`, and runs in the workers. The pool is safe to use from
    several threads (their batches queue) and after a fork (the child starts its own workers). `name` is the
    verifier's. `workers` defaults to `r1rl.ground.machine.cores_of_a_rank()` at the time of each batch.
    """

    def __init__(
        self,
        judge: str,
        *,
        name: str,
        workers: int | None = None,
        limits: Limits | None = None,
        cache_size: int = 16_384,
    ) -> None:
        if workers is not None and workers < 1:
            raise ValueError(f"workers={workers}: need at least 1; leave it out for one per available core")
        self.judge, self.name, self.workers, self.cache_size = judge, name, workers, cache_size
        self.limits = limits or Limits()
        self.starts = 0  # how many workers were ever started
        self._cache: dict[Item, Verdict] = {}  # in the order of their last use
        self._forget()
        _pools.add(self)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that run."""
        return [worker.pid for worker in list(self._workers)]

    @property
    def nursery_pid(self) -> int | None:
        """Process id of the workers' parent, None if nothing was started."""
        return self._nursery.pid if self._nursery else None

    def verify_many(self, items: Sequence[Item]) -> list[Verdict]:
        """One verdict per (answer, gold, ...), in order; equal items are judged once.

        Raises `RuntimeError` when no worker can be started or the judge itself raised.
        """
        if not items:
            return []
        with self._lock:
            known = {item: self._cache.pop(item) for item in dict.fromkeys(items) if item in self._cache}
            self._cache |= known
            asked = [item for item in dict.fromkeys(items) if item not in known]
            batch = self._judge_all(asked)
            known |= {item: batch.verdicts[index] for index, item in enumerate(asked)}
            self._cache |= {asked[index]: batch.verdicts[index] for index in sorted(batch.final)}
            for item in list(self._cache)[: max(0, len(self._cache) - self.cache_size)]:
                del self._cache[item]
        return [known[item] for item in items]

    def clear_cache(self) -> None:
        """Forget every verdict."""
        with self._lock:
            self._cache.clear()

    def close(self) -> None:
        """End every process of this pool; the next batch starts others."""
        held = self._lock.acquire(timeout=1.0)  # at exit, a batch of another thread may never end
        try:
            for worker in list(self._workers):
                self._retire(worker)
            self._end_nursery()
        finally:
            if held:
                self._lock.release()

    def _forget(self) -> None:
        """The state of a pool that owns no process; also what a forked child starts from."""
        self._lock = threading.Lock()
        self._workers: list[_Worker] = []
        self._nursery: Nursery | None = None

    def _judge_all(self, items: Sequence[Item]) -> Batch:
        size = self.workers or cores_of_a_rank()
        batch = Batch(items, size, self.limits)
        try:
            for _ in range(2):
                while batch.waiting or any(worker.queue for worker in self._workers):
                    work = len(batch.waiting) + sum(len(worker.queue) for worker in self._workers)
                    while batch.waiting and len(self._workers) < min(size, work):
                        self._workers.append(self._start())
                    self._feed(batch, size)
                    self._collect(batch)
                if not batch.second_tries:
                    batch.begin_second_tries()
        finally:  # an interrupt: nobody will read what these answer
            for worker in [worker for worker in self._workers if worker.queue]:
                self._retire(worker)
        if batch.errors:
            raise RuntimeError(f"verifier={self.name!r}: {self.judge} raised {batch.errors[0]}")
        return batch

    def _start(self) -> _Worker:
        """A worker from the nursery, which is started here if none lives."""
        for failures in range(_MAX_FAILED_STARTS):
            time.sleep(0.1 * failures)
            self._nursery = self._nursery or Nursery(self.judge, self.limits)
            with suppress(EOFError, OSError):
                worker = _Worker(*self._nursery.fork())
                self.starts += 1
                return worker
            self._end_nursery()
        raise RunFailedError(f"verifier={self.name!r}: no worker process can be started; try more memory")

    def _feed(self, batch: Batch, size: int) -> None:
        """Send waiting items to the workers, the fewer at a time the fewer wait."""
        depth = 1 if batch.second_tries else len(batch.waiting) // (2 * size)
        for worker in list(self._workers):
            while batch.waiting and len(worker.queue) < min(max(depth, 1), ITEMS_IN_FLIGHT):
                messages = [batch.messages[index] for index in (*worker.queue, batch.waiting[0])]
                if worker.queue and sum(map(len, messages)) > MAX_ITEM_BYTES:
                    break
                try:
                    worker.connection.send_bytes(messages[-1])
                except OSError:  # died while idle, or now: `_collect` would blame an item for it
                    if not worker.queue:
                        self._drop(batch, worker)
                    break
                worker.queue.append(batch.waiting.popleft())
                if len(worker.queue) == 1:
                    self._begin(batch, worker)

    def _begin(self, batch: Batch, worker: _Worker) -> None:
        if worker.queue:
            worker.preparing = batch.prepare_seconds_left > 0
            self._start_clock(worker, batch.prepare_limit() if worker.preparing else batch.next_limit())

    def _start_clock(self, worker: _Worker, limit: float) -> None:
        worker.began, worker.limit = time.monotonic(), limit
        worker.deadline = worker.began + limit
        worker.starved = _starved_seconds(worker.pid)

    def _collect(self, batch: Batch) -> None:
        """Wait for the next answer, death or limit, and see to all of them."""
        busy = [worker for worker in self._workers if worker.queue]
        if not busy:
            return
        patience = min(worker.deadline for worker in busy) - time.monotonic()
        wait([worker.connection for worker in busy], timeout=max(0.0, patience))
        for worker in busy:
            try:
                # answers first: the pool's own delay (a busy interpreter) must not make a worker late
                while worker in self._workers and worker.connection.poll():
                    self._receive(batch, worker, decode(worker.connection.recv_bytes()))
            except (EOFError, OSError):
                self._died(batch, worker)
                continue
            if worker in self._workers and worker.queue and time.monotonic() > worker.deadline:
                self._late(batch, worker)

    def _receive(self, batch: Batch, worker: _Worker, reply: dict[str, Any]) -> None:
        if "prepared" in reply:
            if worker.preparing:
                worker.preparing = False
                self._start_clock(worker, batch.next_limit())
            return
        index = worker.queue.popleft()
        if "error" in reply:
            batch.errors.append(reply["error"])
        else:
            batch.settle(index, Verdict(reply["status"], reply["value"], reply["reason"]))
        if reply["last"]:
            self._drop(batch, worker)
        else:
            self._begin(batch, worker)

    def _late(self, batch: Batch, worker: _Worker) -> None:
        """Kill a worker whose item had its time; one that waited for a core gets more, up to `item_seconds`."""
        most = self.limits.prepare_seconds if worker.preparing else self.limits.item_seconds
        spent, last = self._spent(worker), worker.began + most
        if spent < worker.limit and worker.deadline < last:
            worker.deadline = min(last, time.monotonic() + max(0.005, worker.limit - spent))
            return
        index = worker.queue.popleft()
        self._drop(batch, worker)
        if worker.preparing:
            batch.unprepared(index, worker.limit, spent)
        else:
            batch.overdue(index, worker.limit, spent)

    def _spent(self, worker: _Worker) -> float:
        """Seconds that a worker's item had: of those that it waited for a core, at most half of all are let off."""
        waited = time.monotonic() - worker.began
        return waited - min(max(_starved_seconds(worker.pid) - worker.starved, 0.0), waited / 2)

    def _died(self, batch: Batch, worker: _Worker) -> None:
        """A worker died at its first item, which is tried once more."""
        index = worker.queue.popleft()
        if worker.preparing:
            batch.prepare_seconds_left -= self._spent(worker)
        else:
            batch.seconds_left -= self._spent(worker)
            batch.untried += 1
        self._drop(batch, worker)
        batch.deaths[index] += 1
        if batch.deaths[index] >= _MAX_DEATHS:
            batch.untried -= 1
            batch.settle(index, Verdict("timeout", None, "the worker died on this item"), final=False)
        else:
            batch.waiting.appendleft(index)

    def _drop(self, batch: Batch, worker: _Worker) -> None:
        """End a worker; what it was not yet at goes back to the head of the queue."""
        batch.waiting.extendleft(reversed(worker.queue))
        worker.queue.clear()
        self._retire(worker)

    def _retire(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.connection.close()
        if self._nursery:
            self._nursery.kill(worker.pid)

    def _end_nursery(self) -> None:
        if self._nursery:
            self._nursery.end()
        self._nursery = None


def _starved_seconds(pid: int) -> float:
    """How long a process was ready to run and had no core; 0 where the platform does not say."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_bytes().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _close_all() -> None:
    for pool in list(_pools):
        pool.close()


def _forget_all() -> None:
    """In a forked child: close the parent's connections, or the nursery would not notice the parent's death."""
    for pool in list(_pools):
        for worker in pool._workers:
            worker.connection.close()
        if pool._nursery:
            pool._nursery.disown()
        pool._forget()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
