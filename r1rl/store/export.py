"""A run's rollouts, or those a condition holds for, as one flat file that other tools read."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from r1rl.ground import whole_files
from r1rl.store import store, view

SUFFIXES: Final = (".jsonl", ".parquet")
_LISTS: Final = ("token_ids", "logprobs")
_BATCH_ROWS: Final = 2048


def export(
    run_dir: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    where: str = "true",
    columns: Sequence[str] | None = None,
    limit: int | None = None,
    overwrite: bool = False,
) -> int:
    """Write the rollouts for which an SQL condition holds, in the store's order; returns how many.

    The file is there once it is whole. `target` ends in .jsonl or .parquet. `columns` are all but the lists
    `token_ids` and `logprobs` unless named. The condition sees the columns of one rollout and no file; infinities are
    null in JSON, which has none.

    Raises:
        ValueError: an unknown run, column or suffix, a condition that DuckDB does not take, or a taken name.
    """
    path = Path(target)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"to={str(path)!r}: need a name that ends in {' or '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise ValueError(f"to={str(path)!r}: no folder {path.parent}")
    if path.exists() and not overwrite:
        raise ValueError(f"to={str(path)!r}: exists; give another name, or --overwrite")
    if limit is not None and limit < 1:
        raise ValueError(f"limit={limit}: need >= 1")
    write = _write_jsonl if path.suffix == ".jsonl" else _write_parquet

    def once() -> int:
        with view.opened(run_dir) as connection, whole_files.replacing(path) as temporary:
            flat = [name for name in connection.table(view.NAME).columns if name not in _LISTS]
            selection = view.chosen(connection, columns or flat, where, limit=limit)
            return write(temporary, view.batches(selection, _BATCH_ROWS))

    return store.again_if_deleted(lambda: view.explained(where, once))


def _write_parquet(path: Path, reader: pa.RecordBatchReader) -> int:
    rows = 0
    with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
        for batch in reader:
            if len(batch):  # else an empty row group
                writer.write_batch(batch)
            rows += len(batch)
    return rows


def _write_jsonl(path: Path, reader: pa.RecordBatchReader) -> int:
    rows = 0
    with path.open("x", encoding="utf-8") as stream:
        for batch in reader:
            found = batch.to_pylist()
            stream.writelines(json.dumps(whole_files.finite(row), ensure_ascii=False) + "\n" for row in found)
            rows += len(batch)
    return rows
