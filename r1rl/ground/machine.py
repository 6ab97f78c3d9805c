"""What this machine is: its cores, processor and memory."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import torch


def usable_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores_of_a_rank() -> int:
    """The usable cores divided among the ranks of this node (`LOCAL_WORLD_SIZE`), at least 1."""
    ranks = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, usable_cores() // max(1, int(ranks))) if ranks.isdecimal() else usable_cores()


def visible_gpus() -> int:
    """The accelerators that torch sees, 0 where there is none."""
    import torch

    return torch.accelerator.device_count() if torch.accelerator.is_available() else 0


def accelerator_memory(device: torch.device) -> tuple[int, int]:
    """Bytes of an accelerator that this process may still take, and all of them.

    What torch holds and no tensor is in counts as free: the driver takes it for used, and after a first update that is
    nearly everything.
    """
    import torch

    kind = torch.get_device_module(device)  # torch.accelerator has no such figure in torch 2.9
    free, everything = kind.mem_get_info(device)
    return free + kind.memory_reserved(device) - kind.memory_allocated(device), everything


def has_bf16_kernels() -> bool:
    """Whether torch has quick bfloat16 products for this processor. Without, they are some fifty times slower."""
    import torch

    return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def processor() -> str:
    """The processor's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory_gib() -> float:
    """All memory of this machine in 2^30 bytes."""
    return round(psutil.virtual_memory().total / 2**30, 1)


def peak_memory() -> int | None:
    """Most bytes of this process that were resident at once, None where the system does not say."""
    try:
        # getrusage's figure takes over that of the process which started this one.
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
