"""Reflection of a step's rollouts for its log line: the figures of `r1rl aha`, under the same names.

A training step is measured by a process of its own where a core is spare, so that the update does not wait.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from r1rl.ground.machine import usable_cores

if TYPE_CHECKING:
    from r1rl.train.trainer import ZeroTrainer

logger = logging.getLogger(__name__)

_STOP_SECONDS: Final = 30


def measured(run_dir: Path, kind: str, step: int) -> dict[str, float]:
    """What to log of a stored step: `{"aha/retried": 0.25, …}`; empty where that fails, and a warning says why."""
    from r1rl.aha.figures import live_process

    return _figures(live_process.measured(run_dir, kind, step))


def _figures(answer: dict[str, Any]) -> dict[str, float]:
    if "error" in answer:
        logger.warning("step %d: reflection was not measured: %.200s", answer["step"], answer["error"])
    figures: dict[str, float] = answer.get("metrics", {})
    return figures


def has_spare_core(device: str, processes: int) -> bool:
    """Whether this machine has a core that training does not compute on, with `processes` of it here.

    Threads of one matrix product wait for each other: on a CPU that is fully used, a process beside the run costs it
    more than twice its own time.
    """
    if device != "cpu":
        return True
    return usable_cores() > torch.get_num_threads() * processes


class MeasureReflection(TrainerCallback):
    """Has every stored training step measured, and puts the figures into its log line.

    The first process of the run starts `live_process` for that where a core is spare (`beside`). Else, or where that
    one dies, it measures by itself, between sampling and update.
    """

    def __init__(self, trainer: ZeroTrainer, *, beside: bool) -> None:
        self.trainer = trainer
        self.beside = beside
        self.first = False
        self.process: subprocess.Popen[str] | None = None
        self.asked: list[int] = []
        trainer.on_stored = self.stored

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.first = state.is_world_process_zero
        if self.first and self.beside:
            # A session of its own keeps a Ctrl-C from it, so that the step under way is measured as well.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "r1rl.aha.figures.live_process", str(self.folder), str(os.getpid())],
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.trainer.folder.path.resolve()

    def stored(self, step: int) -> None:
        """Ask for a step whose shards every process has written, and return at once; without a process measure it."""
        if not self.first:
            return
        self.asked.append(step)
        if self.process is None or self.process.stdin is None:
            self._measure()
            return
        try:
            self.process.stdin.write(json.dumps({"step": step}) + "\n")
            self.process.stdin.flush()
        except OSError:
            self._lost()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Wait for what was asked. The log of this step comes after this."""
        while self.asked and self.process is not None and self.process.stdout is not None:
            line = self.process.stdout.readline()
            if not line:
                self._lost()
                return
            self.asked.pop(0)
            self._add(_figures(json.loads(line)))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        process, self.process = self.process, None
        if process is None or process.stdin is None:
            return
        with suppress(OSError):
            # Said, not only closed: a forked worker may hold another end of the pipe.
            process.stdin.write("{}\n")
            process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _add(self, figures: dict[str, float]) -> None:
        for name, value in figures.items():
            self.trainer.step_metrics[name].append(value)

    def _measure(self) -> None:
        while self.asked:
            self._add(measured(self.folder, "train", self.asked.pop(0)))

    def _lost(self) -> None:
        logger.warning("the process that measures reflection has ended; from now on this one does it between the steps")
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process = None
        self._measure()
