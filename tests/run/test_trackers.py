"""What a tracker knows a run by."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from r1rl.run import trackers
from r1rl.run.folder import RunFolder


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tracker's word in the environment, before and after."""
    for name in ("WANDB_RUN_ID", "WANDB_RESUME", "TENSORBOARD_LOGGING_DIR"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def named(folder: Path, *reported: str) -> str | None:
    """The id that a new process gives W&B."""
    os.environ.pop("WANDB_RUN_ID", None)
    trackers.name_run(RunFolder(folder), reported)
    return os.environ.get("WANDB_RUN_ID")


def test_a_resumed_run_is_the_same_and_another_is_not(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    first = named(one, "tensorboard", "wandb")
    assert first
    assert named(one, "wandb") == first
    assert named(other, "wandb") != first
    assert os.environ["WANDB_RESUME"] == "allow"
    assert os.environ["TENSORBOARD_LOGGING_DIR"] == str(other / "tensorboard")


def test_an_id_of_the_users_is_taken_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = named(tmp_path, "wandb")
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    trackers.name_run(RunFolder(tmp_path), ["wandb"])
    assert json.loads((tmp_path / trackers.FILE_NAME).read_text()) == {"wandb": "mine"}
    assert named(tmp_path, "wandb") == "mine" != drawn


def test_nothing_is_written_where_wandb_is_not_asked_for(tmp_path: Path) -> None:
    assert named(tmp_path, "tensorboard") is None
    assert not list(tmp_path.iterdir())
