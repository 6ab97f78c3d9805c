import os
from types import SimpleNamespace

import psutil
import pytest
import torch

from r1rl.ground.machine import accelerator_memory, cores_of_a_rank, peak_memory


@pytest.mark.parametrize(
    ("cores", "ranks", "workers"),
    [(8, None, 8), (8, "2", 4), (8, "3", 2), (2, "8", 1), (8, "100", 1), (4, "", 4), (4, "x", 4), (4, "0", 4)],
)
def test_ranks_of_a_node_share_its_cores(monkeypatch, cores, ranks, workers):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(cores)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    if ranks is not None:
        monkeypatch.setenv("LOCAL_WORLD_SIZE", ranks)
    assert cores_of_a_rank() == workers


def test_the_peak_stays_when_memory_is_given_back():
    before = psutil.Process().memory_info().rss
    block = bytearray(b"x") * 2**28
    del block
    assert peak_memory() > before + 0.9 * 2**28  # the kernel counts by batches of pages


def test_what_torch_holds_without_a_tensor_in_it_is_free(monkeypatch):
    figures = {"mem_get_info": (2, 100), "memory_reserved": 90, "memory_allocated": 30}
    module = SimpleNamespace(**{name: lambda device, value=value: value for name, value in figures.items()})
    monkeypatch.setattr(torch, "get_device_module", lambda device: module)
    assert accelerator_memory(torch.device("cuda", 0)) == (62, 100)
