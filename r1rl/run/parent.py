"""Ends this process when the one that started it ends, so that no training goes on without its launcher."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

PARENT = "R1RL_PARENT"
"""Environment variable: the number of the process that a launcher lives for."""
_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG
_POLL_SECONDS = 1.0


def die_with(parent: int) -> None:
    """Have the system kill this process as soon as `parent`, which has started it, is gone.

    Elsewhere than on Linux a thread looks every second.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent,), name="parent", daemon=True).start()
    if os.getppid() != parent:  # it was gone before
        os.kill(os.getpid(), signal.SIGKILL)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
