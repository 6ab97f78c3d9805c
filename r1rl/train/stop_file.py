"""A file that asks a run to stop as Ctrl-C does: for schedulers, whose signals hit the launcher instead of the run."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from r1rl.train.callbacks import FinishOnInterrupt

VARIABLE = "R1RL_STOP_FILE"


class StopOnFile(TrainerCallback):
    """Looks for the file after every step. It has to be called before the `FinishOnInterrupt` that it asks."""

    def __init__(self, interrupt: FinishOnInterrupt) -> None:
        self.interrupt = interrupt
        named = os.environ.get(VARIABLE)
        self.path = Path(named) if named else None

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.path is not None and self.path.exists():
            self.interrupt.asked = True
