"""Merging many small shards into few: whole steps, safe beside writers and readers, and against a kill at any moment.

A step is finished once a shard of a later step is there (at every update all processes wait for one another, and each
has written its shard before) or once `result.json` says that the run is. Only finished steps are merged. Rows that
are written all the same for a step merged before go into the merged shard.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tqdm import tqdm

from r1rl.store import schema as rollout_schema
from r1rl.store import shard_files, shards
from r1rl.store.schema import SCHEMA_VERSION
from r1rl.store.shards import Shard

TARGET_BYTES: Final = 256 * 2**20
"""Size at which a merged shard is full. Rewinding into one, or writing into it again, rewrites that much."""


@dataclass(frozen=True)
class Group:
    """Shards of one series, of neighbouring steps, to be merged into one."""

    parts: tuple[Shard, ...]

    @property
    def series(self) -> str:
        """Their series."""
        return self.parts[0].series

    @property
    def range(self) -> tuple[int, int]:
        """First and last step."""
        return self.parts[0].step, max(part.last_step for part in self.parts)


@dataclass(frozen=True)
class Compacted:
    """Files before and after; `skipped` groups were changed by somebody meanwhile and stay as they are."""

    before: int
    after: int
    skipped: int


def compact(run_dir: str | os.PathLike[str], *, target_bytes: int = TARGET_BYTES, progress: bool = False) -> Compacted:
    """Merge the run's finished steps, and bring all its shards to the current schema version.

    Works beside writers and readers; cut off at any moment, it leaves a whole store, and the next call goes on.

    Raises:
        ValueError: `run_dir` holds no rollouts, or a shard is of a newer version.
        OSError: the file system has no locks.
    """
    folder = shards.rollouts_of(run_dir)
    shards.clean_temporaries(folder)
    shards.clean_merged(folder)
    before = shards.listing(folder)[0]
    footers = {}
    for shard in before:
        with contextlib.suppress(FileNotFoundError):
            footers[shard] = shard_files.footer(shard.path)
    schema = rollout_schema.stored(name for foot in footers.values() for name in foot.rewards)
    old = {shard for shard, foot in footers.items() if foot.version < SCHEMA_VERSION}
    skipped = 0
    groups = plan([shard for shard in before if shard in footers], is_over(run_dir), target_bytes, old)
    total = sum(len(group.parts) for group in groups)
    with tqdm(total=total, desc="merging", unit="shard", disable=not progress) as bar:
        for group in groups:
            skipped += not merge(folder, group, schema)
            bar.update(len(group.parts))
    # What is left in an older version: shards of an unfinished step.
    for shard in shards.listing(folder)[0]:
        if shard in old:
            _rewrite(shard, schema)
    return Compacted(len(before), len(shards.listing(folder)[0]), skipped)


def is_over(run_dir: str | os.PathLike[str]) -> bool:
    """Whether result.json says that the run has made its steps."""
    try:
        result = json.loads((Path(run_dir) / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(result, dict) and result.get("finished") is True


def plan(found: Iterable[Shard], over: bool, target_bytes: int, old: Iterable[Shard] = ()) -> list[Group]:
    """Which shards to merge: neighbours of one series, whole finished steps, up to about `target_bytes` together.

    A shard of its own is left alone, unless it is a merged one among `old`: those of an older schema version.
    """
    found, outdated = sorted(found), set(old)
    newest = max((shard.last_step for shard in found), default=0)
    groups: list[Group] = []
    for series in sorted({shard.series for shard in found}):
        parts: list[Shard] = []
        size = 0
        for shard in (s for s in found if s.series == series and (over or s.last_step < newest)):
            try:
                bytes_more = shard.path.stat().st_size
            except FileNotFoundError:
                bytes_more = 0
            # Shards of one step stay together.
            if parts and size + bytes_more > target_bytes and shard.step > parts[-1].last_step:
                groups.append(Group(tuple(parts)))
                parts, size = [], 0
            parts.append(shard)
            size += bytes_more
        if parts:
            groups.append(Group(tuple(parts)))
    return [g for g in groups if len(g.parts) > 1 or (g.parts[0].merged and g.parts[0] in outdated)]


def merge(folder: Path, group: Group, schema: pa.Schema) -> bool:
    """Put one merged shard in the place of a group's; False where one of them was changed or deleted meanwhile."""
    first, last = group.range
    generation = 1 + max((p.generation for p in group.parts if (p.step, p.last_step) == (first, last)), default=0)
    target = shards.merged_path(folder, group.series, first, last, generation)
    seen: dict[Shard, shard_files.Identity] = {}
    try:
        with shards.temporary_file(target) as file:
            shard_files.write(_rows(group.parts, schema, seen), file, schema)
            with shards.lock(folder, alone=True):
                counting = shards.listing(folder)[0]
                now = {s for s in counting if s.series == group.series and first <= s.step and s.last_step <= last}
                if now != set(group.parts) or any(
                    shard_files.identity(shard.path.stat()) != seen[shard] for shard in now
                ):
                    return False
                os.replace(file.name, target)
                # The new name must be on disk before the parts' names are gone from there.
                shards.sync_folder(folder)
    except FileNotFoundError:
        return False
    with shards.lock(folder, alone=False):
        # Unless a rewind came between: then a part's name may already be a new shard's.
        if target.exists():
            shards.remove(group.parts)
    return True


def _rows(parts: Iterable[Shard], schema: pa.Schema, seen: dict[Shard, shard_files.Identity]) -> Iterator[pa.Table]:
    for shard in parts:
        with open(shard.path, "rb") as file, pq.ParquetFile(file) as parquet:
            seen[shard] = shard_files.identity(os.fstat(file.fileno()))
            yield from shard_files.pieces(parquet, schema)


def _rewrite(shard: Shard, schema: pa.Schema) -> None:
    """A loose shard in the current version, unless it has changed meanwhile."""
    seen: dict[Shard, shard_files.Identity] = {}
    with contextlib.suppress(FileNotFoundError), shards.temporary_file(shard.path) as file:
        shard_files.write(_rows([shard], schema, seen), file, schema)
        with shards.lock(shard.path.parent, alone=True):
            if shard_files.identity(shard.path.stat()) == seen[shard]:
                os.replace(file.name, shard.path)
    shards.sync_folder(shard.path.parent)


def put_into(folder: Path, shard: Shard, table: pa.Table, *, step: int, rank: int) -> Path:
    """A merged shard with one rank's rows of one step replaced by `table`'s. Call it under the lock, alone."""
    with pq.ParquetFile(shard.path) as parquet:
        kept = [name for name in parquet.schema_arrow.names if name.startswith(rollout_schema.REWARD_PREFIX)]
        new = [name for name in table.column_names if name.startswith(rollout_schema.REWARD_PREFIX)]
        schema = rollout_schema.stored([*kept, *new])
        waiting = [rollout_schema.current(table, schema)]

        def rows() -> Iterator[pa.Table]:
            for piece in shard_files.pieces(parquet, schema):
                steps, ranks = piece.column("step"), piece.column("rank")
                earlier = pc.or_(pc.less(steps, step), pc.and_(pc.equal(steps, step), pc.less(ranks, rank)))
                same = pc.and_(pc.equal(steps, step), pc.equal(ranks, rank))
                yield piece.filter(earlier)
                if not pc.all(earlier, min_count=0).as_py():
                    yield from waiting
                    waiting.clear()
                yield piece.filter(pc.invert(pc.or_(earlier, same)))
            yield from waiting

        target = shards.merged_path(folder, shard.series, shard.step, shard.last_step, shard.generation + 1)
        return _replace(folder, target, rows(), schema, shard)


def cut(folder: Path, shard: Shard, last: int) -> None:
    """A merged shard without its steps after `last`. Call it under the lock, alone, and with no litter around."""
    with pq.ParquetFile(shard.path) as parquet:
        schema = rollout_schema.stored(
            name for name in parquet.schema_arrow.names if name.startswith(rollout_schema.REWARD_PREFIX)
        )
        kept = (
            piece.filter(pc.less_equal(piece.column("step"), last)) for piece in shard_files.pieces(parquet, schema)
        )
        # The longer range counts until it is deleted: that is when the steps after `last` are gone.
        _replace(folder, shards.merged_path(folder, shard.series, shard.step, last, 1), kept, schema, shard)


def _replace(folder: Path, target: Path, tables: Iterable[pa.Table], schema: pa.Schema, old: Shard) -> Path:
    with shards.temporary_file(target) as file:
        shard_files.write(tables, file, schema)
        os.replace(file.name, target)
    shards.sync_folder(folder)
    shards.remove([old])
    shards.sync_folder(folder)
    return target
