"""r1rl status: submitted jobs and how far their runs have come."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

SUMMARY = "Show the Slurm jobs that were submitted, and their steps."
EXAMPLES = """\
examples:
  r1rl status
  r1rl status --runs-dir /scratch/me/runs"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="default: runs")


def run(parsed: argparse.Namespace) -> None:
    from r1rl.launch import slurm_jobs

    jobs = slurm_jobs.jobs(parsed.runs_dir)
    if not jobs:
        sys.stdout.write(f"no submitted jobs in {parsed.runs_dir}\n")
        return
    states = slurm_jobs.states([job["job"] for job in jobs])
    for job in jobs:
        sys.stdout.write(f"{job['job']}  {job['name']}  {states.get(job['job'], 'no longer known to Slurm')}\n")
        for name in job["runs"]:
            sys.stdout.write(f"  {name}: {slurm_jobs.progress(parsed.runs_dir / name)}\n")
        if job.get("report"):
            path = Path(job["report_output"])
            shown = path if path.is_file() else f"waits for the runs (job {job['report']})"
            sys.stdout.write(f"  report: {shown}\n")
