"""Memory that a CPU process frees and needs again at once."""

from __future__ import annotations

import ctypes
import sys

# Parameters of glibc's mallopt(3).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Let this process reuse large freed blocks. Returns whether the C library knows how (glibc does).

    glibc maps every large block afresh and unmaps it when freed, and the kernel clears each page again at its first
    touch: on a CPU 8 % of the tiny recipe's step, where most activations are such blocks.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return all([mallopt(_TRIM_THRESHOLD, 2**31 - 1), mallopt(_TOP_PAD, 2**26), mallopt(_MMAP_MAX, 0)])
