"""What ended a run of several processes, said once: each process records its error, the launcher shows the first.

torch.distributed.elastic's own error files are not used: they end in the launcher's wall of text, keep whole seconds
only, and stay on their node.
"""

from __future__ import annotations

import os
import socket
import time
import traceback
from pathlib import Path
from typing import Any

from r1rl.ground import whole_files

# Environment variables: the folder where a launcher wants its processes' errors; a folder that all nodes see, for the
# launchers of a run on several nodes.
FOLDER, SHARED_FOLDER = "R1RL_ERRORS", "R1RL_SHARED_ERRORS"
_REPORTED = "reported"
# Words of errors that the end of another process has caused.
_CONSEQUENCES = (
    "DistBackendError", "DistNetworkError", "DistStoreError", "Connection closed by peer", "Connection reset by peer",
    "Broken pipe", "gloo", "NCCL", "Timed out waiting",
)  # fmt: skip


def recording() -> bool:
    """Whether a launcher waits for this process's error."""
    return FOLDER in os.environ


def record(kind: str, message: str, error: BaseException | None = None, *, rank: int | None = None) -> None:
    """Keep an error for the launcher; the first error of a process counts. Without a launcher this does nothing.

    Args:
        kind: `usage`, `failed` (the message says everything), `error` (there is a traceback), `killed` by a signal,
            or `stalled` (printed already).
        rank: of the process whose error it is; None: this process.
    """
    if not recording():
        return
    rank = int(os.environ.get("RANK", "0")) if rank is None else rank
    content = {
        "rank": rank, "world_size": int(os.environ.get("WORLD_SIZE", "1")), "host": socket.gethostname(),
        "time": time.time(), "kind": kind, "message": message,
        "traceback": "".join(traceback.format_exception(error)) if error else "",
    }  # fmt: skip
    folder = Path(os.environ[FOLDER])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"rank_{rank:05d}.error.json"
        if not path.exists():
            whole_files.write_json(path, content, durable=False)
    except OSError:
        if error is not None:
            traceback.print_exception(error)


def errors(folder: Path) -> list[dict[str, Any]]:
    """The recorded errors, the first cause first: by time, but errors that another process's end causes come last."""
    found = filter(None, map(whole_files.read_json, sorted(folder.glob("rank_*.error.json"))))
    return sorted(found, key=lambda error: (is_consequence(error), error["time"]))


def is_consequence(error: dict[str, Any]) -> bool:
    """Whether an error is one that processes raise because another has ended."""
    return error["kind"] == "error" and any(part in error["message"] for part in _CONSEQUENCES)


def claim(folder: Path) -> bool:
    """Whether this launcher is the one that reports: on several nodes each node has a launcher."""
    try:
        (folder / _REPORTED).touch(exist_ok=False)
    except OSError:
        return False
    return True


def text(first: dict[str, Any], others: int) -> str:
    """The report of the first error; `others`: how many more processes there were."""
    if first["kind"] == "stalled":
        return ""
    if first["kind"] in ("usage", "failed"):
        return f"error: {first['message']}\n"
    at = time.strftime("%H:%M:%S", time.localtime(first["time"]))
    head = f"rank {first['rank']} of {others + 1} on {first['host']} failed first ({at}): {first['message']}\n"
    tail = "the other processes stopped because of it\n" if others else ""
    return f"\n{first['traceback']}\n{head}{tail}"
