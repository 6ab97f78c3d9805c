"""The annotations of a run on disk: RUN/annotations/v<DETECTOR_VERSION>/*.parquet, one row a rollout.

Each rollout shard has its own files, of at most PART_ROWS rows each:
`eval-000020-0000.<size>-<time>.1-of-1.parquet`. Size and time of change are the shard's, in hexadecimal, so what was
computed from a shard that was replaced since is not taken for current, and a listing alone tells what is missing.
A file is written under a temporary name, synced and renamed: it is whole or not there, and work that was cut off
goes on where it stopped. Other detector versions keep their own folders.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import multiprocessing
import os
import re
import signal
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm.auto import tqdm

from r1rl.aha.detect.annotation import DETECTOR_VERSION, SCHEMA, annotate_all
from r1rl.ground import whole_files
from r1rl.store import schema, shards, store
from r1rl.store.schema import KIND_SQL, OLD_KIND

FOLDER: Final = "annotations"
PART_ROWS: Final = 5_000
"""What one worker does at a time, and at most what a Ctrl-C loses of its work: a few seconds."""

_FEW_ROWS: Final = 3_000  # less work than starting processes
_TRIES: Final = 3
_TEMPORARY: Final = re.compile(r"\..*\.[0-9a-f]{32}\.tmp")
# What `annotate` reads.
_COLUMNS: Final = (
    *("run", "kind", "step", "rank", "group_id", "prompt_id", "sample_idx", "temperature", "task", "verifier"),
    *("prompt", "prefill", "completion", "n_tokens", "finish_reason", "gold", "meta", "verdict", "verdict_reason"),
)


class Part(NamedTuple):
    """A range of a shard's rows, and where their annotations belong."""

    shard: Path
    stamp: str  # size and time of change of the shard
    number: int  # from 1
    parts: int
    path: Path

    @property
    def first(self) -> int:
        """The shard's row that this part begins with."""
        return (self.number - 1) * PART_ROWS


def folder(run_dir: str | os.PathLike[str]) -> Path:
    """Where the annotations of the current detectors are."""
    return Path(run_dir) / FOLDER / f"v{DETECTOR_VERSION}"


def files(
    run_dir: str | os.PathLike[str], *, kind: str | None = None, steps: Collection[int] | None = None
) -> list[Path]:
    """Annotation files of the shards as they are now, in the shards' order; those not yet computed are left out."""
    return [part.path for part, there in parts(run_dir, kind, steps) if there]


def missing(
    run_dir: str | os.PathLike[str], *, kind: str | None = None, steps: Collection[int] | None = None
) -> list[Part]:
    """What has no annotations of the current detectors. Raises ValueError for no run."""
    return [part for part, there in parts(run_dir, kind, steps) if not there]


def compute(
    run_dir: str | os.PathLike[str], *, kind: str | None = None, workers: int = 1, progress: bool = False
) -> int:
    """Annotate what is missing, in `workers` processes, and return the number of rollouts annotated.

    Interrupted, it keeps every finished part. A shard that a merge or a resumed run replaces meanwhile is done again.
    Raises ValueError for no run or a number of workers below 1.
    """
    if workers < 1:
        raise ValueError(f"workers={workers}: need at least 1; leave it out for one per available core")
    done = 0
    for attempt in range(_TRIES):
        clean(run_dir)
        parts = missing(run_dir, kind=kind)
        if not parts:
            break
        folder(run_dir).mkdir(parents=True, exist_ok=True)
        done += _compute(parts, workers, progress and attempt == 0)
    return done


def annotate_part(part: Part) -> int:
    """Annotate one part and return its number of rows; 0 where its shard was replaced meanwhile."""
    try:
        rows = _rows(part.shard, part.first, part.first + PART_ROWS)
        if _stamp(part.shard) != part.stamp:
            return 0
    except FileNotFoundError:
        return 0
    table = pa.Table.from_pylist(annotate_all(rows), schema=SCHEMA)
    part.path.parent.mkdir(parents=True, exist_ok=True)
    with whole_files.replacing(part.path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return len(rows)


def clean(run_dir: str | os.PathLike[str]) -> None:
    """Delete annotations of shards that are no more, and temporary files that nobody has written to for an hour."""
    try:
        found = list(os.scandir(folder(run_dir)))
    except FileNotFoundError:
        return
    # Listed before the shards, so that nothing computed from a newer shard is taken for litter.
    wanted = {part.path.name for part, _ in parts(run_dir)}
    newest = max((entry.stat().st_mtime for entry in found), default=0.0)
    for entry in found:
        stale = entry.name.endswith(".parquet") and entry.name not in wanted
        with contextlib.suppress(FileNotFoundError):
            if stale or (_TEMPORARY.fullmatch(entry.name) and entry.stat().st_mtime < newest - 3600):
                os.unlink(entry.path)


@contextlib.contextmanager
def connection(
    run_dir: str | os.PathLike[str],
    *,
    kind: str | None = None,
    steps: Collection[int] | None = None,
    threads: int | None = None,
) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with the view `annotations` over the current files. Raises ValueError where there are none."""
    found = [str(path.absolute()) for path in files(run_dir, kind=kind, steps=steps)]
    if not found:
        what = "rollouts" if kind is None else f"{kind} rollouts"
        raise ValueError(f"run={str(run_dir)!r}: no annotated {what}; the run sampled none so far, or try --kind train")
    # A cursor has temporary views of its own, so two of them do not see each other's.
    with _database(os.getpid(), threads).cursor() as opened:
        listed = ", ".join("'" + name.replace("'", "''") + "'" for name in found)
        opened.execute(f"CREATE TEMP VIEW annotations AS {_select(found)} FROM read_parquet([{listed}])")
        yield opened


@functools.cache
def _database(pid: int, threads: int | None) -> duckdb.DuckDBPyConnection:
    """An empty database in memory, one a process: opening one takes as long as a small query.

    A forked process must not use its parent's, whose threads it does not have: its `pid` differs.
    """
    # It would keep what it read for as long as the process lives.
    config: dict[str, str | bool | int | float | list[str]] = {
        "python_enable_replacements": "false",
        "enable_external_file_cache": "false",
    }
    if threads is not None:
        config["threads"] = threads
    opened = duckdb.connect(config=config)
    atexit.register(_close, pid)
    return opened


def _close(pid: int) -> None:
    if os.getpid() == pid:  # DuckDB complains of what is still open when the interpreter ends
        _database.cache_clear()


def views(run_dir: str | os.PathLike[str]) -> str:
    """Two statements that give any DuckDB the views `rollouts` and `annotations` of a run."""
    root = str(Path(run_dir)).replace("'", "''")
    select = _select([path.name for path in files(run_dir)])
    return (
        f"CREATE VIEW rollouts AS {select} "
        f"FROM read_parquet('{root}/{shards.FOLDER}/*.parquet', union_by_name = true);\n"
        f"CREATE VIEW annotations AS {select} FROM '{root}/{FOLDER}/v{DETECTOR_VERSION}/*.parquet';"
    )


def _select(names: Sequence[str]) -> str:
    """All columns of the rows in annotation files or shards, those of shards before version 3 with today's kinds."""
    old = any(Path(name).name.startswith(OLD_KIND) for name in names)
    return f"SELECT * REPLACE ({KIND_SQL})" if old else "SELECT *"


def _compute(parts: Sequence[Part], workers: int, progress: bool) -> int:
    bar = tqdm(total=len(parts), desc="annotating", unit="shard", disable=not progress)
    with bar:
        rows = 0
        waiting = iter(parts)
        # A few shards need no processes; how many rows there are is known once they are done.
        for part in waiting:
            rows += annotate_part(part)
            bar.update()
            if workers > 1 and rows >= _FEW_ROWS:
                break
        left = list(waiting)
        if not left:
            return rows
        # Spawned: forking a process in which pyarrow or DuckDB runs threads may deadlock.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(workers, len(left)), mp_context=context, initializer=_start_worker) as pool:
            futures = [pool.submit(annotate_part, part) for part in left]
            try:
                for future in as_completed(futures):
                    rows += future.result()
                    bar.update()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return rows


def _start_worker() -> None:
    # Ctrl-C reaches the whole process group: the worker just goes, the parent says so once.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with contextlib.suppress(OSError):
        pa.set_cpu_count(1)


def parts(
    run_dir: str | os.PathLike[str], kind: str | None = None, steps: Collection[int] | None = None
) -> list[tuple[Part, bool]]:
    """Every part of every shard, and whether its file is there; a shard without any counts as one part."""
    place = folder(run_dir)
    there = set(os.listdir(place)) if place.is_dir() else set()
    counts = {match[1]: int(match[2]) for name in there if (match := re.fullmatch(r"(.*)\.1-of-(\d+)\.parquet", name))}
    found = []
    for shard in store.shards(run_dir, kind=kind, steps=steps):
        try:
            stamp = _stamp(shard.path)
            stem = f"{shard.path.stem}.{stamp}"
            count = counts.get(stem) or max(1, -(-pq.read_metadata(shard.path).num_rows // PART_ROWS))
        except FileNotFoundError:  # deleted since the listing, by a resumed run
            continue
        for index in range(1, count + 1):
            name = f"{stem}.{index}-of-{count}.parquet"
            found.append((Part(shard.path, stamp, index, count, place / name), name in there))
    return found


def _stamp(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size:x}-{status.st_mtime_ns:x}"


def _rows(path: Path, first: int, end: int) -> list[dict[str, Any]]:
    """Rows `first` to `end` of a shard, with the columns _COLUMNS."""
    with pq.ParquetFile(path) as file:
        columns = [name for name in _COLUMNS if name in file.schema_arrow.names]
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        ends = list(itertools.accumulate(sizes))
        groups = [i for i in range(len(sizes)) if ends[i] - sizes[i] < end and ends[i] > first]
        if not groups:
            return []
        before = ends[groups[0]] - sizes[groups[0]]
        table = file.read_row_groups(groups, columns).slice(first - before, end - first)
    rows: list[dict[str, Any]] = schema.current(table, schema.stored((), _COLUMNS)).to_pylist()
    return rows
