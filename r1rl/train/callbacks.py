"""What happens between optimizer steps: metrics on disk, progress, held-out evaluations, Ctrl-C and alarms."""

from __future__ import annotations

import functools
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import broadcast_object_list
from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState

from r1rl.ground.errors import RunFailedError
from r1rl.run.budget import Limits, Meter
from r1rl.run.folder import RunFolder
from r1rl.run.heartbeats import Heartbeat
from r1rl.run.lock import Lock
from r1rl.run.signals import Signals
from r1rl.store import retention
from r1rl.train.heldout import HeldoutEvaluation

if TYPE_CHECKING:
    from r1rl.train.trainer import ZeroTrainer

logger = logging.getLogger(__name__)

STOP_FILE = "R1RL_STOP_FILE"
"""Environment variable that names a file; once it is there the run stops as after Ctrl-C, in every process. For
schedulers, whose signals hit the launcher instead of the run."""


class WriteMetrics(TrainerCallback):
    """Appends every log to metrics.jsonl."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any) -> None:
        if state.is_world_process_zero and logs:
            self.folder.append_metrics({"step": state.global_step, **logs})


class ShowProgress(TrainerCallback):
    """One progress bar with the figures that matter; upstream's prints every log in full."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        # Into a file, a line every ten seconds is enough.
        interval = 0.5 if sys.stderr.isatty() else 10
        self.bar = tqdm(
            total=state.max_steps, initial=state.global_step, desc="training", unit="step", mininterval=interval
        )

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any) -> None:
        if self.bar is not None and logs and "reward" in logs:
            shown = {"reward": "reward {:.2f}", "task_accuracy": "accuracy {:.0%}"}
            shown["completions/mean_length"] = "{:.0f} tokens"
            # No reward could say anything where it is None.
            parts = (text.format(logs[key]) for key, text in shown.items() if logs.get(key) is not None)
            self.bar.set_postfix_str(", ".join(parts), refresh=False)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.close()


class EvaluateEvery(TrainerCallback):
    """Evaluates on held-out problems before the first update, every `every` updates, and after the last one."""

    def __init__(self, trainer: ZeroTrainer, evaluation: HeldoutEvaluation, every: int) -> None:
        self.trainer = trainer
        self.evaluation = evaluation
        self.every = every
        self.evaluated: set[int] = set()

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.global_step == 0:
            self._run(state)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        due = self.every > 0 and state.global_step % self.every == 0
        if due or state.global_step >= state.max_steps:
            self._run(state)

    def _run(self, state: TrainerState) -> None:
        if state.global_step in self.evaluated:
            return
        self.evaluated.add(state.global_step)
        metrics = self.evaluation.run(self.trainer)
        self.trainer.log_apart(metrics)
        if state.is_world_process_zero:
            logger.info(
                "step %d: held-out accuracy %.1f %% sampled, %.1f %% greedy",
                state.global_step,
                100 * metrics["heldout/accuracy"],
                100 * metrics["heldout/accuracy_greedy"],
            )


class FinishOnInterrupt(TrainerCallback):
    """After a signal, or where a stop file is: finish the step, save a checkpoint, stop."""

    def __init__(self, folder: RunFolder, signals: Signals | None = None) -> None:
        self.folder = folder
        self.signals = signals or Signals()
        self.stop_file = Path(os.environ[STOP_FILE]) if os.environ.get(STOP_FILE) else None
        self.stopped = False

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.signals.training = True

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        asked = self.signals.asked = self.signals.asked or (self.stop_file is not None and self.stop_file.exists())
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # A signal may reach the processes in different steps; they must agree on where to stop.
            anyone = torch.tensor(float(asked), device=args.device)
            torch.distributed.all_reduce(anyone, op=torch.distributed.ReduceOp.MAX)
            asked = bool(anyone.item())
        if asked and state.global_step < state.max_steps:
            self.stopped = True
            control.should_save = True
            control.should_training_stop = True
            if state.is_world_process_zero:
                self.folder.append_event("interrupted", step=state.global_step)


class KeepRollouts(TrainerCallback):
    """Deletes the rollouts of training steps that are measured and not to stay."""

    def __init__(self, folder: RunFolder, share: float) -> None:
        self.folder, self.share = folder, share

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            retention.drop(self.folder.path, self.share, state.global_step)


class SpendBudget(TrainerCallback):
    """Counts what the run spends, and ends it with a checkpoint where a limit is reached; `reached` then says which."""

    def __init__(self, trainer: ZeroTrainer, meter: Meter, limits: Limits) -> None:
        self.trainer, self.meter, self.limits = trainer, meter, limits
        self.reached: list[str] = []
        self.tokens = 0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.tokens = state.num_input_tokens_seen

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        tokens, self.tokens = state.num_input_tokens_seen - self.tokens, state.num_input_tokens_seen
        box: list[list[str]] = [[]]
        if state.is_world_process_zero:
            # Two for each parameter forwards, four backwards; sampling and a reference go forwards once.
            passes = 2 + 6 * self.trainer.num_iterations + (2 if self.trainer.beta else 0)
            spent = self.meter.add(tokens, passes * tokens * self.parameters)
            box[0] = spent.reached(self.limits)
        if self.limits.stated and self.trainer.accelerator.num_processes > 1:
            broadcast_object_list(box)  # by the first process's clock
        if box[0] and state.global_step < state.max_steps:
            self.reached = box[0]
            control.should_save = control.should_training_stop = True
            if state.is_world_process_zero:
                self.trainer.folder.append_event("budget_reached", step=state.global_step, limits=box[0])
                logger.warning("the budget is spent (%s): saving a checkpoint, and stopping", ", ".join(box[0]))

    @functools.cached_property
    def parameters(self) -> int:
        """Of the policy, over all processes that share it."""
        return sum(getattr(p, "ds_numel", p.numel()) for p in self.trainer.model.parameters())


class Beat(TrainerCallback):
    """Tells the heartbeat what the trainer does between sampling and update; looks whether the run is still ours."""

    def __init__(self, heartbeat: Heartbeat, held: Lock | None) -> None:
        self.heartbeat = heartbeat
        self.held = held

    def on_step_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.held is not None:
            self.held.check()
        self.heartbeat.beat("step began", state.global_step)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.heartbeat.beat("saving" if control.should_save else "step ended", state.global_step)


class NothingEarnedError(RunFailedError):
    """No rollout of the first steps earned anything, so there is nothing to learn from."""


class StopWhenNothingEarned(TrainerCallback):
    """Says after the first sampling, and stops after `patience` of them, that no rollout has earned anything."""

    def __init__(self, trainer: ZeroTrainer, patience: int) -> None:
        self.trainer = trainer
        self.patience = patience
        self.samplings = 0
        self.rollouts = 0
        self.earned = 0

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """A resumed run goes on counting."""
        known = [event for event in self.trainer.folder.read_events() if event["event"] == "nothing_earned"]
        if len(known) < min(-(-state.global_step // self.trainer.generate_every), max(self.patience, 1)):
            self.earned = 1
        elif known and state.global_step:
            self.samplings, self.rollouts = len(known), known[-1]["rollouts"]

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        sampled = self.trainer.rollouts.step == state.global_step - 1  # else this step used what is counted already
        if self.earned or not sampled or self.samplings >= max(self.patience, 1):
            return
        self.samplings += 1
        self.earned += self.trainer.earned
        self.rollouts += self.trainer.judged_rollouts
        if self.earned:
            return
        message = f"0 of {self.rollouts} rollouts earned anything"
        if state.is_world_process_zero:
            logger.warning("step %d: %s", state.global_step, message)
            self.trainer.folder.append_event("nothing_earned", step=state.global_step, rollouts=self.rollouts)
        if self.patience and self.samplings >= self.patience:
            raise NothingEarnedError(
                f"{message} in the first {self.samplings} samplings, so there is nothing to learn from. Read some in "
                f"{self.trainer.folder.path} (r1rl inspect), then try another prompt_template (few-shot for small "
                "models), a lower temperature, easier problems or a larger max_completion_length; "
                "max_wasted_steps: 0 goes on all the same"
            )
