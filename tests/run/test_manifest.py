"""Checkpoints: the newest whole one is found, a damaged one named, and the last good and the best one stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from r1rl.ground.errors import RunFailedError
from r1rl.run import manifest
from r1rl.run.manifest import Evaluation

FILES = {"model.safetensors": b"w" * 5000, "optimizer.pt": b"o" * 3000, "scheduler.pt": b"s", "rng_state.pth": b"r",
         "global_step3/rank.pt": b"z" * 10, "trainer_state.json": b"{}"}  # fmt: skip


def make(checkpoints: Path, step: int, accuracy: float | None = None, *, at: int | None = None) -> Path:
    checkpoint = checkpoints / f"checkpoint-{step}"
    for name, content in FILES.items():
        (checkpoint / name).parent.mkdir(parents=True, exist_ok=True)
        (checkpoint / name).write_bytes(content)
    heldout = None if accuracy is None else Evaluation(step if at is None else at, accuracy)
    manifest.write(checkpoint, heldout=heldout)
    return checkpoint


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGE = [
    pytest.param(lambda c: cut(c / "model.safetensors"), "model.safetensors has 4999 bytes", id="truncated weights"),
    pytest.param(lambda c: flip(c / "model.safetensors"), "model.safetensors is damaged", id="a flipped bit"),
    pytest.param(lambda c: flip(c / "global_step3/rank.pt"), "global_step3/rank.pt is damaged", id="in a folder"),
    pytest.param(lambda c: (c / "optimizer.pt").unlink(), "optimizer.pt is missing", id="no optimizer"),
    pytest.param(lambda c: (c / "rng_state.pth").unlink(), "rng_state.pth is missing", id="no generators"),
    pytest.param(lambda c: (c / "scheduler.pt").unlink(), "scheduler.pt is missing", id="no scheduler"),
    pytest.param(lambda c: cut(c / "trainer_state.json"), "trainer_state.json has 1 bytes", id="torn state"),
    pytest.param(lambda c: (c / "manifest.json").unlink(), "not written to its end", id="killed before its end"),
    pytest.param(lambda c: cut(c / "manifest.json") or cut(c / "manifest.json"), "cannot be read", id="torn manifest"),
    pytest.param(lambda c: [p.unlink() for p in c.rglob("*") if p.is_file()], "not written", id="empty folder"),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGE)
def test_the_newest_whole_one_is_found_and_the_fault_is_named(tmp_path: Path, damage, said: str) -> None:
    make(tmp_path, 900)
    whole = make(tmp_path, 1000)  # by number, not by letter
    damage(make(tmp_path, 1100))
    found, faults = manifest.newest_whole(tmp_path)
    assert found == whole
    assert list(faults) == ["checkpoint-1100"]
    assert said in faults["checkpoint-1100"]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("checkpoint-best", id="a user's"),
        pytest.param("checkpoint-9.tmp", id="half a rename"),
        pytest.param(".checkpoint-9", id="hidden"),
        pytest.param("tmp-checkpoint-9", id="of older upstream versions"),
        pytest.param("final", id="the final policy"),
        pytest.param("checkpoint--9", id="no number"),
    ],
)
def test_other_folders_are_no_checkpoints(tmp_path: Path, name: str) -> None:
    whole = make(tmp_path, 3)
    (tmp_path / name).mkdir()
    (tmp_path / "checkpoint-7").write_text("a file")
    assert manifest.newest_whole(tmp_path) == (whole, {})
    manifest.rotate(tmp_path, 1)
    assert (tmp_path / name).is_dir()


def test_none_yet_and_half_of_the_first_begin_again_but_a_damaged_one_alone_does_not(tmp_path: Path) -> None:
    assert manifest.newest_whole(tmp_path / "nowhere") == (None, {})
    (make(tmp_path, 3) / "manifest.json").unlink()
    assert manifest.newest_whole(tmp_path)[0] is None
    flip(make(tmp_path, 6) / "optimizer.pt")
    with pytest.raises(RunFailedError, match=r"no checkpoint is whole .*checkpoint-6: optimizer.pt is damaged"):
        manifest.newest_whole(tmp_path)


@pytest.mark.parametrize(
    ("accuracies", "limit", "kept"),
    [
        pytest.param([None, None, None], None, [1, 2, 3], id="no limit"),
        pytest.param([None, None, None], 0, [1, 2, 3], id="zero is none, as upstream"),
        pytest.param([None, None, None], 1, [3], id="never evaluated"),
        pytest.param([0.1, 0.5, 0.3], 1, [2, 3], id="the best stays"),
        pytest.param([0.1, 0.5, 0.3, 0.2], 2, [2, 3, 4], id="besides the newest two"),
        pytest.param([0.1, 0.2, 0.3], 1, [3], id="the newest is the best"),
        pytest.param([0.5, 0.5, 0.1], 1, [2, 3], id="of equal ones the later"),
        pytest.param([(0.5, 1), (0.5, 1), (0.1, 3)], 1, [1, 3], id="of one evaluation's the one it was made of"),
    ],
)
def test_what_a_limit_keeps(tmp_path: Path, accuracies: list, limit: int | None, kept: list[int]) -> None:
    for step, known in enumerate(accuracies, 1):
        accuracy, at = known if isinstance(known, tuple) else (known, None)
        make(tmp_path, step, accuracy, at=at)
    manifest.rotate(tmp_path, limit)
    assert [manifest.step_of(path) for path in manifest.all_in(tmp_path)] == kept


def test_what_was_not_finished_does_not_count_and_goes(tmp_path: Path) -> None:
    make(tmp_path, 3)
    (make(tmp_path, 6) / "manifest.json").unlink()
    manifest.rotate(tmp_path, 1)
    assert [path.name for path in manifest.all_in(tmp_path)] == ["checkpoint-3"]
