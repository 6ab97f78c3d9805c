"""checkpoints/checkpoint-N/manifest.json: what belongs to a checkpoint, with hashes. It is written last.

A checkpoint without one was not written to its end; one that differs from it is damaged. Neither is resumed from.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from r1rl.ground import whole_files
from r1rl.ground.errors import RunFailedError

FILE_NAME = "manifest.json"
_CHECKPOINT = re.compile(r"checkpoint-([0-9]{1,12})")
_THREADS = 8
_PART = 2**20
UNFINISHED = "was not written to its end"


@dataclass(frozen=True)
class Evaluation:
    """A held-out evaluation: the updates before it, and the accuracy."""

    step: int
    accuracy: float


def write(checkpoint: Path, *, heldout: Evaluation | None = None) -> None:
    """Put a checkpoint's files on disk, and then say what they are.

    Args:
        heldout: the last held-out evaluation up to the checkpoint, by which the best one is found.
    """
    paths = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != FILE_NAME)
    with ThreadPoolExecutor(_THREADS) as pool:
        hashes = list(pool.map(lambda path: _hash(path, durable=True), paths))
    files = {
        path.relative_to(checkpoint).as_posix(): {"bytes": path.stat().st_size, "sha256": digest}
        for path, digest in zip(paths, hashes, strict=True)
    }
    content: dict[str, Any] = {"step": step_of(checkpoint), "files": files}
    if heldout is not None:
        content["heldout"] = {"step": heldout.step, "accuracy": heldout.accuracy}
    whole_files.write_json(checkpoint / FILE_NAME, content)


def fault(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint; None where every file is what the manifest says."""
    if not (checkpoint / FILE_NAME).is_file():
        return UNFINISHED
    files = (whole_files.read_json(checkpoint / FILE_NAME) or {}).get("files")
    if not isinstance(files, dict) or not files:
        return f"{FILE_NAME} cannot be read"
    for name, known in files.items():
        try:
            size = (checkpoint / name).stat().st_size
        except OSError:
            return f"{name} is missing"
        if size != known["bytes"]:
            return f"{name} has {size} bytes instead of {known['bytes']}"
    with ThreadPoolExecutor(_THREADS) as pool:
        for (name, known), found in zip(
            files.items(), pool.map(lambda name: _hash(checkpoint / name), files), strict=True
        ):
            if found != known["sha256"]:
                return f"{name} is damaged: its content is not what was written"
    return None


def step_of(checkpoint: Path) -> int:
    """The updates that a checkpoint has behind it."""
    return int(checkpoint.name.rpartition("-")[2])


def all_in(checkpoints: Path) -> list[Path]:
    """The folders of checkpoints, whole or not, the oldest first; others such as `checkpoint-best` are no business."""
    found = checkpoints.iterdir() if checkpoints.is_dir() else iter(())
    return sorted((path for path in found if _CHECKPOINT.fullmatch(path.name) and path.is_dir()), key=step_of)


def newest_whole(checkpoints: Path) -> tuple[Path | None, dict[str, str]]:
    """The newest checkpoint that is whole, and what is wrong with those after it, by their names.

    Raises:
        RunFailedError: there are damaged ones and no whole one; beginning again would cost what they may still hold.
    """
    faults: dict[str, str] = {}
    for checkpoint in reversed(all_in(checkpoints)):
        wrong = fault(checkpoint)
        if wrong is None:
            return checkpoint, faults
        faults[checkpoint.name] = wrong
    if any(wrong != UNFINISHED for wrong in faults.values()):
        said = "; ".join(f"{name}: {wrong}" for name, wrong in faults.items())
        raise RunFailedError(f"{checkpoints}: no checkpoint is whole ({said}); remove them to begin the run again")
    return None, faults


def best(checkpoints: Path) -> Path | None:
    """The finished checkpoint of the best held-out accuracy: next to that evaluation, of equal ones the latest."""
    known = []
    for checkpoint in all_in(checkpoints):
        heldout = (whole_files.read_json(checkpoint / FILE_NAME) or {}).get("heldout")
        if heldout and heldout["accuracy"] is not None:
            known.append((heldout["accuracy"], heldout["step"], -step_of(checkpoint), checkpoint))
    return max(known)[-1] if known else None


def best_whole(checkpoints: Path) -> Path | None:
    """The best checkpoint if it is whole, else the newest that is."""
    chosen = best(checkpoints)
    found = [*([chosen] if chosen else []), *reversed(all_in(checkpoints))]
    return next((checkpoint for checkpoint in found if fault(checkpoint) is None), None)


def rotate(checkpoints: Path, limit: int | None) -> None:
    """Delete what was not finished, and, beyond the newest `limit`, what is not the best one either."""
    found = all_in(checkpoints)
    finished = [checkpoint for checkpoint in found if (checkpoint / FILE_NAME).is_file()]
    kept = {*finished[-limit:], best(checkpoints)} if limit and limit > 0 else set(finished)
    for checkpoint in set(found) - kept:
        remove(checkpoint)


def remove(checkpoint: Path) -> None:
    """Delete a checkpoint, its manifest first, so that half a deletion leaves none that counts."""
    (checkpoint / FILE_NAME).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)


def _hash(path: Path, *, durable: bool = False) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        if durable:
            os.fsync(stream.fileno())
        for part in _parts(stream):
            digest.update(part)
    return digest.hexdigest()


def _parts(stream: Any) -> Iterator[bytes]:
    while part := stream.read(_PART):
        yield part
