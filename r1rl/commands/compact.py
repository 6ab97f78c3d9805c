"""r1rl compact: many small shards into few."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from r1rl.commands import user_errors

SUMMARY = "Merge a run's many small shards into few, in the current schema; safe while the run goes on."
EXAMPLES = """\
examples:
  r1rl compact runs/countdown-1
  r1rl compact runs/countdown-1 --megabytes 512

No rollout changes. Reading gets faster; a kill at any moment leaves a whole store, and the next call goes on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument("--megabytes", type=int, default=256, metavar="N", help="size of a full shard (default: 256)")


def run(parsed: argparse.Namespace) -> None:
    from r1rl.store import compaction

    with user_errors():
        if parsed.megabytes < 1:
            raise ValueError(f"megabytes={parsed.megabytes}: need >= 1; try 256")
        done = compaction.compact(parsed.run, target_bytes=parsed.megabytes * 2**20, progress=sys.stderr.isatty())
    later = f"; {done.skipped} groups changed meanwhile, call it again for them" if done.skipped else ""
    sys.stdout.write(f"{done.before:,} shards became {done.after:,}{later}\n")
