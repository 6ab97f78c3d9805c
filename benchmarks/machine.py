"""What this machine is, and the most it can do: the rate of large matrix products and of reading memory."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from r1rl.ground.machine import memory_gib, processor

if TYPE_CHECKING:
    import torch

_SIDE = 2048  # of the square matrices; their product is far from the memory's limit
_READ_BYTES = 2**30  # far above every cache
_TRIES = 5


@dataclass(frozen=True)
class Peak:
    """The machine's rates for one number format.

    Args:
        flops: floating-point operations a second, in a product of 2048 x 2048 matrices.
        bandwidth: bytes read a second.
    """

    flops: float
    bandwidth: float

    def best(self, other: Peak) -> Peak:
        """The higher of each rate: only something else that ran can have made one lower."""
        return Peak(max(self.flops, other.flops), max(self.bandwidth, other.bandwidth))


def describe(cores: int) -> str:
    """One line for people: cores, processor and its vector instructions, memory, versions of Python and torch."""
    import torch

    return (
        f"{cores} of {os.cpu_count()} cores, {processor()} ({torch.backends.cpu.get_cpu_capability()}), "
        f"{memory_gib():.0f} GiB, "
        f"Python {platform.python_version()}, torch {importlib.metadata.version('torch')}"
    )


def peak(dtype: torch.dtype, threads: int) -> Peak:
    """Measure both rates, each the best of some tries."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        a, b = (torch.randn(_SIDE, _SIDE).to(dtype) for _ in range(2))
        product = _fastest(lambda: torch.mm(a, b))
        numbers = torch.ones(_READ_BYTES // 4)
        reading = _fastest(lambda: numbers.sum())
    finally:
        torch.set_num_threads(before)
    return Peak(2.0 * _SIDE**3 / product, _READ_BYTES / reading)


def reset_peak_memory() -> None:
    """Let what `r1rl.ground.machine.peak_memory` says begin anew, where the kernel allows it."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _fastest(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some tries."""
    work()
    best = float("inf")
    for _ in range(_TRIES):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best
