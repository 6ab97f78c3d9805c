"""Rollouts of another tool opened as if they were a run's: imported once into the cache, and again when they change."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from r1rl.ground import whole_files
from r1rl.ground.cache import cache_dir
from r1rl.store import schema, shards
from r1rl.store.importers.detection import NoRolloutsError, files_of
from r1rl.store.importers.loading import load

_VERSION: Final = 1
"""Raised when an import of the same files comes out otherwise."""
_KEPT_SECONDS: Final = 24 * 3600
"""So long stays an import of files that have changed since, for those who still read it."""


@dataclass(frozen=True)
class Opened:
    """A run folder; where it was imported, from which format, and what cannot be computed of it."""

    run: Path
    format: str | None = None
    notes: Sequence[str] = ()


def opened(path: Path, out: Path | None = None, *, progress: bool = False) -> Opened:
    """The run folder `path`, or the one that its files were imported to: `out`, by default in the cache.

    A path that is neither a run nor holds files of a known kind is returned as it is: who reads it says what is wrong.

    Raises:
        ValueError: as `load`, or `out` is another folder than an import of these files as they are.
    """
    if _is_run(path):
        known = whole_files.read_json(path / "result.json") or {}
        return Opened(path, known.get("imported"), known.get("notes") or ())
    try:
        files = files_of(path)
    except NoRolloutsError:
        return Opened(path)
    name = path.resolve().stem or "rollouts"
    origin = cache_dir() / "imported" / hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    stamp = _stamp(files)
    target = out or origin / stamp / name
    known = whole_files.read_json(target / "result.json") or {}
    if known.get("stamp") != stamp:
        try:
            (out or origin / stamp).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"{target}: cannot be made ({error.strerror}); give --out FOLDER") from error
        if out is not None:
            load(path, out, progress=progress, result={"stamp": stamp})
        else:
            _into_cache(path, target, stamp, progress=progress)
        known = whole_files.read_json(target / "result.json") or {}
    return Opened(target, known.get("imported"), known.get("notes") or ())


def _into_cache(path: Path, target: Path, stamp: str, *, progress: bool) -> None:
    """Import into a folder of its own, as another process may do the same; the first to end wins."""
    place = target.parent
    _clear(place)
    work = place.with_name(f"{stamp}.{uuid.uuid4().hex}")
    try:
        load(path, work / target.name, progress=progress, result={"stamp": stamp})
        with contextlib.suppress(OSError):
            os.rename(work, place)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _is_run(path: Path) -> bool:
    if (path / "recipe.yaml").is_file():
        return True
    folder = path / shards.FOLDER
    return folder.is_dir() and bool(shards.listing(folder))


def _stamp(files: Sequence[Path]) -> str:
    """Changes with the files, and with what an import makes of them."""
    told = [(str(file), (status := file.stat()).st_size, status.st_mtime_ns) for file in files]
    text = json.dumps([_VERSION, schema.SCHEMA_VERSION, told])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _clear(place: Path) -> None:
    """Remove imports of earlier states of the files, what a killed one left, and `place` where it is not whole."""
    for old in place.parent.iterdir():
        broken = old == place and not any(old.glob("*/result.json"))
        with contextlib.suppress(FileNotFoundError):  # another process clears as well
            if broken or time.time() - os.stat(old).st_mtime > _KEPT_SECONDS:
                shutil.rmtree(old, ignore_errors=True)
