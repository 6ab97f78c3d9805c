"""The files of a rollout store: their names, and how one comes and goes whole.

A shard, `train-000012-0003.parquet`, holds one rank's rollouts of one step. It never changes: it is replaced whole, or
deleted.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final, NamedTuple

from r1rl.store.schema import OLD_KIND

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FOLDER: Final = "rollouts"
TEMPORARY_SECONDS: Final = 600
"""A temporary file is litter once nobody has written to it for so long and no process holds it."""

_NAME: Final = re.compile(rf"(train|eval|{OLD_KIND})-(\d{{6,}})-(\d{{4,}})\.parquet")
_MERGED: Final = re.compile(r"\w+-\d+-to-\d+-\d+\.parquet")
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

    Raises ValueError for one that `r1rl compact`, which is gone, has made of many.
    """
    found = []
    for name in os.listdir(folder):
        if _MERGED.fullmatch(name):
            raise ValueError(f"{folder / name}: many shards in one, as r1rl compact made them; this version reads none")
        if match := _NAME.fullmatch(name):
            kind = "eval" if match[1] == OLD_KIND else match[1]
            found.append(Shard(int(match[2]), kind, int(match[3]), folder / name))
    return sorted(found)


@contextlib.contextmanager
def temporary_file(path: Path) -> Iterator[IO[bytes]]:
    """An open file beside `path` to write what `path` shall hold; unless renamed, it is deleted at the end."""
    # Unique, so that a writer thought dead and its replacement cannot write into one file.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            _try_lock(file)  # says that its writer is alive
            yield file
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def clean_temporaries(folder: Path, *, older_than_seconds: float = TEMPORARY_SECONDS) -> None:
    """Delete the temporary files of killed writers: those no process holds."""
    now = time.time()
    for name in os.listdir(folder):
        if not _TEMPORARY.fullmatch(name):
            continue
        with contextlib.suppress(OSError), open(folder / name, "rb") as file:
            if now - os.fstat(file.fileno()).st_mtime >= older_than_seconds and _try_lock(file):
                os.unlink(folder / name)


def remove(unwanted: Iterable[Shard]) -> None:
    """Delete shards, whether or not someone else does so as well."""
    for shard in unwanted:
        with contextlib.suppress(FileNotFoundError):
            shard.path.unlink()


def sync_folder(folder: Path) -> None:
    """Make the folder's names durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _try_lock(file: IO[bytes]) -> bool:
    """Whether this process got the file for itself; a file system without locks gives it to everyone."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
