"""`python docs/trl_run.py FOLDER [STEPS]`: a run of TRL's own GRPOTrainer, whose dump docs/measures.md reads.

Nothing of r1rl trains or samples here: it gives the tiny base and 32 Countdown problems, which every step answers
eight times each, so that steps can be compared. TRL writes FOLDER/completions/*.parquet (`log_completions`).
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from r1rl.models.resolve import resolve
from r1rl.tasks.countdown import Countdown
from r1rl.verify import countdown
from r1rl.verify.extraction import answer_tag

PROBLEMS, SAMPLES = 32, 8


def accuracy_reward(
    completions: list[str], target: list[str], numbers: list[list[int]], log_extra: Any, **_: Any
) -> list[float]:
    """1 for a right answer; the problems go into TRL's table beside it."""
    log_extra("solution", target)
    log_extra("numbers", numbers)
    verdicts = [
        countdown.verify(answer_tag(text) or "", goal, {"numbers": given})
        for text, goal, given in zip(completions, target, numbers, strict=True)
    ]
    return [float(verdict.status == "correct") for verdict in verdicts]


def main(folder: str, steps: int) -> None:
    """Train and dump."""
    torch.set_num_threads(1)
    task = Countdown(numbers=3, low=1, high=20, target_low=1, target_high=30, operators="+-", style="short")
    rows = [
        {"prompt": row.question, "target": row.gold, "numbers": row.meta["numbers"]}
        for row in task.rows("train", PROBLEMS)
    ]
    trainer = GRPOTrainer(
        resolve("base:countdown"),
        accuracy_reward,
        args=GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=PROBLEMS * SAMPLES,
            num_generations=SAMPLES,
            max_completion_length=160,
            temperature=1.0,
            learning_rate=2e-4,
            lr_scheduler_type="constant",
            max_steps=steps,
            logging_steps=1,
            log_completions=True,
            num_completions_to_print=1,
            report_to=[],
            use_cpu=True,
            bf16=False,
            beta=0.0,
            save_strategy="no",
            disable_tqdm=True,
            seed=0,
        ),
        train_dataset=Dataset.from_list(rows),
    )
    trainer.train()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 20)
