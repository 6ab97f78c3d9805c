"""The web reader on a store of a million rollouts: how long a page takes, and how much memory the server.

The store is made of a real run's: its rollouts and their annotations over again, step by step, as if it had trained for
longer and with larger batches. Nothing is compared; the targets are in the rows' names.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from urllib.request import urlopen

import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.machine import describe
from benchmarks.rows import Row, row
from r1rl.aha.figures import annotations as annotated
from r1rl.store import shard_files, store
from r1rl.store.shards import FOLDER, Shard, shard_path

SUMMARY = "The web reader on a store of a million rollouts."
PORT: Final = 8497
_PATIENCE: Final = 1_800
FILTERED: Final = (
    "step=250", "kind=eval&move=wrong_right", "verdict=wrong&flag=retried&sort=-tokens", "step=100..300&marker=verify",
    "reward=0.5..&tokens=60..&sort=reward", "kind=train&flag=superficial&page=40",
)  # fmt: skip
SEARCHED: Final = (
    "text=try+again",
    "text=got+17+no",
    "text=nowhere+to+be+found",
    "regex=" + quote(r"got (\d+) yes .* wait"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--run", type=Path, required=True, metavar="RUN", help="a real run, whose rollouts are repeated"
    )
    parser.add_argument("--rollouts", type=int, default=1_000_000, metavar="N", help="(default: 1000000)")
    parser.add_argument("--steps", type=int, default=500, metavar="N", help="training steps (default: 500)")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="make the store there, or take the one that is there"
    )


def measure(parsed: argparse.Namespace) -> list[Row]:
    """Seconds and bytes of the reader's pages, each asked for several times and each search the first time too."""
    folder = parsed.keep or Path(tempfile.mkdtemp()) / "million"
    try:
        if not (folder / FOLDER).is_dir():
            repeat(parsed.run, folder, parsed.rollouts, parsed.steps)
        return _served(folder)
    finally:
        if parsed.keep is None:
            shutil.rmtree(folder.parent)


def repeat(run: Path, folder: Path, rollouts: int, steps: int) -> None:
    """Make a run of so many rollouts from a real one's; its evaluations are spread over the steps."""
    annotated.compute(run)
    folder.mkdir(parents=True)
    for name in ("recipe.yaml", "environment.json", "metrics.jsonl", "events.jsonl"):
        if (run / name).is_file():
            shutil.copy(run / name, folder / name)
    trained, evaluated = store.shards(run, kind="train"), store.shards(run, kind="eval")
    every = max(1, steps // 25)
    number = rollouts // steps
    for step in range(steps):
        if step % every == 0:
            _copy(run, evaluated[step * len(evaluated) // steps], folder, step)
        _copy(run, trained[step * len(trained) // steps], folder, step, number)


def _copy(run: Path, shard: Shard, folder: Path, step: int, number: int | None = None) -> None:
    """A shard and its annotations at another step, over again until it has so many rows."""
    rows = shard_files.read(shard.path)
    found = pa.concat_tables(
        pq.read_table(part.path)
        for part, _ in annotated.parts(run, shard.kind, [shard.step])
        if part.shard == shard.path
    )
    size = len(rows) if number is None else number
    indices = pa.array([i % len(rows) for i in range(size)])
    copies = pa.array([str(i // len(rows)) for i in range(size)])
    path = shard_path(folder / FOLDER, shard.kind, step, shard.rank)
    path.parent.mkdir(exist_ok=True)
    shard_files.write(_at(rows.take(indices), step, copies), path)
    for part, _ in annotated.parts(folder, shard.kind, [step]):
        part.path.parent.mkdir(parents=True, exist_ok=True)
        mine = _at(found.take(indices), step, copies).slice(part.first, annotated.PART_ROWS)
        pq.write_table(mine, part.path, compression="zstd")


def _at(table: pa.Table, step: int, copies: pa.Array) -> pa.Table:
    steps = pa.array([step] * len(table), pa.int64())
    groups = pc.binary_join_element_wise(table["group_id"], copies, ".")
    table = table.set_column(table.column_names.index("step"), table.schema.field("step"), steps)
    return table.set_column(table.column_names.index("group_id"), table.schema.field("group_id"), groups)


def _served(folder: Path) -> list[Row]:
    command = [sys.executable, "-m", "r1rl.cli", "inspect", str(folder), "--serve", "--port", str(PORT)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    process = psutil.Process(server.pid)
    peak = 0
    try:
        begun = time.monotonic()
        readable = None
        while True:
            peak = max(peak, process.memory_info().rss)
            found = _live()
            if found and found["ready"] and readable is None:
                readable = time.monotonic() - begun
            if found and found["ready"] and not found["busy"]:
                break
            if time.monotonic() - begun > _PATIENCE or server.poll() is not None:
                raise ValueError(f"run={folder}: the reader did not get ready")
            time.sleep(0.1)
        measured = time.monotonic() - begun
        machine = describe(2)
        assert readable is not None
        pages = [f"/rollouts?{query}" for query in FILTERED]
        searches = {f"search {query.replace('+', ' ')}": f"/rollouts?{query}" for query in SEARCHED}
        rows = [
            _row(f"{found['rollouts']:,} rollouts can be looked at after", [readable], "s", machine),
            _row("figures are measured after", [measured], "s", machine),
            _row("overview (target 2 s)", _seconds(["/"], 5), "s", machine),
            _row("overview's charts", _seconds(["/charts.json"], 5), "s", machine),
            _row("filtered page, median of six (target 0.5 s)", _seconds(pages, 3), "s", machine),
            _row("filtered page, slowest", [max(_seconds(pages, 3))], "s", machine),
            *(row_
              for name, path in searches.items()
              for row_ in _with_processor(process, f"{name}, first time (target 1 s)", path, machine)),
            _row("search, its next page", _seconds([f"/rollouts?{SEARCHED[0]}&page=2"], 3), "s", machine),
        ]  # fmt: skip
        peak = max(peak, _peak(process))
        return [*rows, _row("server memory, at most (target 1 GB)", [peak / 1e6], "MB", machine)]
    finally:
        server.terminate()
        server.wait()


def _with_processor(process: psutil.Process, name: str, path: str, machine: str) -> list[Row]:
    """A request's seconds, and those of both cores that the server took: on a busy machine the first say little."""
    before = process.cpu_times()
    took = _seconds([path], 1)
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    return [_row(name, took, "s", machine), _row(f"{name.partition(',')[0]}, processor time", [used], "s", machine)]


def _peak(process: psutil.Process) -> int:
    """The most memory that the process had, where the system tells."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text()
    except OSError:
        return int(process.memory_info().rss)
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def _live() -> dict[str, Any] | None:
    try:
        with urlopen(f"http://127.0.0.1:{PORT}/live", timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except OSError:
        return None


def _seconds(paths: Sequence[str], times: int) -> list[float]:
    found = []
    for _ in range(times):
        for path in paths:
            begun = time.monotonic()
            with urlopen(f"http://127.0.0.1:{PORT}{path}", timeout=60) as answer:
                answer.read()
            found.append(time.monotonic() - begun)
    return found


def _row(name: str, values: Sequence[float], unit: str, machine: str) -> Row:
    return row(name, [statistics.median(values)], [None], unit, machine)
