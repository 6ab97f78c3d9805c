"""Experiment trackers: a run that goes on goes on there too.

TensorBoard writes into the run folder, and trackio takes up the run of the same name. W&B needs an id.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence

from r1rl.ground import whole_files
from r1rl.run.folder import RunFolder

FILE_NAME = "trackers.json"


def name_run(folder: RunFolder, trackers: Sequence[str]) -> None:
    """Tell the trackers, which ask the environment, what run this is. First process only.

    W&B's id of a run is drawn once and kept in its folder; a WANDB_RUN_ID of the user's comes before it.
    """
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(folder.tensorboard)
    if "wandb" not in trackers:
        return
    path = folder.path / FILE_NAME
    kept = (whole_files.read_json(path) or {}).get("wandb")
    name = os.environ.get("WANDB_RUN_ID") or kept or secrets.token_hex(4)
    if name != kept:
        whole_files.write_json(path, {"wandb": name})
    os.environ["WANDB_RUN_ID"] = name
    os.environ.setdefault("WANDB_RESUME", "allow")
