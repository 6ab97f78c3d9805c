"""The files of a rollout store: their names, which of them count, and how one comes and goes whole.

A *loose* shard, `train-000012-0003.parquet`, holds one rank's rollouts of one step. A *merged* shard,
`train-000000-to-000099-1.parquet`, holds everything of its kind in a range of steps and takes the place of every
loose shard and every smaller or older merged shard of that range: whatever of those is still there is litter. So one
rename makes a merge true, and deleting what it merged can be cut off anywhere. A merged shard's content never changes;
a change of its range gets a new name, with the last number one higher.
"""

from __future__ import annotations

import contextlib
import errno
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
except ImportError:  # Windows: a store can be read and written there, but not compacted
    fcntl = None  # type: ignore[assignment]

FOLDER: Final = "rollouts"
LOCK_NAME: Final = ".rollouts.lock"
TEMPORARY_SECONDS: Final = 600
"""A temporary file is litter once nobody has written to it for so long and no process holds it."""

_LOOSE: Final = re.compile(r"(train|eval|probe)-(\d{6,})-(\d{4,})\.parquet")
_MERGED: Final = re.compile(r"(train|eval|probe)-(\d{6,})-to-(\d{6,})-(\d+)\.parquet")
_TEMPORARY: Final = re.compile(r"\..*\.parquet\.[0-9a-f]{32}\.tmp")
_NO_LOCKS: Final = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


class Shard(NamedTuple):
    """A whole shard and what its name says; a merged one holds the steps `step` to `last_step` of every rank."""

    step: int
    kind: str
    rank: int  # -1: merged, every rank
    path: Path
    last_step: int
    generation: int = 0  # 0: loose

    @property
    def series(self) -> str:
        """The first word of its name, its kind; "probe" where an older run sampled held-out prompts.

        Such a run has two series of the kind `eval`, and a shard of one never takes the place of one of the other.
        """
        return self.path.name.partition("-")[0]

    @property
    def merged(self) -> bool:
        """Whether it holds a range of steps."""
        return self.generation > 0

    def covers(self, series: str, first: int, last: int) -> bool:
        """Whether it is merged and holds everything of `series` from step `first` to `last`."""
        return self.merged and self.series == series and self.step <= first and last <= self.last_step

    def replaces(self, other: Shard) -> bool:
        """Whether `other` is litter because this shard is there."""
        if not self.covers(other.series, other.step, other.last_step):
            return False
        return (self.step, self.last_step) != (other.step, other.last_step) or self.generation > other.generation


def rollouts_of(run_dir: str | os.PathLike[str]) -> Path:
    """A run's rollout folder. Raises ValueError where there is none."""
    root = Path(run_dir)
    if not root.is_dir():
        raise ValueError(f"run={str(root)!r}: no such run folder; runs are folders below runs/")
    if not (root / FOLDER).is_dir():
        raise ValueError(f"run={str(root)!r}: has no {FOLDER}/ folder; not a run, or nothing was sampled yet")
    return root / FOLDER


def loose_path(folder: Path, kind: str, step: int, rank: int) -> Path:
    """Where a loose shard goes."""
    return folder / f"{kind}-{step:06d}-{rank:04d}.parquet"


def merged_path(folder: Path, kind: str, first: int, last: int, generation: int) -> Path:
    """Where a merged shard goes."""
    return folder / f"{kind}-{first:06d}-to-{last:06d}-{generation}.parquet"


def parse(path: Path) -> Shard | None:
    """What a file's name says; None where it is no shard's."""
    if match := _LOOSE.fullmatch(path.name):
        return Shard(int(match[2]), _kind(match[1]), int(match[3]), path, int(match[2]))
    if (match := _MERGED.fullmatch(path.name)) and int(match[4]) > 0:
        return Shard(int(match[2]), _kind(match[1]), -1, path, int(match[3]), int(match[4]))
    return None


def _kind(series: str) -> str:
    return "eval" if series == OLD_KIND else series


def listing(folder: Path) -> tuple[list[Shard], list[Shard]]:
    """The shards that count, in order of step, kind and rank, and the litter that merges left behind.

    Every row of the store is in exactly one of the first, as of one moment during the call.
    """
    found = _scan(folder)
    while True:
        # A merge during the scan may have hidden its parts from it without showing its result; then a second scan,
        # begun later, shows a merged shard that the first does not.
        again = _scan(folder)
        if {s.path.name for s in again if s.merged} <= {s.path.name for s in found if s.merged}:
            return _sort_out(found)
        found = again


def _scan(folder: Path) -> list[Shard]:
    return [shard for name in os.listdir(folder) if (shard := parse(folder / name)) is not None]


def _sort_out(found: Iterable[Shard]) -> tuple[list[Shard], list[Shard]]:
    found = sorted(found)
    merged: dict[str, list[Shard]] = {}
    for shard in found:
        if shard.merged:
            merged.setdefault(shard.series, []).append(shard)
    # The outermost ranges of a series do not overlap, so the last one that starts at or before a step decides.
    outer: dict[str, list[Shard]] = {
        series: [a for a in shards if not any(b.replaces(a) for b in shards)] for series, shards in merged.items()
    }
    positions = dict.fromkeys(outer, 0)
    counting: list[Shard] = []
    litter: list[Shard] = []
    for shard in found:
        ranges = outer.get(shard.series, [])
        at = positions.get(shard.series, 0)
        while at + 1 < len(ranges) and ranges[at + 1].step <= shard.step:
            at += 1
        if ranges:
            positions[shard.series] = at
        (litter if ranges and ranges[at].replaces(shard) else counting).append(shard)
    return counting, litter


def covering(folder: Path, kind: str, step: int) -> Shard | None:
    """The merged shard that holds a step, if there is one. Call it under the lock to rely on it."""
    prefix, best = f"{kind}-", None
    for name in os.listdir(folder):
        if "-to-" not in name or not name.startswith(prefix):
            continue
        shard = parse(folder / name)
        if shard is not None and shard.covers(kind, step, step) and (best is None or shard.replaces(best)):
            best = shard
    return best


@contextlib.contextmanager
def lock(folder: Path, *, alone: bool) -> Iterator[None]:
    """Hold the store's lock: writers of loose shards together, whoever changes merged ones `alone`.

    Readers need none. A killed process's lock is gone with it. A file system without locks is an OSError where
    `alone` is asked for; otherwise there is nothing to exclude, as nothing can have been merged there.
    """
    if fcntl is None:
        if alone:
            raise OSError(errno.ENOSYS, "this platform has no file locks; merged shards cannot be changed")
        yield
        return
    with open(folder.parent / LOCK_NAME, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        except OSError as error:
            if alone or error.errno not in _NO_LOCKS:
                raise
        yield


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
    """Delete the temporary files of killed writers and merges: those no process holds."""
    now = time.time()
    for name in os.listdir(folder):
        if not _TEMPORARY.fullmatch(name):
            continue
        with contextlib.suppress(OSError), open(folder / name, "rb") as file:
            if now - os.fstat(file.fileno()).st_mtime >= older_than_seconds and _try_lock(file):
                os.unlink(folder / name)


def clean_merged(folder: Path) -> None:
    """Delete what merges that were cut off have left of their parts."""
    # Under the lock, or a rewind could shorten a range and make a shard count that is about to be deleted.
    with lock(folder, alone=False):
        remove(listing(folder)[1])


def remove(litter: Iterable[Shard]) -> None:
    """Delete files, whether or not someone else does so as well."""
    for shard in litter:
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
