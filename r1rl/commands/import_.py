"""r1rl import: rollouts of another trainer, to look at and measure as a run's."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from r1rl.commands import pair, user_errors
from r1rl.ground.values import coerce

FORMATS = ("trl", "verl", "traces", "verifiers", "openrlhf", "skyrl", "inspect", "jsonl")  # of store.importers
_LISTED = 12
SUMMARY = "Make a run's rollout store from the rollouts of another trainer or evaluation."
EXAMPLES = """\
examples:
  r1rl import grpo-output --to runs/theirs                               # TRL with log_completions=True
  r1rl import rollout_data --to runs/theirs --verifier math --extraction boxed   # verl's trainer.rollout_data_dir
  r1rl import logs/math.eval --to runs/theirs                            # Inspect AI
  r1rl import outputs/run --to runs/theirs --correct correct_answer      # prime-rl, verifiers
  r1rl import rollouts.jsonl --to runs/theirs --column completion=text --column gold=target

docs/rollouts.md has a table of the formats. `r1rl inspect` and `r1rl aha` open the same files directly.

Where the files do not say which answers were right, --verifier judges them again (`acc` and `correct` are taken).
Training step k of TRL, verl and prime-rl is step k - 1 of the store, which counts the updates made before. TRL writes
the rollouts of the last update before each log, so log every step (logging_steps=1)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="SOURCE", help="a file, or the folder that holds them")
    parser.add_argument("--to", type=Path, required=True, metavar="RUN", help="the run folder to make")
    parser.add_argument("--format", choices=FORMATS, help="default: told from the files")
    kinds = "eval: the same prompts at each step, not trained on (default: told from the files, else train)"
    parser.add_argument("--kind", choices=("train", "eval"), help=kinds)
    parser.add_argument(
        "--temperature", type=float, metavar="T", help="of rollouts whose file does not tell; 0: decoded greedily"
    )
    parser.add_argument("--task", default="imported", metavar="NAME", help="where the prompts are from, as countdown")
    parser.add_argument("--verifier", metavar="NAME", help="judge every answer by it: math, countdown, choice, …")
    parser.add_argument(
        "--extraction", default="answer-tag", metavar="NAME", help="where the answer stands (default: answer-tag)"
    )
    parser.add_argument("--correct", metavar="REWARD", help="the reward that says whether an answer was right")
    pairs: dict[str, Any] = {"type": pair, "action": "append", "default": []}
    parser.add_argument("--column", **pairs, metavar="OURS=THEIRS", help="their name for a column of the store")
    parser.add_argument("--weight", **pairs, metavar="REWARD=W", help="as in TRL's reward_weights (default: 1 each)")


def run(parsed: argparse.Namespace) -> None:
    from r1rl.store import importers

    with user_errors():
        settings = importers.Settings(
            kind=parsed.kind,
            temperature=parsed.temperature,
            task=parsed.task,
            verifier=parsed.verifier,
            extraction=parsed.extraction,
            correct=parsed.correct,
            columns=dict(parsed.column),
            weights={name: coerce(f"--weight {name}", value, float) for name, value in parsed.weight},
        )
        done = importers.load(
            parsed.source, parsed.to, format=parsed.format, settings=settings, progress=sys.stderr.isatty()
        )
    shown = done.left_out[:_LISTED] + (f"{len(done.left_out) - _LISTED} more",) * (len(done.left_out) > _LISTED)
    left = f"; left out: {', '.join(shown)}" if shown else ""
    sys.stdout.write(f"{done.rollouts:,} rollouts of {done.steps:,} steps ({done.format}) in {parsed.to}{left}\n")
    sys.stdout.writelines(f"  {note}\n" for note in done.notes)
