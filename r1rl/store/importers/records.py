"""The records in a file, one at a time, whoever wrote it: Parquet, JSON lines, a JSON file, an `.eval` archive.

Nothing in a file is ever executed: pickles and their like are refused by name. What is too long is refused, not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from r1rl.store.importers.formats import inspect_logs
from r1rl.store.importers.formats.base import Record

SUFFIXES: Final = (".parquet", ".jsonl", ".eval", ".json")
EXECUTABLE: Final = frozenset({".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib"})
LONGEST_LINE: Final = 64 * 2**20
LONGEST_JSON: Final = 256 * 2**20
_BATCH_ROWS: Final = 1024
_BATCH_BYTES: Final = 2**30


def records(file: Path) -> Iterator[tuple[str, Record]]:
    """Each record, and where it stands for error messages.

    Raises:
        ValueError: the file cannot be read, or a line of it; the message names it.
    """
    if file.suffix in EXECUTABLE:
        raise ValueError(
            f"{file}: a pickle or the like, which can run code as it is loaded, so it never is; "
            "give the tool's JSON or Parquet files"
        )
    if file.suffix == ".parquet":
        yield from _of_parquet(file)
    elif file.suffix == ".eval":
        yield from ((str(file), sample) for sample in inspect_logs.samples_in_zip(file))
    elif file.suffix == ".json":
        yield from ((str(file), record) for record in _of_json(file))
    else:
        yield from _of_lines(file)


def _of_parquet(file: Path) -> Iterator[tuple[str, Record]]:
    with _parquet(file) as parquet:
        number = 0
        for batch in parquet.iter_batches(_batch_rows(parquet.metadata)):
            for i in range(len(batch)):
                number += 1
                # One at a time: a long text that all rows share is stored once, and would be as many Python strings.
                yield f"{file}, row {number}", batch.slice(i, 1).to_pylist()[0]


def _batch_rows(metadata: pq.FileMetaData) -> int:
    """As many rows as fit into memory even if each were as long as all values of its column in a row group."""
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    sizes = [group.column(i).total_uncompressed_size for group in groups for i in range(group.num_columns)]
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, *sizes, 1)))


@contextmanager
def _parquet(file: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(file) as parquet:
            yield parquet
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file}: not a whole Parquet file ({error})") from error


def _of_lines(file: Path) -> Iterator[tuple[str, Record]]:
    with file.open("rb") as lines:
        number = 0
        while line := lines.readline(LONGEST_LINE + 1):
            number += 1
            where = f"{file}, line {number}"
            if len(line) > LONGEST_LINE:
                raise ValueError(f"{where}: longer than {LONGEST_LINE:,} bytes; not read")
            if not line.strip():
                continue
            row = _value(line, where)
            if not isinstance(row, dict):
                raise ValueError(f"{where}: need a JSON object, as {{'completion': …}}")
            yield where, row


def _of_json(file: Path) -> Iterator[Record]:
    """The samples of Inspect's log, the rows of W&B's table, or the objects of a list."""
    if (size := file.stat().st_size) > LONGEST_JSON:
        raise ValueError(f"{file}: {size:,} bytes in one piece, more than {LONGEST_JSON:,}; give it as .eval or .jsonl")
    value = _value(file.read_bytes(), str(file))
    if inspect_logs.is_log(value):
        yield from inspect_logs.samples_in_json(value)
    elif isinstance(value, dict) and isinstance(value.get("columns"), list) and isinstance(value.get("data"), list):
        for row in value["data"]:
            if not isinstance(row, list) or len(row) != len(value["columns"]):
                raise ValueError(f"{file}: a row that does not have the table's {len(value['columns'])} columns")
            yield dict(zip(map(str, value["columns"]), row, strict=True))
    elif isinstance(value, list) and all(isinstance(row, dict) for row in value):
        yield from value
    else:
        raise ValueError(f"{file}: need a list of JSON objects, or a log of Inspect")


def _value(text: bytes, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not JSON ({error})") from error
