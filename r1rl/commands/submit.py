"""r1rl submit: a recipe as a Slurm job."""

from __future__ import annotations

import argparse
import sys

from r1rl.commands import add_recipe, read_options

SUMMARY = "Train a recipe on a Slurm cluster."
EXAMPLES = """\
examples:
  r1rl submit my_recipe.yaml --profile my_cluster.yaml --nodes 4 --launcher zero3 --dry-run
  r1rl submit my_recipe.yaml --profile my_cluster.yaml --nodes 5 --vllm server
  r1rl submit recipes/tiny/countdown.yaml --profile cpu --seeds 5 --sweep learning_rate=1e-4,3e-4

What is particular to a cluster stands in the profile: copy slurm/profiles/example.yaml. A job that is stopped before
its end, by a time limit or by preemption, saves a checkpoint, is requeued and goes on from there. Over seeds, a second
job measures reflection in all of them together (r1rl aha) when the last one has ended."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser, _options)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", metavar="NAME|FILE", help="the cluster's profile (default: example)")
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help="all nodes, a vLLM server's included")
    parser.add_argument("--vllm", metavar="WHERE", help="none, colocate or server; default: as the recipe says")
    parser.add_argument("--seeds", type=int, metavar="N", help="an array of runs with the seeds 0 to N - 1")
    parser.add_argument("--sweep", action="append", default=[], metavar="KEY=V,V", help="an array over values of a key")
    parser.add_argument(
        "--max-requeues", type=int, default=10, metavar="N", help="of a stopped job (default: 10; 0: none)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the script, submit nothing")
    parser.add_argument("--test-only", action="store_true", help="let sbatch check the script, submit nothing")


def run(parsed: argparse.Namespace) -> None:
    from r1rl.launch import slurm, slurm_jobs

    overrides = read_options(parsed, _options)
    profile = slurm.profile(parsed.profile or "example")
    if parsed.profile is None:
        sys.stderr.write(
            f"no --profile: taking the example's {profile.gpus_per_node} GPUs a node; copy slurm/profiles/example.yaml "
            "for your cluster\n"
        )
    job = slurm.render(
        parsed.recipe,
        overrides,
        profile,
        nodes=parsed.nodes,
        vllm=parsed.vllm,
        seeds=parsed.seeds,
        sweeps=parsed.sweep,
        max_requeues=parsed.max_requeues,
    )
    if parsed.dry_run:
        sys.stdout.write(job.script)
    elif parsed.test_only:
        sys.stdout.write(slurm_jobs.sbatch(job.script, "--test-only") + "\n")
    else:
        made = slurm_jobs.submit(job)
        number = made["job"]
        sys.stdout.write(f"job {number}: {', '.join(made['runs'])}; r1rl status, r1rl logs {number}\n")
        if made["report"]:
            sys.stdout.write(f"job {made['report']}: their report, into {made['report_output']}\n")
        elif "report_refused" in made:
            sys.stderr.write(f"no report job, so run r1rl aha on the runs yourself: {made['report_refused']}\n")
