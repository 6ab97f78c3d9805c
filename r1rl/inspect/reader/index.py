"""What is asked of every rollout of some runs, in memory: where it lies, and the columns that filters and sorts read.

Texts and tokens stay in the shards. The columns come from the store and from the annotations, whose rows stand in the
order of their shard's. A shard that is new, was replaced or was annotated since is read again, and no other.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import duckdb
import psutil
import pyarrow as pa

from r1rl.aha.figures.annotations import Part, parts
from r1rl.aha.figures.suite import run_names
from r1rl.inspect.reader.filters import FLAG_SQL, MARKER_KINDS, MARKER_LABELS, MOVES, bits_sql
from r1rl.store import shard_files, shards, view
from r1rl.store.schema import OLD_KIND
from r1rl.verify.verdict import OUTCOME_SQL

SECONDS: Final = 5.0
"""What a reader asks may take so long: a regular expression must not hang the server."""

_MEMORY: Final = 0.5  # of this machine's, at most; about 0.3 kB a rollout is used
LONGEST_PATH: Final = 12
"""The first attempts of a rollout that the table of rollouts shows."""

_SHARDS_AT_ONCE: Final = 64
_OLD_RANKS: Final = 1_000_000
_REMEMBERED: Final = 6
_FLAGS_SQL: Final = " + ".join(
    f"coalesce({condition}, false)::INTEGER * {1 << i}" for i, condition in enumerate(FLAG_SQL.values())
)
_TABLES: Final = """
CREATE TABLE shards (
    shard INTEGER, run INTEGER, kind VARCHAR, step BIGINT, rank INTEGER, path VARCHAR, stamp VARCHAR, files VARCHAR[],
    annotated BOOLEAN);
CREATE TABLE rollouts (
    id BIGINT, shard INTEGER, "row" INTEGER, run INTEGER, kind VARCHAR, step BIGINT, rank INTEGER, prompt_id VARCHAR,
    group_id VARCHAR, sample_idx INTEGER, temperature DOUBLE, n_tokens INTEGER, outcome VARCHAR, reason VARCHAR,
    reward DOUBLE, correct BOOLEAN, n_attempts INTEGER, path VARCHAR, moves INTEGER, markers INTEGER, flags INTEGER)"""
_INSERT: Final = """
INSERT INTO rollouts
WITH stored AS ({stored}),
kept AS ({annotated})
SELECT (f.shard::BIGINT << 32) | r.file_row_number, f.shard, r.file_row_number, f.run,
    r.kind, r.step, f.rank, r.prompt_id, r.group_id, r.sample_idx, r.temperature,
    r.n_tokens, {outcome}, nullif(left(r.verdict_reason, 200), ''), r.reward,
    a.correct, a.n_attempts, a.path, a.moves, a.markers, a.flags
FROM (SELECT * FROM stored) r
JOIN shards f ON f.path = r.filename
LEFT JOIN kept a ON a.shard = f.shard AND a.place = r.file_row_number"""
_ANNOTATED: Final = f"""
SELECT p.shard, p.first + file_row_number AS place, correct, n_attempts,
    left(list_aggregate([CASE WHEN x.right THEN 'R' ELSE 'W' END for x in attempts if NOT x.repeat],
        'string_agg', ''), {LONGEST_PATH}) AS path,
    {bits_sql("transitions", MOVES)} AS moves,
    {bits_sql("[m.kind for m in markers]", MARKER_KINDS)}
        + {bits_sql("[m.label for m in markers]", MARKER_LABELS)} * {1 << len(MARKER_KINDS)} AS markers,
    {_FLAGS_SQL} AS flags
FROM read_parquet({{files}}, filename = true, file_row_number = true) JOIN parts p ON p.path = filename"""
_NOTHING_ANNOTATED: Final = """
SELECT NULL::INTEGER AS shard, NULL::BIGINT AS place, NULL::BOOLEAN AS correct, NULL::INTEGER AS n_attempts,
    NULL::VARCHAR AS path, NULL::INTEGER AS moves, NULL::INTEGER AS markers, NULL::INTEGER AS flags WHERE false"""


def _told_apart(shard: shards.Shard) -> int:
    """A shard's rank in the names of places; sampled held-out rollouts of old versions have a shard of their own."""
    return shard.rank + _OLD_RANKS * shard.path.name.startswith(OLD_KIND)


class TookTooLongError(ValueError):
    """A query was stopped."""


class Index:
    """The rollouts of some runs. Its queries may come from many threads, `refresh` from one at a time.

    Args:
        runs: their folders. `names` has the names that readers see, `version` grows with every change.
    """

    def __init__(self, runs: Sequence[Path]) -> None:
        self.runs = [Path(run).absolute() for run in runs]
        self.names = run_names(runs)
        self.version = 0
        self._next = 0
        self._remembered: OrderedDict[Any, pa.Table] = OrderedDict()
        self._remembering = threading.Lock()
        self._lock = threading.Lock()
        self._spilled = tempfile.TemporaryDirectory(prefix="r1rl-reader-")  # what memory is too small for
        self._database = duckdb.connect(
            config={
                "python_enable_replacements": "false",
                "memory_limit": f"{int(_MEMORY * psutil.virtual_memory().total) >> 20}MB",
                "temp_directory": self._spilled.name,
                "enable_external_file_cache": "false",  # the system keeps files as well
                "preserve_insertion_order": "false",
            }
        )
        with suppress(duckdb.Error):  # footers are kept; not every DuckDB knows it
            self._database.execute("SET parquet_metadata_cache = true")
        self._database.execute(_TABLES)

    def close(self) -> None:
        """Give the memory back."""
        self._database.close()
        self._spilled.cleanup()

    @contextmanager
    def cursor(self, seconds: float = SECONDS) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection whose queries are stopped after so many seconds. Raises TookTooLongError then."""
        with self._database.cursor() as cursor:
            timer = threading.Timer(seconds, cursor.interrupt)
            timer.start()
            try:
                yield cursor
            except duckdb.InterruptException:
                raise TookTooLongError(f"stopped after {seconds:g} s; ask for fewer rollouts, or simpler") from None
            finally:
                timer.cancel()

    def ask(self, sql: str, values: Sequence[Any] = (), seconds: float = SECONDS) -> list[dict[str, Any]]:
        """The rows of an answer."""
        with self.cursor(seconds) as cursor:
            answer = cursor.execute(sql, list(values))
            names = [column[0] for column in answer.description or ()]
            return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]

    def refresh(self, progress: Callable[[int, int], None] | None = None) -> bool:
        """Read what changed on disk; returns whether anything had. `progress` hears shards done, and of how many."""
        with self._lock:
            there = {key: value for run in range(len(self.runs)) for key, value in self._there(run).items()}
            known = {
                (path, tuple(files)): shard
                for shard, path, files in self._database.execute(
                    "SELECT shard, path || '|' || stamp, files FROM shards"
                ).fetchall()
            }
            gone = [shard for key, shard in known.items() if key not in there]
            new = [value for key, value in there.items() if key not in known]
            for first in range(0, len(new), _SHARDS_AT_ONCE):
                self._read(new[first : first + _SHARDS_AT_ONCE], gone if first == 0 else [])
                if progress is not None:
                    progress(min(first + _SHARDS_AT_ONCE, len(new)), len(new))
            if gone and not new:
                self._read([], gone)
            if gone or new:
                self.version += 1
            return bool(gone or new)

    def remembered(self, key: Any, find: Callable[[], pa.Table]) -> pa.Table:
        """What was found before, for the next page of a search or the next rollout of a selection; else find it now."""
        key = (self.version, key)
        with self._remembering:
            if key in self._remembered:
                self._remembered.move_to_end(key)
                return self._remembered[key]
        found = find()
        with self._remembering:
            self._remembered[key] = found
            while len(self._remembered) > _REMEMBERED:
                self._remembered.popitem(last=False)
        return found

    def _there(self, run: int) -> dict[tuple[str, tuple[str, ...]], dict[str, Any]]:
        """A run's shards as they are now, with the files of their annotations."""
        folder = self.runs[run]
        if not (folder / shards.FOLDER).is_dir():
            return {}
        mine: dict[Path, list[Part]] = {}
        whole: dict[Path, bool] = {}
        for part, there in parts(folder):
            whole[part.shard] = whole.get(part.shard, True) and there
            mine.setdefault(part.shard, []).extend([part] if there else [])
        found = {}
        for shard in shards.listing(folder / shards.FOLDER):
            if shard.path not in mine:
                continue
            status = shard.path.stat() if shard.path.exists() else None
            if status is None:
                continue
            stamp = f"{status.st_size:x}-{status.st_mtime_ns:x}"
            files = tuple(str(part.path) for part in mine[shard.path])
            found[f"{shard.path}|{stamp}", files] = {
                "run": run, "kind": shard.kind, "step": shard.step, "rank": _told_apart(shard), "path": shard.path,
                "stamp": stamp, "parts": mine[shard.path], "annotated": whole[shard.path],
            }  # fmt: skip
        return found

    def _read(self, new: Sequence[dict[str, Any]], gone: Sequence[int]) -> None:
        """Take rows of some shards in, and those of others out, at once."""
        with self._database.cursor() as cursor:
            cursor.execute("BEGIN")
            try:
                if gone:
                    cursor.execute("DELETE FROM rollouts WHERE list_contains(?, shard)", [list(gone)])
                    cursor.execute("DELETE FROM shards WHERE list_contains(?, shard)", [list(gone)])
                new = [shard for shard in new if os.path.exists(shard["path"])]
                if new:
                    self._insert(cursor, new)
                cursor.execute("COMMIT")
            except BaseException:
                cursor.execute("ROLLBACK")
                raise

    def _insert(self, cursor: duckdb.DuckDBPyConnection, new: Sequence[dict[str, Any]]) -> None:
        annotated: list[tuple[str, int, int]] = []
        for shard in new:
            shard["shard"] = self._next
            self._next += 1
            annotated += [(str(part.path), shard["shard"], part.first) for part in shard["parts"]]
        cursor.executemany(
            "INSERT INTO shards VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    shard["shard"], shard["run"], shard["kind"], shard["step"], shard["rank"], str(shard["path"]),
                    shard["stamp"], [str(part.path) for part in shard["parts"]], shard["annotated"],
                )
                for shard in new
            ],
        )  # fmt: skip
        select = _NOTHING_ANNOTATED
        if annotated:
            cursor.execute("CREATE OR REPLACE TEMP TABLE parts (path VARCHAR, shard INTEGER, first BIGINT)")
            cursor.executemany("INSERT INTO parts VALUES (?, ?, ?)", annotated)
            select = _ANNOTATED.format(files=view.listed([Path(path) for path, _, _ in annotated]))
        paths = [shard["path"] for shard in new]
        stored = view.definition(paths, [shard_files.footer(path) for path in paths], places=True)
        cursor.execute(_INSERT.format(stored=stored, annotated=select, outcome=OUTCOME_SQL))
