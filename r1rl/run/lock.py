"""RUN/lock.json: which processes train a run, so that no second launch writes into the same folder.

The lock names host, process and the start of that process, since numbers of processes come again. Whoever finds a lock
judges it: here by the process itself; one of another machine, on a shared file system, by whether it is still touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from r1rl.ground import whole_files
from r1rl.ground.errors import RecipeError, RunFailedError
from r1rl.run import heartbeats
from r1rl.run.process import is_here, lives, myself

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

FILE_NAME = "lock.json"
_GUARD = ".lock"
_TOUCH_SECONDS = 5.0
SILENT_SECONDS = 30.0  # without a touch: a lock of another machine then counts as left behind
_DYING_SECONDS = 10.0  # that ranks whose launcher was killed may take to end


def holder(run: Path, *, wait: bool = True) -> dict[str, Any] | None:
    """Who holds a run now; None where nobody does, or only a lock was left behind.

    Args:
        wait: look for up to `SILENT_SECONDS` whether a lock of another machine is touched; else its age tells.
    """
    path = run / FILE_NAME
    found = whole_files.read_json(path)
    if found is not None and (lives(found) if is_here(found) else _is_touched(path, wait=wait)):
        return found
    until = time.monotonic() + (_DYING_SECONDS if wait else 0)
    while True:  # the lock's process was killed; its launch's others may be about to end
        beats = map(whole_files.read_json, (run / heartbeats.FOLDER).glob("rank_*[0-9].json"))
        others = [b for b in beats if b and b.get("phase") != "done" and "started" in b and is_here(b) and lives(b)]
        others = [beat for beat in others if beat["pid"] != os.getpid()]
        if not others or time.monotonic() >= until:
            return others[0] if others else None
        time.sleep(0.2)


def refuse(run: Path) -> None:
    """Raise RecipeError where another process holds the run."""
    if run.is_dir() and (found := holder(run)) is not None:
        raise _held(run, found)


@contextmanager
def held(run: Path) -> Iterator[Lock]:
    """Hold a run while the block runs. First process only.

    Raises:
        RecipeError: another process holds it.
    """
    lock = Lock(run)
    lock.take()
    try:
        yield lock
    finally:
        lock.release()


class Lock:
    """The lock of one run, taken by this process, and touched from a thread as long as it is held."""

    def __init__(self, run: Path) -> None:
        self.run, self.path = run, run / FILE_NAME
        self.content = myself() | {"token": uuid.uuid4().hex, "since": time.time()}
        self._stop = threading.Event()
        self._lost = False

    def take(self) -> None:
        """Take it, from a dead process if need be.

        Raises:
            RecipeError: a living process holds it.
        """
        mine = self.path.with_name(f".{FILE_NAME}.{self.content['token']}.tmp")
        with self._alone():
            refuse(self.run)
            self.path.unlink(missing_ok=True)
            try:
                mine.write_text(json.dumps(self.content, indent=2) + "\n", encoding="utf-8")
                taken = self._linked(mine)
            finally:
                mine.unlink(missing_ok=True)
        if not taken:  # on a file system where two may believe to be alone
            raise _held(self.run, whole_files.read_json(self.path) or {})
        threading.Thread(target=self._touch, name="lock", daemon=True).start()

    def check(self) -> None:
        """Raise RunFailedError where another process has taken the run: this one was stopped for too long."""
        if self._lost:
            raise RunFailedError(
                f"{self.run}: another process has taken over this run, as this one gave no sign of life for "
                f"{SILENT_SECONDS:g} s or more; it ends here and writes nothing more"
            )

    def release(self) -> None:
        """Give it back, unless it is another's by now."""
        self._stop.set()
        with contextlib.suppress(OSError), self._alone():
            if whole_files.read_json(self.path) == self.content:
                self.path.unlink()

    def _linked(self, mine: Path) -> bool:
        """Make the lock out of a whole file: a link fails where there is one, on a shared file system too."""
        try:
            os.link(mine, self.path)
        except FileExistsError:
            return False
        except OSError:  # a file system without links
            try:
                with self.path.open("x", encoding="utf-8") as stream:
                    stream.write(mine.read_text(encoding="utf-8"))
            except FileExistsError:
                return False
        return True

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While a lock is judged and replaced: of two that find one left behind, one must not take the other's."""
        with (self.run / _GUARD).open("w") as stream:
            if fcntl is not None:
                with contextlib.suppress(OSError):  # a file system without such locks
                    fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _touch(self) -> None:
        while not self._stop.wait(_TOUCH_SECONDS):
            found = whole_files.read_json(self.path)
            if found is not None and found.get("token") != self.content["token"]:
                self._lost = True
                return
            with contextlib.suppress(OSError):
                os.utime(self.path)


def describe(holder: dict[str, Any]) -> str:
    """`process 4711 on node3, since 12:31`."""
    since = holder.get("since")
    at = f", since {time.strftime('%Y-%m-%d %H:%M', time.localtime(float(since)))}" if since else ""
    return f"process {holder.get('pid')} on {holder.get('host')}{at}"


def _held(run: Path, found: dict[str, Any]) -> RecipeError:
    return RecipeError(
        f"name={run.name!r}: {run} is being trained by {describe(found)}; wait for it, stop it, or give another --name"
    )


def _is_touched(path: Path, *, wait: bool) -> bool:
    """Whether a lock of another machine is alive. Its clock may be off, so that it moves counts, not when it moved."""
    try:
        first = path.stat().st_mtime
        if not wait:
            return time.time() - first < 2 * SILENT_SECONDS
        until = time.monotonic() + SILENT_SECONDS
        while time.monotonic() < until:
            time.sleep(0.5)
            if path.stat().st_mtime != first:
                return True
    except FileNotFoundError:
        pass  # given back meanwhile
    return False
