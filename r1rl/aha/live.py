"""Reflection of each training step, measured in a process of its own while the update runs.

The process annotates the shards just written, which leaves their annotation files ready, and answers with the step's
figures; they join that step's log line as aha/…. It reads requests from its standard input, one JSON line each, and
ends when that closes: with the run, whichever way the run ends. Whatever it could not do, `r1rl aha` does later.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any, Final

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

if TYPE_CHECKING:
    from r1rl.trainer import ZeroTrainer

logger = logging.getLogger(__name__)

METRICS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "aha/marker_rate": "marker_strict_rate",
        "aha/marker_per_1k_tokens": "marker_strict_per_1k",
        "aha/attempts_per_rollout": "attempts",
        "aha/retried": "retried",
        "aha/retry_after_miss": "retry_after_miss",
        "aha/wrong_to_right": "wrong_to_right",
        "aha/right_to_wrong": "right_to_wrong",
        "aha/first_attempt_accuracy": "first_accuracy",
        "aha/final_attempt_accuracy": "final_accuracy",
        "aha/retry_lift": "retry_lift",
        "aha/verify_precision": "verify_precision",
        "aha/verify_recall": "verify_recall",
        "aha/slips": "slips",
        "aha/guesses": "guesses",
        "aha/unclean": "unclean",
    }
)
"""Name in the log -> key in `figures.FIGURES`."""

_STOP_SECONDS: Final = 30


class MeasureReflection(TrainerCallback):
    """Has every stored training step measured, and puts the figures into its log line.

    Only the first process starts one; a process that dies costs the figures, not the run.
    """

    def __init__(self, trainer: ZeroTrainer) -> None:
        self.trainer = trainer
        self.process: subprocess.Popen[str] | None = None
        self.asked: list[int] = []
        trainer.on_stored = self.stored

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            # One thread: the update needs the cores more. A session of its own keeps a Ctrl-C from it, so that the
            # step under way is measured as well.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "r1rl.aha.live", str(self.trainer.folder.path.resolve())],
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )

    def stored(self, step: int) -> None:
        """Ask for a step whose shards every process has written; returns at once."""
        if self.process is None or self.process.stdin is None:
            return
        try:
            self.process.stdin.write(json.dumps({"step": step}) + "\n")
            self.process.stdin.flush()
        except OSError:
            self._lost()
        else:
            self.asked.append(step)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Wait for what was asked. The log of this step comes after this."""
        while self.asked and self.process is not None and self.process.stdout is not None:
            step = self.asked.pop(0)
            line = self.process.stdout.readline()
            if not line:
                self._lost()
                return
            answer = json.loads(line)
            if "error" in answer:
                logger.warning("step %d: reflection was not measured: %.200s", step, answer["error"])
            for name, value in answer.get("metrics", {}).items():
                self.trainer._metrics["train"][name].append(value)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        process, self.process = self.process, None
        if process is None or process.stdin is None:
            return
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _lost(self) -> None:
        logger.warning("the process that measures reflection has ended; `r1rl aha` measures the run later")
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process, self.asked = None, []


def serve(run_dir: Path, requests: IO[str], answers: IO[str]) -> None:
    """Answer requests until there are no more: `{"step": 3}` -> `{"step": 3, "metrics": {…}}` or `"error"`."""
    from r1rl.aha.annotations import annotate_part, missing
    from r1rl.aha.figures import of_step

    for line in requests:
        step = int(json.loads(line)["step"])
        try:
            for part in missing(run_dir, kind="train", steps=[step]):
                annotate_part(part)
            found = of_step(run_dir, "train", step, list(METRICS.values()))
            answer = {"metrics": {name: found[key] for name, key in METRICS.items() if key in found}}
        except Exception as error:  # the run goes on, and is told why
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps({"step": step, **answer}) + "\n")
        answers.flush()
        # The probes' annotations are not waited for.
        with suppress(OSError, ValueError):
            for part in missing(run_dir, kind="probe"):
                annotate_part(part)


def main() -> None:
    with suppress(OSError):
        os.nice(5)
    with suppress(BrokenPipeError):
        serve(Path(sys.argv[1]), sys.stdin, sys.stdout)


if __name__ == "__main__":
    main()
