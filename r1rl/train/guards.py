"""Acts on the guards of `r1rl.run.guards` while a run trains: warns, ends it, or goes back to the best checkpoint."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import broadcast_object_list
from transformers import TrainerCallback, TrainerControl, TrainerState

from r1rl.ground.errors import RunFailedError
from r1rl.run import manifest
from r1rl.run.folder import RunFolder
from r1rl.run.guards import MOST_ROLLBACKS, Alarm, Guards
from r1rl.run.tell import tell
from r1rl.train.checkpoints import part

if TYPE_CHECKING:
    from r1rl.train.trainer import ZeroTrainer

logger = logging.getLogger(__name__)

_COMPLETIONS, _TOKENS, _RUN = 32, 512, 4  # looked at for repetition


class GuardStoppedError(RunFailedError):
    """A guard ended the run."""


class RollBack(Exception):  # noqa: N818
    """The run goes on from an earlier checkpoint; everything for that is on disk."""


class WatchGuards(TrainerCallback):
    """Shows every log line to the guards; the first process decides, and all act."""

    def __init__(self, trainer: ZeroTrainer, guards: Guards, on_alarm: str | None = None) -> None:
        self.trainer = trainer
        self.on_alarm = on_alarm
        self.guards = guards
        self.weights = 0.0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A resumed run's guards have seen what the run has logged."""
        if state.global_step and state.is_world_process_zero:
            for line in self.trainer.folder.read_metrics():
                self.guards.sees(line)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.trainer.rollouts.step == state.global_step - 1:
            found = repetition([c.token_ids for c in self.trainer.rollouts.completions])
            self.trainer.step_metrics["completions/repetition"].append(found)
        if control.should_log or control.should_save:
            self.weights = largest(self.trainer.model)
            if not math.isfinite(self.weights) and not control.should_log:
                self._act(state, {"weights": self.weights})  # before they are saved

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any) -> None:
        if logs:
            self._act(state, {**logs, "weights": self.weights})

    def _act(self, state: TrainerState, line: Mapping[str, Any]) -> None:
        box: list[tuple[str, str] | None] = [None]
        if state.is_world_process_zero and (alarms := self.guards.sees(line)):
            box[0] = decide(self.trainer.folder, state.global_step, alarms)
            for alarm in alarms:
                said = {"guard": alarm.guard.name, "action": alarm.guard.action, "message": alarm.message}
                tell(
                    self.on_alarm,
                    {"run": self.trainer.folder.name, "event": "alarm", "step": state.global_step, **said},
                )
        if self.trainer.accelerator.num_processes > 1:
            broadcast_object_list(box)
        if box[0] is not None:
            action, message = box[0]
            raise (RollBack if action == "roll_back" else GuardStoppedError)(message)


def decide(folder: RunFolder, step: int, alarms: Sequence[Alarm]) -> tuple[str, str] | None:
    """Note the alarms; what is to be done, `stop` or `roll_back`, and why. First process only."""
    for alarm in alarms:
        logger.warning("step %d: %s", step, alarm.message)
        folder.append_event("alarm", step=step, guard=alarm.guard.name, action=alarm.guard.action,
                            metric=alarm.metric, value=alarm.value, message=alarm.message)  # fmt: skip
    by_action = {alarm.guard.action: alarm for alarm in reversed(alarms)}
    if "stop" in by_action:
        alarm = by_action["stop"]
        return "stop", _stopped(step, alarm, f"guards.{alarm.guard.name}: warn goes on all the same")
    if "roll_back" in by_action:
        return _rolled_back(folder, step, by_action["roll_back"])
    return None


def rate_factor(folder: RunFolder) -> float:
    """What the learning rate is multiplied with after the roll-backs of a run: each halves it."""
    return 0.5 ** _rollbacks(folder)


def _rollbacks(folder: RunFolder) -> int:
    return sum(event["event"] == "rolled_back" for event in folder.read_events())


def _rolled_back(folder: RunFolder, step: int, alarm: Alarm) -> tuple[str, str]:
    """Take the run back on disk: what came after the best checkpoint goes, but for its metrics."""
    number = _rollbacks(folder) + 1
    if number > MOST_ROLLBACKS:
        return "stop", _stopped(step, alarm, f"it was rolled back {MOST_ROLLBACKS} times already")
    target = manifest.best_whole(folder.checkpoints)
    if target is None:
        return "stop", _stopped(step, alarm, "there is no whole checkpoint to roll back to; save_steps makes them")
    to = manifest.step_of(target)
    shutil.copyfile(folder.metrics, folder.path / f"rolled_back-{number}.jsonl")
    for checkpoint in manifest.all_in(folder.checkpoints):
        if manifest.step_of(checkpoint) > to:
            manifest.remove(checkpoint)
    # Last: a run that is killed before it goes on without the lower rate, and rings again.
    folder.append_event("rolled_back", step=to, since=step, guard=alarm.guard.name, rate_factor=0.5**number,
                        message=alarm.message)  # fmt: skip
    return "roll_back", f"rolled back from step {step} to step {to}, with half the learning rate: {alarm.message}"


def _stopped(step: int, alarm: Alarm, why: str) -> str:
    return f"stopped after step {step}: {alarm.message}. {why[0].upper()}{why[1:]}"


def repetition(completions: Sequence[Sequence[int]]) -> float:
    """Which share of the runs of four tokens at the ends of some completions is an earlier one again."""
    every = max(1, len(completions) // _COMPLETIONS)
    shares = []
    for ids in completions[::every][:_COMPLETIONS]:
        ids = ids[-_TOKENS:]
        runs = list(zip(*(ids[i:] for i in range(_RUN)), strict=False))
        shares.append(1 - len(set(runs)) / len(runs) if runs else 0.0)
    return sum(shares) / len(shares) if shares else 0.0


def largest(model: torch.nn.Module) -> float:
    """The largest magnitude of this process's weights; NaN or infinity where one is."""
    held = [part(parameter).detach() for parameter in model.parameters() if parameter.requires_grad]
    held = [weights for weights in held if weights.numel()]
    return float(torch.stack([norm.float() for norm in torch._foreach_norm(held, ord=math.inf)]).max()) if held else 0.0
