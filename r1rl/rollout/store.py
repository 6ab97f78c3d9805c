"""Rollouts on disk: RUN/rollouts/<kind>-<step>-<rank>.parquet, one whole shard or none.

A shard is written under a temporary name, fsynced and renamed, so a reader, or a run killed at any moment, never
sees half of one. Writing the same (kind, step, rank) again replaces the shard: that is how a resumed run repeats a
step without doubling its rows.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from r1rl.rollout import schema as rollout_schema
from r1rl.rollout.schema import KINDS, REWARD_PREFIX, SCHEMA, SCHEMA_VERSION

FOLDER: Final = "rollouts"
_SHARD_NAME: Final = re.compile(r"(train|probe|eval)-(\d{6,})-(\d{4,})\.parquet")


class Shard(NamedTuple):
    """A whole shard and what its name says."""

    step: int
    kind: str
    rank: int
    path: Path


def write_shard(
    run_dir: str | os.PathLike[str], rows: Sequence[dict[str, Any]], *, kind: str, step: int, rank: int
) -> Path:
    """Write one rank's rollouts of one step durably; returns the shard's path.

    `kind`, `step` and `rank` are filled in where a row leaves them out. Columns beyond the schema must be called
    reward_<name>. Raises ValueError if a row contradicts the shard's key or does not fit the schema; then nothing
    is written and an older shard of that key stays.
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
    table = rollout_schema.table([{**row, **key} for row in rows])

    folder = Path(run_dir) / FOLDER
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        _sync_folder(folder.parent)
    path = folder / f"{kind}-{step:06d}-{rank:04d}.parquet"
    # Unique, so that a writer thought dead and its replacement cannot write into one file.
    temporary = folder / f".{path.name}.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "xb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
    _sync_folder(folder)
    return path


def shards(
    run_dir: str | os.PathLike[str], *, kind: str | None = None, steps: Collection[int] | None = None
) -> list[Shard]:
    """The run's whole shards in order of step, kind, rank. Raises ValueError where there is no rollout folder."""
    if kind is not None and kind not in KINDS:
        raise ValueError(f"kind={kind!r}: need one of {', '.join(KINDS)}")
    root = Path(run_dir)
    if not root.is_dir():
        raise ValueError(f"run={str(root)!r}: no such run folder; runs are folders below runs/")
    if not (root / FOLDER).is_dir():
        raise ValueError(f"run={str(root)!r}: has no {FOLDER}/ folder; not a run, or nothing was sampled yet")
    wanted = None if steps is None else set(steps)
    found = []
    for path in (root / FOLDER).iterdir():
        if (match := _SHARD_NAME.fullmatch(path.name)) is None:
            continue
        shard = Shard(int(match[2]), match[1], int(match[3]), path)
        if kind in (None, shard.kind) and (wanted is None or shard.step in wanted):
            found.append(shard)
    return sorted(found)


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
    dataset = _dataset(run_dir, kind=kind, steps=steps)
    if unknown := [name for name in columns or () if name not in dataset.schema.names]:
        raise ValueError(f"column={unknown[0]}: not in this run; it has {', '.join(dataset.schema.names)}")
    return dataset.to_table(columns=None if columns is None else list(columns))


def query(run_dir: str | os.PathLike[str], sql: str) -> pa.Table:
    """Answer to a DuckDB query over the view `rollouts` (all kinds and steps of the run).

    Only that view can be read: no other file, no network. Raises ValueError for an unknown run or an SQL error.
    """
    dataset = _dataset(run_dir)
    with duckdb.connect(config={"python_enable_replacements": "false"}) as connection:
        connection.register(FOLDER, dataset)
        connection.execute("SET enable_external_access = false")
        try:
            relation = connection.sql(sql)
            if relation is None:
                raise ValueError(f"sql={sql!r}: gives no rows; try SELECT … FROM {FOLDER}")
            return relation.to_arrow_table()
        except duckdb.Error as error:
            raise ValueError(f"sql={sql!r}: {error}") from error


def _dataset(
    run_dir: str | os.PathLike[str], *, kind: str | None = None, steps: Collection[int] | None = None
) -> ds.Dataset:
    # The schema covers every shard of the run, so a selection has the same columns whatever it selects.
    rewards: set[str] = set()
    for shard in shards(run_dir):
        found = pq.read_schema(shard.path)
        written = rollout_schema.version(found)
        if not 1 <= written <= SCHEMA_VERSION:
            raise ValueError(
                f"schema_version={written} in {shard.path}: this r1rl reads 1 to {SCHEMA_VERSION}; upgrade r1rl"
            )
        rewards.update(name for name in found.names if name.startswith(REWARD_PREFIX))
    selected = [str(shard.path) for shard in shards(run_dir, kind=kind, steps=steps)]
    schema = rollout_schema.with_rewards(rewards)
    # A column that a later schema adds is null in older shards, whatever SCHEMA says of new rows.
    schema = pa.schema([field.with_nullable(True) for field in schema], metadata=SCHEMA.metadata)
    if not selected:
        return ds.dataset(schema.empty_table())
    return ds.dataset(selected, schema=schema, format="parquet")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
