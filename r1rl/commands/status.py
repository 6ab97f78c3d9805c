"""r1rl status: the runs that are here and the jobs that were submitted, and how far they have come."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from r1rl.run.overview import Overview

SUMMARY = "Show how far runs and submitted jobs are, who trains them, what they spent, and their last alarm."
EXAMPLES = """\
examples:
  r1rl status
  r1rl status --runs-dir /scratch/me/runs"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="default: runs")


def run(parsed: argparse.Namespace) -> None:
    from r1rl.run.overview import overviews

    found = overviews(parsed.runs_dir) if parsed.runs_dir.is_dir() else []
    submitted = _submitted(parsed.runs_dir)
    if not found and not submitted:
        sys.stdout.write(f"no runs and no submitted jobs in {parsed.runs_dir}\n")
    for each in found:
        sys.stdout.writelines(f"{line}\n" for line in _lines(each))


def _lines(each: Overview) -> Iterator[str]:
    """A run: how far it is and who trains it; what it has spent, and its last alarm."""
    of = f" of {each.steps}" if each.steps else ""
    parts = [each.state, "no step yet" if each.step is None else f"step {each.step}{of}"]
    if each.reward is not None:
        parts.append(f"reward {each.reward:.3f}")
    if each.heldout is not None:
        parts.append(f"held-out {each.heldout:.1%}")
    yield f"{each.name}  {', '.join(parts)}"
    for name, text in (("held by", each.holder), ("spent", each.spent), ("alarm", each.alarm)):
        if text is not None:
            yield f"  {name} {text}"


def _submitted(runs_dir: Path) -> bool:
    """Print the jobs that were submitted; whether there are any."""
    from r1rl.launch import slurm_jobs

    jobs = slurm_jobs.jobs(runs_dir)
    states = slurm_jobs.states([job["job"] for job in jobs])
    for job in jobs:
        sys.stdout.write(f"{job['job']}  {job['name']}  {states.get(job['job'], 'no longer known to Slurm')}\n")
        for name in job["runs"]:
            sys.stdout.write(f"  {name}: {slurm_jobs.progress(runs_dir / name)}\n")
        if job.get("report"):
            path = Path(job["report_output"])
            shown = path if path.is_file() else f"waits for the runs (job {job['report']})"
            sys.stdout.write(f"  report: {shown}\n")
    return bool(jobs)
