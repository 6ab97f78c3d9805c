"""Rollouts on disk: RUN/rollouts/*.parquet, written a shard at a time, each whole or not there.

A shard is written under a temporary name, fsynced and renamed, so a reader, or a run killed at any moment, never
sees half of one. Writing the same (kind, step, rank) again replaces its rows: that is how a resumed run repeats a
step without doubling them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import pyarrow as pa

from r1rl.ground import whole_files
from r1rl.store import schema as rollout_schema
from r1rl.store import shard_files, view
from r1rl.store import shards as names
from r1rl.store.schema import KINDS, SCHEMA
from r1rl.store.shards import FOLDER, Shard

_THREADS: Final = 8
_TRIES: Final = 100
_cleaned: set[Path] = set()
_T = TypeVar("_T")


def write_shard(
    run_dir: str | os.PathLike[str],
    rows: Sequence[dict[str, Any]],
    *,
    kind: str,
    step: int,
    rank: int,
    imported: bool = False,
) -> Path:
    """Write one rank's rollouts of one step durably; returns the path of the shard.

    `kind`, `step` and `rank` are filled in where a row leaves them out. Columns beyond the schema must be called
    reward_<name>; `imported` rows may lack what schema.IMPORTED_NULLABLE names. Raises ValueError if a row
    contradicts the shard's key or does not fit the schema; then nothing is written and an older shard of that key
    stays.
    """
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: need one of {', '.join(KINDS)}")
    if step < 0 or rank < 0:
        raise ValueError(f"step={step}, rank={rank}: need both >= 0")
    key = {"kind": kind, "step": step, "rank": rank}
    for row in rows:
        for name, value in key.items():
            if row.get(name, value) != value:
                raise ValueError(f"{name}={row[name]!r}: a row of another shard; this one has {name}={value!r}")
    table = rollout_schema.table([{**row, **key} for row in rows], imported=imported)

    folder = Path(run_dir) / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if folder not in _cleaned:  # once a process
        names.clean_temporaries(folder)
    _cleaned.add(folder)
    path = names.shard_path(folder, kind, step, rank)
    with whole_files.replacing(path) as temporary:
        shard_files.write(table, temporary)
    return path


def shards(
    run_dir: str | os.PathLike[str], *, kind: str | None = None, steps: Collection[int] | None = None
) -> list[Shard]:
    """The run's whole shards, or those of a kind or of some steps, in order of step, kind, rank.

    Raises ValueError where there is no rollout folder.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind={kind!r}: need one of {', '.join(KINDS)}")
    wanted = None if steps is None else set(steps)
    return [
        shard
        for shard in names.listing(names.rollouts_of(run_dir))
        if kind in (None, shard.kind) and (wanted is None or shard.step in wanted)
    ]


def read(
    run_dir: str | os.PathLike[str],
    *,
    kind: str | None = None,
    steps: Collection[int] | None = None,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Rollouts as one table, in order of step, kind, rank and row; no match gives an empty table.

    The columns are the union over the run's shards, null where a shard lacks one; `columns` picks some of them, in
    that order. Raises ValueError for an unknown run, kind or column, or a shard of a newer r1rl.
    """
    return again_if_deleted(lambda: _read(run_dir, kind, steps, columns))


def _read(
    run_dir: str | os.PathLike[str], kind: str | None, steps: Collection[int] | None, columns: Sequence[str] | None
) -> pa.Table:
    found = shards(run_dir, kind=kind, steps=steps)
    # The schema covers every shard of the run, so a selection has the same columns whatever it selects.
    rewards = _rewards(run_dir) if columns is None or not set(columns) <= set(SCHEMA.names) else set()
    rollout_schema.check_columns(columns or (), rollout_schema.with_rewards(rewards).names)
    schema = rollout_schema.stored(rewards, columns)
    with ThreadPoolExecutor(_THREADS) as pool:
        tables = pool.map(
            lambda shard: rollout_schema.current(shard_files.read(shard.path, columns=columns), schema), found
        )
        return pa.concat_tables([schema.empty_table(), *tables])


def query(run_dir: str | os.PathLike[str], sql: str) -> pa.Table:
    """Answer to one DuckDB SELECT over the view `rollouts` (all kinds and steps of the run).

    Only that view can be read: no other file, no network. Raises ValueError for an unknown run, an SQL error or
    anything but one SELECT.
    """

    def answer() -> pa.Table:
        with view.opened(run_dir) as connection:
            return view.select(connection, sql).to_arrow_table()

    return again_if_deleted(lambda: view.explained(sql, answer))


def find(
    run_dir: str | os.PathLike[str],
    where: str,
    *,
    limit: int = 20,
    offset: int = 0,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """A page of the rollouts for which an SQL condition holds, in an order that lasts until the run changes.

    `find(run, "step = 40 AND verdict = 'wrong' AND contains(completion, 'Wait')", offset=20)`. Raises ValueError as
    `read` and `query`, and for a negative limit or offset.
    """
    if limit < 0 or offset < 0:
        raise ValueError(f"limit={limit}, offset={offset}: need both >= 0")

    def answer() -> pa.Table:
        with view.opened(run_dir) as connection:
            wanted = columns or connection.table(view.NAME).columns
            return view.chosen(connection, wanted, where, limit=limit, offset=offset).to_arrow_table()

    return again_if_deleted(lambda: view.explained(where, answer))


def again_if_deleted(read_once: Callable[[], _T]) -> _T:
    """What `read_once` returns, tried again where a resumed run deleted a shard between its listing and its reading."""
    for _ in range(_TRIES):
        try:
            return read_once()
        except FileNotFoundError as error:
            gone = error
    raise gone


def rewind(run_dir: str | os.PathLike[str], step: int) -> None:
    """Forget what was sampled after `step` updates; -1: everything. No process may be writing to the run.

    Cut off, it leaves a store in which calling it again finishes the work.
    """
    folder = names.rollouts_of(run_dir)
    names.clean_temporaries(folder, older_than_seconds=0)
    # The policy after k updates samples the held-out rollouts of step k, and then those of training.
    for shard in names.listing(folder):
        if shard.step > (step if shard.kind == "eval" else step - 1):
            shard.path.unlink(missing_ok=True)


def _rewards(run_dir: str | os.PathLike[str]) -> set[str]:
    """The reward columns of all the run's shards."""
    with ThreadPoolExecutor(_THREADS) as pool:
        feet = pool.map(lambda shard: shard_files.footer(shard.path), shards(run_dir))
        return {name for foot in feet for name in foot.rewards}
