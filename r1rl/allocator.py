"""Keep the memory that tensors free, instead of giving it back to the system and taking it again page by page.

glibc maps every large block anew. On a CPU that costs more than computing on it: a clone of 256 MB ran at 1 to 5 GB/s
and at 30 GB/s once the pages stayed.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # <malloc.h>


def keep_freed_memory() -> bool:
    """Set glibc's thresholds for this process; False where the C library is another one."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = {_MMAP_THRESHOLD: 1 << 30, _TRIM_THRESHOLD: (1 << 31) - 1, _TOP_PAD: 64 << 20}
    return all([mallopt(name, value) == 1 for name, value in settings.items()])
