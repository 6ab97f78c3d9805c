import os

import pytest

from r1rl.machine import cores_of_a_rank


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
