"""Which process is meant: numbers of processes come again, and say nothing on another machine or in a container."""

from __future__ import annotations

import os
import socket
from typing import Any

import psutil


def myself() -> dict[str, Any]:
    """What names this process for all time: host, numbers' name space, number, start in Unix seconds."""
    return {"host": socket.gethostname(), "names": _names(), "pid": os.getpid(),
            "started": round(psutil.Process().create_time(), 2)}  # fmt: skip


def is_here(named: dict[str, Any]) -> bool:
    """Whether a process can be looked up by its number: it is of this machine, and of this container."""
    return named.get("host") == socket.gethostname() and named.get("names", _names()) == _names()


def lives(named: dict[str, Any]) -> bool:
    """Whether the very process that `myself` named, on this machine, still runs."""
    try:
        process = psutil.Process(int(named.get("pid") or -1))
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        # The start is counted from the machine's, which moves by parts of a second when its clock is set.
        return "started" not in named or abs(process.create_time() - float(named["started"])) < 1.5
    except psutil.AccessDenied:
        return True
    except (psutil.Error, ValueError, TypeError):
        return False


def _names() -> str:
    """The name space that this process's number is of: containers may share a host name and not their numbers."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
