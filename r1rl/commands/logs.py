"""r1rl logs: what a submitted job has printed."""

from __future__ import annotations

import argparse
import sys
from collections import deque
from pathlib import Path

SUMMARY = "Print the last lines of a Slurm job's output."
EXAMPLES = """\
examples:
  r1rl logs
  r1rl logs 4711 --lines 200"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("job", type=int, nargs="?", metavar="JOB", help="default: the last one")
    parser.add_argument("--lines", type=int, default=40, metavar="N", help="of each file (default: 40)")
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="default: runs")


def run(parsed: argparse.Namespace) -> None:
    from r1rl.ground.errors import RecipeError
    from r1rl.launch import slurm_jobs

    jobs = [job for job in slurm_jobs.jobs(parsed.runs_dir) if parsed.job in (None, job["job"])]
    if not jobs:
        raise RecipeError(f"job={parsed.job}: no such job in {parsed.runs_dir}; r1rl status lists them")
    files = slurm_jobs.logs(jobs[-1])
    if not files:
        sys.stdout.write(f"job {jobs[-1]['job']} has printed nothing yet\n")
    for path in files:
        sys.stdout.write(f"==> {path}\n")
        with path.open(encoding="utf-8", errors="replace") as stream:
            sys.stdout.writelines(deque(stream, maxlen=max(1, parsed.lines)))
