"""Follows the recipe's schedules while a run trains; see `r1rl.recipe.schedules`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from r1rl.recipe.schedules import Schedule
from r1rl.run.folder import RunFolder
from r1rl.train.guards import rate_factor


class FollowSchedules(TrainerCallback):
    """Sets the learning rate at its step, and writes that and every refresh of the reference model to events.jsonl."""

    def __init__(self, folder: RunFolder, schedules: Mapping[str, Schedule]) -> None:
        self.folder = folder
        self.rate = schedules.get("learning_rate")
        self.factor = 1.0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A checkpoint brings its own rate, and a resumed run may have been given another, or more steps."""
        self.factor = rate_factor(self.folder)
        if state.global_step and self.rate is None:
            set_rate(kwargs["lr_scheduler"], args.learning_rate * self.factor)

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.rate is None:
            return
        step = state.global_step
        set_rate(kwargs["lr_scheduler"], self.rate.at(step) * self.factor)
        if state.is_world_process_zero and step:
            write_change(self.folder, self.rate, step, since=step - 1)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        refreshed = args.sync_ref_model and state.global_step % args.ref_model_sync_steps == 0
        if refreshed and state.is_world_process_zero:
            self.folder.append_event("reference_refreshed", step=state.global_step)


def set_rate(scheduler: Any, rate: float) -> None:
    """Put another base rate below a scheduler's own factor; where it is that rate already, this changes nothing."""
    inner = getattr(scheduler, "scheduler", scheduler)  # of accelerate's wrapper
    # Not one that goes by what it measures, nor rates of several parts of the model.
    if not hasattr(inner, "lr_lambdas") or len(set(inner.base_lrs)) > 1:
        return
    inner.base_lrs = [rate] * len(inner.base_lrs)
    inner._last_lr = [rate * factor(inner.last_epoch) for factor in inner.lr_lambdas]
    for group, now in zip(inner.optimizer.param_groups, inner._last_lr, strict=True):
        group["lr"], group["initial_lr"] = now, rate


def write_change(folder: RunFolder, schedule: Schedule, step: int, *, since: int) -> None:
    """Write an event where a setting is another one at `step` than it was at the step `since`."""
    before, now = schedule.at(since), schedule.at(step)
    if before != now:
        folder.append_event("setting", step=step, key=schedule.key, value=now, before=before)
