"""What a process holds of the memory that it has freed."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import psutil, torch
from r1rl.update import allocation

def resident():
    return psutil.Process().memory_info().rss / 2**20

print(allocation.keep_freed_memory())
blocks = [torch.ones(2**18) for _ in range(200)]  # 200 MiB
last, full = torch.ones(2**18), resident()  # what lives at the end keeps the heap from shrinking
del blocks
print(full - resident())
allocation.give_back_freed_memory()
print(full - resident())
"""


@pytest.mark.processes
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc alone is told so")
def test_freed_blocks_are_kept_until_they_are_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    told, kept, given = done.stdout.split()
    assert told == "True"
    assert float(kept) < 20
    assert float(given) > 180
