"""One shard's Parquet file: how it is laid out, and reading it in the current schema."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from r1rl.store import schema as rollout_schema
from r1rl.store.schema import REWARD_PREFIX, SCHEMA, SCHEMA_VERSION

ROW_GROUP_ROWS: Final = 2048
ROW_GROUP_BYTES: Final = 128 * 2**20
"""A row group ends at whichever comes first: small enough to fetch a few rollouts of one fast (its tokens are decoded
whole), large enough to scan fast."""

# Statistics of long texts and of tokens would only make footers long: no query is narrowed by them.
_WITHOUT_STATISTICS: Final = frozenset({"prompt", "prefill", "completion", "token_ids", "logprobs", "gold", "meta"})
_HARDLY_REPEATING: Final = frozenset({"completion", "logprobs"})


class Footer(NamedTuple):
    """What a reader must know of a shard before its rows: `rewards` are its reward columns' names."""

    version: int
    columns: tuple[str, ...]
    rewards: tuple[str, ...]


class Identity(NamedTuple):
    """Tells a file from another one that has taken its name."""

    inode: int
    size: int
    modified_ns: int


def identity(status: os.stat_result) -> Identity:
    """The identity in a file's status."""
    return Identity(status.st_ino, status.st_size, status.st_mtime_ns)


def write(table: pa.Table | Iterable[pa.Table], file: IO[bytes], schema: pa.Schema, *, durable: bool = True) -> None:
    """Write rows and, where they must be `durable`, sync the file.

    Tables come in order of step and rank and are cut into row groups.
    """
    leaf = {
        field.name: f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name for field in schema
    }
    tables = [table] if isinstance(table, pa.Table) else table
    with pq.ParquetWriter(
        file,
        schema,
        # A search through all texts is bound by unpacking them.
        compression={path: "lz4" if name == "completion" else "zstd" for name, path in leaf.items()},
        use_dictionary=[path for name, path in leaf.items() if name not in _HARDLY_REPEATING],
        # Split by bytes, the exponents of log-probabilities compress.
        use_byte_stream_split=[leaf["logprobs"]],
        write_statistics=[path for name, path in leaf.items() if name not in _WITHOUT_STATISTICS],
    ) as writer:
        for group in _row_groups(tables):
            writer.write_table(group, row_group_size=max(1, len(group)))
    file.flush()
    if durable:
        os.fsync(file.fileno())


def _row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    waiting: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        while rows + len(table) > ROW_GROUP_ROWS:
            part = table.slice(0, ROW_GROUP_ROWS - rows)
            yield pa.concat_tables([*waiting, part])
            table = table.slice(len(part))
            waiting, rows, size = [], 0, 0
        waiting.append(table)
        rows, size = rows + len(table), size + table.nbytes
        if size > ROW_GROUP_BYTES:
            yield pa.concat_tables(waiting)
            waiting, rows, size = [], 0, 0
    if rows:
        yield pa.concat_tables(waiting)


def footer(path: Path) -> Footer:
    """A shard's footer.

    Raises:
        ValueError: the file is no shard of a version that this r1rl reads.
        FileNotFoundError: it is gone.
    """
    return _footer(path, pq.read_schema(path))


def _footer(path: Path, found: pa.Schema) -> Footer:
    version = rollout_schema.version(found)
    if not 1 <= version <= SCHEMA_VERSION:
        raise ValueError(f"schema_version={version} in {path}: this r1rl reads 1 to {SCHEMA_VERSION}; upgrade r1rl")
    names = tuple(found.names)
    return Footer(version, names, tuple(name for name in names if name.startswith(REWARD_PREFIX)))


def read(
    path: Path, *, columns: Sequence[str] | None = None, steps: Collection[int] | None = None
) -> tuple[Footer, pa.Table]:
    """The footer and the rows of some steps, with those of `columns` that the shard has (None: all it has).

    The file is opened once, so a shard that is replaced meanwhile is read whole, as it was. Raises as `footer`.
    """
    with pq.ParquetFile(path) as file:
        foot = _footer(path, file.schema_arrow)
        names = list(foot.columns) if columns is None else [name for name in columns if name in foot.columns]
        if columns is not None and "verifier" in columns and "verifier" not in foot.columns:
            names.append("task")
        if steps is None:
            return foot, file.read(_unique(names))
        wanted = sorted(steps)
        groups = [i for i in range(file.num_row_groups) if _may_hold(file.metadata.row_group(i), wanted)]
        table = file.read_row_groups(groups, _unique([*names, "step"]))
        return foot, table.filter(pc.is_in(table.column("step"), value_set=pa.array(wanted, pa.int64())))


def take(path: Path, rows: Sequence[int], schema: pa.Schema) -> pa.Table:
    """Some rows of a shard by their ascending numbers in it, as rows of `schema`. Raises as `footer`."""
    with pq.ParquetFile(path) as file:
        foot = _footer(path, file.schema_arrow)
        names = _unique([*(name for name in schema.names if name in foot.columns), "task"])
        taken: list[pa.Table] = []
        start = at = 0
        for i in range(file.num_row_groups):
            end = start + file.metadata.row_group(i).num_rows
            wanted = []
            while at < len(rows) and rows[at] < end:
                wanted.append(rows[at] - start)
                at += 1
            if wanted:
                taken.append(rollout_schema.current(file.read_row_group(i, names).take(wanted), schema))
            start = end
        return pa.concat_tables(taken)


def pieces(file: pq.ParquetFile, schema: pa.Schema) -> Iterator[pa.Table]:
    """An open shard's rows a row group at a time, as rows of the current version."""
    for i in range(file.num_row_groups):
        yield rollout_schema.current(file.read_row_group(i), schema)


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _may_hold(group: Any, wanted: Sequence[int]) -> bool:
    for i in range(group.num_columns):
        column = group.column(i)
        if column.path_in_schema == "step":
            found = column.statistics
            if found is None or not found.has_min_max:
                return True
            return any(found.min <= step <= found.max for step in wanted)
    return True


def stored_schema(rewards: Iterable[str], columns: Sequence[str] | None = None) -> pa.Schema:
    """The current schema with the run's reward columns, or `columns` of it in that order."""
    schema = rollout_schema.stored(rewards)
    if columns is None:
        return schema
    return pa.schema([schema.field(name) for name in columns], metadata=SCHEMA.metadata)
