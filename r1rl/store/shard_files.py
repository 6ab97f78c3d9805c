"""One shard's Parquet file: how it is laid out, and reading it in the current schema."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from r1rl.store import schema as rollout_schema
from r1rl.store.schema import REWARD_PREFIX, SCHEMA_VERSION

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


def write(table: pa.Table, path: Path) -> None:
    """Write rows, cut into row groups."""
    leaf = {
        field.name: f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name
        for field in table.schema
    }
    pq.write_table(
        table,
        path,
        row_group_size=max(1, min(ROW_GROUP_ROWS, ROW_GROUP_BYTES * len(table) // max(1, table.nbytes))),
        # A search through all texts is bound by unpacking them.
        compression={path: "lz4" if name == "completion" else "zstd" for name, path in leaf.items()},
        use_dictionary=[path for name, path in leaf.items() if name not in _HARDLY_REPEATING],
        # Split by bytes, the exponents of log-probabilities compress.
        use_byte_stream_split=[leaf["logprobs"]],
        write_statistics=[path for name, path in leaf.items() if name not in _WITHOUT_STATISTICS],
    )


def footer(path: Path) -> Footer:
    """A shard's footer; it is remembered while the file stays the same.

    Raises:
        ValueError: the file is no shard of a version that this r1rl reads.
        FileNotFoundError: it is gone.
    """
    status = path.stat()
    return _remembered(path, status.st_ino, status.st_size, status.st_mtime_ns)


# Parsing the footers of 20,000 shards takes 5 s of a core.
@functools.lru_cache(maxsize=1 << 18)
def _remembered(path: Path, *_identity: int) -> Footer:
    return _footer(path, pq.read_schema(path))


def _footer(path: Path, found: pa.Schema) -> Footer:
    version = rollout_schema.version(found)
    if not 1 <= version <= SCHEMA_VERSION:
        raise ValueError(f"schema_version={version} in {path}: this r1rl reads 1 to {SCHEMA_VERSION}; upgrade r1rl")
    return Footer(version, tuple(found.names), tuple(n for n in found.names if n.startswith(REWARD_PREFIX)))


def read(path: Path, *, columns: Sequence[str] | None = None) -> pa.Table:
    """The rows, with those of `columns` that the shard has (None: all it has).

    The file is opened once, so a shard that is replaced meanwhile is read whole, as it was. Raises as `footer`.
    """
    with pq.ParquetFile(path) as file:
        foot = _footer(path, file.schema_arrow)
        names = [name for name in foot.columns if columns is None or name in columns]
        if "verifier" in (columns or ()) and "verifier" not in foot.columns and "task" not in names:
            names.append("task")
        return file.read(names)
