"""Shards as schema version 2 wrote them: sampled held-out rollouts are of the kind `probe`, greedy ones of `eval`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from r1rl.store import schema


def write_old_shard(run: Path, rows: Sequence[dict[str, Any]], *, kind: str, step: int, rank: int = 0) -> Path:
    """A shard of version 2."""
    table = schema.table([{"step": step, **row, "kind": "eval", "rank": rank} for row in rows])
    table = table.set_column(table.column_names.index("kind"), "kind", pa.array([kind] * len(rows)))
    path = run / "rollouts" / f"{kind}-{step:06d}-{rank:04d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({schema.VERSION_KEY: b"2"}), path)
    return path
