"""The view `rollouts` of a run for DuckDB: every shard, in the current schema, and nothing else to read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import duckdb
import pyarrow as pa

from r1rl.store import schema as rollout_schema
from r1rl.store import shard_files, shards
from r1rl.store.schema import KIND_SQL, OLD_KIND
from r1rl.verify import VERIFIER_OF_TASK

NAME: Final = "rollouts"
_THREADS: Final = 8
_SQL_TYPES: Final = {
    pa.string(): "VARCHAR",
    pa.int64(): "BIGINT",
    pa.int32(): "INTEGER",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.list_(pa.int32()): "INTEGER[]",
    pa.list_(pa.float32()): "FLOAT[]",
}
_T = TypeVar("_T")


@contextlib.contextmanager
def opened(run_dir: str | os.PathLike[str]) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that sees the view and can open no other file. DuckDB reads the shards itself.

    Raises:
        ValueError: no such run, or a shard of a newer version.
        FileNotFoundError: a resumed run deleted a shard before or while the connection was used; try again.
    """
    # Absolute, as DuckDB compares names with what is allowed.
    found = [shard.path.absolute() for shard in shards.listing(shards.rollouts_of(run_dir))]
    with ThreadPoolExecutor(_THREADS) as pool:
        feet = list(pool.map(shard_files.footer, found))
    with duckdb.connect(config={"python_enable_replacements": "false"}) as connection:
        if found:
            connection.execute("SET allowed_paths = ?", [[str(path) for path in found]])
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        try:
            connection.execute(f"CREATE VIEW {NAME} AS {definition(found, feet)}")
            yield connection
        except duckdb.Error as error:
            # How DuckDB says that a file is gone depends on when it notices.
            if gone := [path.name for path in found if not path.exists()]:
                raise FileNotFoundError(f"{gone[0]}: deleted while it was to be read") from error
            raise


def select(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.DuckDBPyRelation:
    """The answer to one SELECT, not yet read. Anything else is refused: it could write to the run's own files."""
    statements = connection.extract_statements(sql)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise ValueError(f"sql={sql!r}: need one query that gives rows; try SELECT … FROM {NAME}")
    relation = connection.sql(sql)
    if relation is None:
        raise ValueError(f"sql={sql!r}: gives no rows; try SELECT … FROM {NAME}")
    return relation


def chosen(
    connection: duckdb.DuckDBPyConnection,
    columns: Sequence[str],
    where: str,
    *,
    limit: int | None = None,
    offset: int = 0,
) -> duckdb.DuckDBPyRelation:
    """Some columns of the rollouts that a condition holds for, in the store's order, not yet read."""
    rollout_schema.check_columns(columns, connection.table(NAME).columns)
    if not where.strip():
        raise ValueError("where='': need an SQL condition; try \"verdict = 'correct'\"")
    few = "" if limit is None else f"LIMIT {limit} OFFSET {offset}"
    # The line feed ends a comment that the condition may end with.
    return select(connection, f"FROM (SELECT {', '.join(map(_quoted, columns))} FROM {NAME} WHERE ({where}\n) {few})")


def batches(relation: duckdb.DuckDBPyRelation, rows: int) -> pa.RecordBatchReader:
    """An answer, read as it is computed."""
    # The first is what DuckDB before 1.5 lacks and later ones want.
    reader = getattr(relation, "to_arrow_reader", None) or relation.fetch_record_batch
    return reader(rows)


def explained(sql: str, work: Callable[[], _T]) -> _T:
    """What `work` returns, with DuckDB's errors as a ValueError that names the query."""
    try:
        return work()
    except duckdb.Error as error:
        raise ValueError(f"sql={sql!r}: {error}") from error


def definition(found: Sequence[Path], feet: Sequence[shard_files.Footer], *, places: bool = False) -> str:
    """A SELECT of the rows of some shards in the current schema: missing columns null, `verifier` derived.

    With `places` two more columns say where a row lies: `filename` and, counted from 0, `file_row_number`.
    """
    present = {name for foot in feet for name in foot.columns}
    schema = rollout_schema.stored(name for foot in feet for name in foot.rewards)
    known = " ".join(f"WHEN '{task}' THEN '{verifier}'" for task, verifier in VERIFIER_OF_TASK.items())
    columns = []
    for field in schema:
        name = _quoted(field.name)
        column = name if field.name in present else f"CAST(NULL AS {_SQL_TYPES[field.type]}) AS {name}"
        if field.name == "verifier" and any(field.name not in foot.columns for foot in feet):
            stored = name if field.name in present else "NULL"
            column = f"coalesce({stored}, CASE task {known} END) AS {name}"
        if field.name == "kind" and any(path.name.startswith(OLD_KIND) for path in found):
            column = KIND_SQL
        columns.append(column)
    options = f"union_by_name = {len({foot.columns for foot in feet}) > 1}"
    if places:
        columns += ["filename", "file_row_number"]
        options += ", filename = true, file_row_number = true"
    source = f"FROM read_parquet({listed(found)}, {options})" if found else "WHERE false"
    return f"SELECT {', '.join(columns)} {source}"


def listed(paths: Sequence[Path]) -> str:
    """File names as a list in SQL."""
    return "[" + ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths) + "]"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
