"""The files of a rollout store: their names, and which of them are litter.

A shard, `train-000012-0003.parquet`, holds one rank's rollouts of one step. It never changes: it is replaced whole, or
deleted.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path
from typing import Final, NamedTuple

from r1rl.store.schema import OLD_KIND

FOLDER: Final = "rollouts"
TEMPORARY_SECONDS: Final = 600
"""A temporary file is litter once nobody has written to it for so long."""

_NAME: Final = re.compile(rf"(train|eval|{OLD_KIND})-(\d{{6,}})-(\d{{4,}})\.parquet")
_TEMPORARY: Final = re.compile(r"\..*\.parquet\.[0-9a-f]{32}\.tmp")


class Shard(NamedTuple):
    """A whole shard and what its name says. Shards sort by step, kind and rank."""

    step: int
    kind: str
    rank: int
    path: Path


def rollouts_of(run_dir: str | os.PathLike[str]) -> Path:
    """A run's rollout folder. Raises ValueError where there is none."""
    root = Path(run_dir)
    if not root.is_dir():
        raise ValueError(f"run={str(root)!r}: no such run folder; runs are folders below runs/")
    if not (root / FOLDER).is_dir():
        raise ValueError(f"run={str(root)!r}: has no {FOLDER}/ folder; not a run, or nothing was sampled yet")
    return root / FOLDER


def shard_path(folder: Path, kind: str, step: int, rank: int) -> Path:
    """Where a shard goes."""
    return folder / f"{kind}-{step:06d}-{rank:04d}.parquet"


def listing(folder: Path) -> list[Shard]:
    """The whole shards, in order of step, kind and rank. A file with another name is none.

    Raises ValueError for a file that `r1rl compact`, which is gone, made of many shards: its rows would be missed.
    """
    found = []
    for name in os.listdir(folder):
        if "-to-" in name and name.endswith(".parquet") and not name.startswith("."):
            raise ValueError(f"{folder / name}: many shards in one file, which this version of r1rl does not read")
        if match := _NAME.fullmatch(name):
            kind = "eval" if match[1] == OLD_KIND else match[1]
            found.append(Shard(int(match[2]), kind, int(match[3]), folder / name))
    return sorted(found)


def clean_temporaries(folder: Path, *, older_than_seconds: float = TEMPORARY_SECONDS) -> None:
    """Delete the temporary files of killed writers: those to which nobody has written for so long."""
    now = time.time()
    for name in os.listdir(folder):
        if not _TEMPORARY.fullmatch(name):
            continue
        with contextlib.suppress(FileNotFoundError):
            if now - (folder / name).stat().st_mtime >= older_than_seconds:
                (folder / name).unlink()
