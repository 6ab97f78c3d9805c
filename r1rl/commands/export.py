"""r1rl export: rollouts for somebody else's tool."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from r1rl.commands import user_errors

SUMMARY = "Write rollouts to a JSONL or Parquet file, all or those a condition holds for."
EXAMPLES = """\
examples:
  r1rl export runs/countdown-1 --to rollouts.parquet
  r1rl export runs/countdown-1 --to sft.jsonl --columns prompt,completion \\
      --where "kind = 'train' AND verdict = 'correct' AND finish_reason = 'eos'"
  r1rl export runs/countdown-1 --to waits.jsonl --where "step >= 40 AND contains(completion, 'Wait')" --limit 100

The condition is DuckDB's SQL over a rollout's columns (kind, step, prompt_id, completion, verdict, reward, n_tokens
and so on); it can read nothing else. A file with the columns prompt and completion is what TRL's SFTTrainer takes."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument("--to", type=Path, required=True, metavar="FILE", help="a name that ends in .jsonl or .parquet")
    parser.add_argument("--where", default="true", metavar="SQL", help="a condition (default: all rollouts)")
    parser.add_argument(
        "--columns", metavar="A,B", help="columns in this order (default: all but the lists token_ids and logprobs)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="the first N at most")
    parser.add_argument("--overwrite", action="store_true", help="replace the file")


def run(parsed: argparse.Namespace) -> None:
    from r1rl.store.export import export

    columns = None if parsed.columns is None else [name.strip() for name in parsed.columns.split(",")]
    with user_errors():
        chosen = {"where": parsed.where, "columns": columns, "limit": parsed.limit}
        rows = export(parsed.run, parsed.to, **chosen, overwrite=parsed.overwrite)
    sys.stdout.write(f"{rows:,} rollouts in {parsed.to}\n")
