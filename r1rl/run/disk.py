"""Disks: how much is free, how much a checkpoint takes, and a full one said in one line."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from r1rl.ground.errors import RunFailedError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_ACCESS = (errno.EROFS, errno.EACCES, errno.EPERM)
# How torch and safetensors, which do not raise OSError, say that a write came back short.
_TORN = ("unexpected pos", "PytorchStreamWriter", "file write failed", "No space left", "Disk quota")
_LITTLE = 2**24


def free(path: Path) -> int:
    """Bytes that are free where a path is, or is to be."""
    place = next(each for each in (path, *path.absolute().parents) if each.exists())
    return shutil.disk_usage(place).free


def need(path: Path, size: float, what: str) -> None:
    """Raise RunFailedError where `size` bytes do not fit any more."""
    if (left := free(path)) < size:
        raise RunFailedError(
            f"{path}: {left / 1e9:.3g} GB are free on this disk, and {what} takes {size / 1e9:.3g} GB. Everything "
            "before is whole; make space, then go on with --resume"
        )


def size_of(folder: Path) -> int:
    """Bytes in a folder's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def said(error: BaseException) -> str | None:
    """One line for an error that is the disk's, None for any other."""
    cause: BaseException | None = error
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        where = f" at {cause.filename}" if isinstance(cause, OSError) and cause.filename else ""
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return f"the disk is full{where} ({os.strerror(cause.errno)}); make space, then go on with --resume"
        if isinstance(cause, OSError) and cause.errno in _NO_ACCESS and where:
            return f"no access{where}: {os.strerror(cause.errno)}"
        cause = cause.__cause__ or cause.__context__
    return None


@contextmanager
def named(folder: Path) -> Iterator[None]:
    """Say of what fails because the disk of a run is full that it is.

    Raises:
        RunFailedError: in place of the error.
    """
    try:
        yield
    except Exception as error:
        torn = any(word in str(error) for word in _TORN)
        if said(error) is None and not (torn and free(folder) < _LITTLE):
            raise
        text = said(error) or "the disk is full; make space, then go on with --resume"
        raise RunFailedError(f"{folder}: {text}. Everything written before is whole") from error
