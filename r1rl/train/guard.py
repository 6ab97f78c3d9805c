"""Alarms: what ends a run that cannot succeed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from r1rl.ground.errors import RunFailedError

if TYPE_CHECKING:
    from r1rl.train.trainer import ZeroTrainer

logger = logging.getLogger(__name__)


class NothingEarnedError(RunFailedError):
    """No rollout of the first steps earned anything, so there is nothing to learn from."""


class StopWhenNothingEarned(TrainerCallback):
    """Says after the first step, and stops after `patience` steps, that no rollout has earned anything."""

    def __init__(self, trainer: ZeroTrainer, patience: int) -> None:
        self.trainer = trainer
        self.patience = patience
        self.rollouts = 0
        self.earned = 0

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.earned or state.global_step > max(self.patience, 1):
            return
        self.earned += self.trainer.earned
        self.rollouts += self.trainer.judged_rollouts
        if self.earned:
            return
        message = f"0 of {self.rollouts} rollouts earned anything"
        if state.is_world_process_zero:
            logger.warning("step %d: %s", state.global_step, message)
            self.trainer.folder.append_event("nothing_earned", step=state.global_step, rollouts=self.rollouts)
        if self.patience and state.global_step >= self.patience:
            raise NothingEarnedError(
                f"{message} in the first {state.global_step} steps, so there is nothing to learn from. Read some in "
                f"{self.trainer.folder.path} (r1rl inspect), then try another prompt_template (few-shot for small "
                "models), a lower temperature, easier problems or a larger max_completion_length; "
                "max_wasted_steps: 0 goes on all the same"
            )
