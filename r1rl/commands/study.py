"""r1rl study: a recipe in several arms and seeds, trained and measured side by side."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from r1rl.commands import user_errors
from r1rl.ground import shipped
from r1rl.ground.errors import RecipeError, RunFailedError
from r1rl.run import exits

if TYPE_CHECKING:
    from r1rl.eval.study.arms import Study
    from r1rl.eval.study.work import Job

SUMMARY = "Train a recipe in several arms and seeds, and tell them side by side."
EXAMPLES = """\
examples:
  r1rl study studies/tiny-controls --dry-run           # what would run, and how long
  r1rl study studies/tiny-controls --jobs 2            # train what is missing, measure, report
  r1rl study studies/tiny-controls --report            # measure what is finished, train nothing
  r1rl study my_study.yaml --slurm --profile my_cluster.yaml --dry-run

A study names a recipe, arms that change it, seeds, and the figures that decide; recipes/studies/ has two to copy.
Everything it makes is in its folder: runs/, bases/, logs/, report.html, report.md, report.json and pictures. Stopped by
Ctrl-C or by its budget, it goes on by the same command."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=shipped.recipe, metavar="STUDY", help="a YAML file, or studies/tiny-controls")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="the study's folder (default: studies/NAME)")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="runs at once, which share the cores (default: 1)"
    )
    parser.add_argument("--budget-hours", type=float, metavar="H", help="stop after so long, with checkpoints")
    parser.add_argument("--dry-run", action="store_true", help="say what would run and how long, and do nothing")
    parser.add_argument("--report", action="store_true", help="train nothing, report what is finished")
    parser.add_argument("--slurm", action="store_true", help="train on a cluster: arms x seeds as one array of jobs")
    parser.add_argument("--profile", metavar="NAME|FILE", help="the cluster's profile (default: example)")


def run(parsed: argparse.Namespace) -> int:
    if parsed.jobs < 1:
        raise RecipeError(f"--jobs {parsed.jobs}: need at least 1")
    if parsed.budget_hours is not None and parsed.budget_hours <= 0:
        raise RecipeError(f"--budget-hours {parsed.budget_hours:g}: need more than 0")
    if parsed.profile is not None and not parsed.slurm:
        raise RecipeError(f"--profile {parsed.profile}: only with --slurm")
    if parsed.slurm and parsed.report:
        raise RecipeError("--slurm, --report: one trains and the other does not; leave one out")
    from r1rl.eval.study import arms, work

    study = arms.load(parsed.study, parsed.out)
    jobs = work.jobs(study)
    if parsed.slurm:
        return _submit(study, jobs, parsed)
    if parsed.dry_run:
        sys.stdout.writelines(f"{line}\n" for line in work.told(study, jobs, parsed.jobs))
        return exits.SUCCESS
    code = exits.SUCCESS if parsed.report else _train(study, jobs, parsed)
    if code == exits.INTERRUPTED or not (parsed.report or any(job.done() for job in jobs if job.kind == "run")):
        return code
    _report(study)
    return code


def _train(study: Study, jobs: list[Job], parsed: argparse.Namespace) -> int:
    """Do what is missing; the exit code."""
    from r1rl.eval.study import running
    from r1rl.eval.study.progress import Progress

    with Progress(study, jobs, parsed.jobs) as progress:
        outcome = running.run(
            jobs,
            study.out / "logs",
            at_once=parsed.jobs,
            budget_hours=parsed.budget_hours,
            tell=progress.tell,
            tick=progress.tick,
        )
    for name, why in outcome.failed.items():
        sys.stderr.write(f"{name} failed: {why}\n")
    left = sum(not job.done() for job in jobs) - len(outcome.failed)
    if outcome.stopped:
        sys.stderr.write(f"{outcome.stopped}; {left} of {len(jobs)} left, the same command goes on\n")
    if outcome.stopped == "interrupted":
        return exits.INTERRUPTED
    return exits.FAILURE if outcome.failed else exits.SUCCESS


def _report(study: Study) -> None:
    from r1rl.eval.study import measured, report
    from r1rl.ground.machine import cores_of_a_rank

    def tell(name: str) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"measuring {name}\n")

    with user_errors():
        found = measured.measure(study, workers=cores_of_a_rank(), tell=tell)
    files = report.write(found, study.out)
    sys.stdout.writelines(f"{sentence}\n" for sentence in found.words())
    sys.stdout.write(f"{files[2]}\n")


def _submit(study: Study, jobs: list[Job], parsed: argparse.Namespace) -> int:
    """The runs that are not done as an array of jobs; the bases they need are built here first."""
    from r1rl.eval.study import running
    from r1rl.launch import slurm, slurm_jobs

    profile = slurm.profile(parsed.profile or "example")
    bases = [job for job in jobs if job.kind == "base" and not job.done()]
    if bases and not parsed.dry_run:
        outcome = running.run(bases, study.out / "logs", at_once=parsed.jobs, budget_hours=parsed.budget_hours)
        if outcome.failed:
            raise RunFailedError("; ".join(f"base {name}: {why}" for name, why in outcome.failed.items()))
        if outcome.stopped:
            raise RunFailedError(f"{outcome.stopped} before the bases were built; nothing is submitted")
    given = [slurm.Run(job.folder.name, list(job.words[2:])) for job in jobs if job.kind == "run" and not job.done()]
    if not given:
        sys.stdout.write("every run is finished; r1rl study STUDY --report reports them\n")
        return exits.SUCCESS
    after = ["study", str(study.source.absolute()), "--out", str(study.out), "--report"]
    job = slurm.render_runs(
        study.recipe,
        given,
        profile,
        name=study.name,
        runs_dir=study.runs_dir,
        checks=[study.checkable(arm) for arm in study.arms],
        after=after,
    )
    if parsed.dry_run:
        sys.stdout.write(job.script)
        return exits.SUCCESS
    made = slurm_jobs.submit(job)
    sys.stdout.write(f"job {made['job']}: {len(given)} runs; r1rl status --runs-dir {study.runs_dir}\n")
    if made["report"]:
        sys.stdout.write(f"job {made['report']}: the report, into {study.out}\n")
    elif "report_refused" in made:
        sys.stderr.write(f"no report job, so run r1rl study --report yourself: {made['report_refused']}\n")
    return exits.SUCCESS
