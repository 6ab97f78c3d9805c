"""Writers and rewinds killed at random moments, and readers beside them."""

from __future__ import annotations

import multiprocessing
import random
import runpy
import threading
from collections import Counter
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from r1rl.store import shards, store

SCRIPT = Path(__file__).with_name("crashing.py")
KILLS = 100
HANGS_SECONDS = 120

# Forked from a process that has imported the store: a new interpreter for each kill would take a minute.
context = multiprocessing.get_context("forkserver")
# Besides what they run: children import the main module again, and pyarrow imports pandas if it is there.
context.set_forkserver_preload(["pytest", "pandas", "r1rl.store.store"])

crashing = runpy.run_path(str(SCRIPT))


def start(work: str, *arguments: Any) -> BaseProcess:
    """A process that works until it is killed, once it has begun."""
    ready = context.Event()
    names = {"work": work, "arguments": arguments, "ready": ready}
    process = context.Process(target=runpy.run_path, args=(str(SCRIPT), names, "to_be_killed"), daemon=True)
    process.start()
    assert ready.wait(HANGS_SECONDS)
    return process


def kill_after(process: BaseProcess, seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    return timer


class Run:
    """A store that processes write to, and what it must hold."""

    def __init__(self, folder: Path) -> None:
        self.path, self.log = folder / "run", folder / "written.log"
        self.log.touch()
        # Something to read from the start.
        rows = [crashing["row"](0, rank, 0, i) for rank in range(1) for i in range(crashing["count"](0, rank))]
        store.write_shard(self.path, rows, kind="train", step=0, rank=0)

    def written(self) -> dict[tuple[int, int], int]:
        """The newest attempt of each shard that was certainly written, in order of their writing."""
        lines = self.log.read_text().splitlines()
        return {(int(step), int(rank)): int(attempt) for step, rank, attempt in map(str.split, lines)}

    def check(self, deep: bool = False) -> int:
        """Every shard that was written is there, whole, and no row is there twice; returns the rows."""
        promised = self.written()  # before reading: what is written meanwhile may or may not be seen
        table = store.read(self.path, columns=["step", "rank", "policy_step", "sample_idx", "completion", "token_ids"])
        counts: Counter[tuple[int, int]] = Counter()
        attempts: dict[tuple[int, int], int] = {}
        for step, rank, attempt, index, text, ids in zip(*(c.to_pylist() for c in table.columns), strict=True):
            assert text == f"{step} {rank} {attempt} {index} " * 20
            assert ids == [step, rank, index]
            assert index == counts[step, rank], "rows out of order, lost or twice"
            assert attempts.setdefault((step, rank), attempt) == attempt, "rows of two writings"
            counts[step, rank] += 1
        assert counts == {key: crashing["count"](*key) for key in counts}
        for key, attempt in promised.items():
            assert attempts.get(key, -1) >= attempt, f"shard {key} of attempt {attempt} is lost"
        if deep:
            self._ask()
        return len(table)

    def _ask(self) -> None:
        sql = "SELECT step, rank, count(*) AS n, count(DISTINCT sample_idx) AS d FROM rollouts GROUP BY ALL"
        for step, rank, n, distinct in (tuple(answer.values()) for answer in store.query(self.path, sql).to_pylist()):
            assert n == distinct == crashing["count"](step, rank)
        found = store.find(self.path, "step = 2 AND sample_idx = 0", columns=["step", "rank", "reward_even"])
        assert all(tuple(r.values()) == (2, i, 1.0) for i, r in enumerate(found.to_pylist()))

    @property
    def last(self) -> int:
        return max((step for step, _ in self.written()), default=0)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_kills_while_writing(run: Run) -> None:
    chance = random.Random(5)
    reads = 0
    for attempt in range(1, 10 * KILLS):  # a slow machine writes less between two kills, and needs more of them
        if attempt > KILLS and run.last > KILLS / 10 and reads > KILLS:
            break
        # As a resumed run, it may do its last steps again.
        first = max(0, run.last + chance.choice([1, 1, 0, -3]))
        process = start("write", run.path, run.log, first, attempt)
        timer = kill_after(process, chance.uniform(0.004, 0.04))
        while process.is_alive():
            run.check(deep=reads % 8 == 0)
            reads += 1
        timer.join(HANGS_SECONDS)
        process.join(HANGS_SECONDS)
        assert process.exitcode == -9, "it must work until it is killed"
        run.check()
    assert run.last > KILLS / 10, "the writers did not get anywhere"
    assert reads > KILLS
    # And the next run goes on and finds nothing in its way.
    shards.clean_temporaries(run.path / "rollouts", older_than_seconds=0)
    run.check(deep=True)
    counting = shards.listing(run.path / "rollouts")
    assert {path.name for path in (run.path / "rollouts").iterdir()} == {shard.path.name for shard in counting}


def test_kills_while_rewinding(run: Run) -> None:
    chance = random.Random(6)
    for step in range(1, 25):
        for rank in range(crashing["RANKS"]):
            rows = [crashing["row"](step, rank, 0, i) for i in range(crashing["count"](step, rank))]
            store.write_shard(run.path, rows, kind="train", step=step, rank=rank)
    for step in range(24, 0, -2):
        process = start("rewind", run.path, step)
        timer = kill_after(process, chance.uniform(0, 0.03))
        while process.is_alive():
            run.check()
        timer.join(HANGS_SECONDS)
        process.join(HANGS_SECONDS)
        found = set(store.read(run.path, columns=["step"]).column("step").to_pylist())
        assert found >= set(range(step)), "a rewind took a step that it must keep"
        store.rewind(run.path, step)
        assert set(store.read(run.path, columns=["step"]).column("step").to_pylist()) == set(range(step))
        run.check(deep=True)
