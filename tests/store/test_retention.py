"""Which training rollouts stay: evaluations always, of training steps a share, evenly spread."""

from __future__ import annotations

from pathlib import Path

import pytest

from r1rl.store import retention, shards


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        pytest.param("all", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], id="all"),
        pytest.param("eval", [9], id="none, but for the step under way"),
        pytest.param("0.5", [0, 2, 4, 6, 8, 9], id="half"),
        pytest.param("0.25", [0, 4, 8, 9], id="a quarter"),
        pytest.param("0", [9], id="zero"),
        pytest.param("1", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], id="one"),
    ],
)
def test_what_stays(tmp_path: Path, keep: str, kept: list[int]) -> None:
    folder = tmp_path / "rollouts"
    folder.mkdir()
    for step in range(10):
        for kind in ("train", "eval"):
            for rank in (0, 1):
                shards.shard_path(folder, kind, step, rank).touch()
    retention.drop(tmp_path, retention.share(keep), 9)
    left = [(shard.kind, shard.step) for shard in shards.listing(folder)]
    assert sorted({step for kind, step in left if kind == "train"}) == kept
    assert sum(kind == "eval" for kind, _ in left) == 20


@pytest.mark.parametrize("keep", ["none", "2", "-1", "nan", ""])
def test_what_is_no_share(keep: str) -> None:
    with pytest.raises(ValueError, match="need all, eval, or a share"):
        retention.share(keep)
