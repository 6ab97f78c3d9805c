"""r1rl plan: what a recipe would do, before it does."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from r1rl.commands import read_options

SUMMARY = "Say what a recipe would do: batch, memory, time, cost, first prompt."
EXAMPLES = """\
examples:
  r1rl plan recipes/tiny/countdown.yaml --gpus 0
  r1rl plan my_recipe.yaml --nodes 1 --gpus 8 --gpu-memory 80 --price 2.5
  r1rl plan my_recipe.yaml --gpus 8 --launcher zero3 --max_completion_length 2048 --json

No GPU, no weights and no network are needed: a model is known by a folder with its config.json, or, for Qwen2.5, by
its name."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="the recipe's YAML file")
    _options(parser)
    parser.add_argument("overrides", nargs=argparse.REMAINDER, metavar="--key value", help="recipe keys to override")


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help="machines (default: 1)")
    parser.add_argument("--gpus", type=int, default=1, metavar="N", help="GPUs of a machine (default: 1); 0: its CPU")
    parser.add_argument("--gpu-memory", type=float, default=80.0, metavar="GB", help="of one GPU, 10^9 bytes")
    parser.add_argument("--price", type=float, metavar="P", help="of one GPU-hour")
    parser.add_argument(
        "--tflops", type=float, default=989.0, metavar="T", help="peak of one GPU (default: H100, bf16)"
    )
    parser.add_argument("--update-share", type=float, default=0.35, metavar="S", help="of the peak (default: 0.35)")
    parser.add_argument("--sampling-share", type=float, default=0.05, metavar="S", help="of the peak (default: 0.05)")
    parser.add_argument(
        "--mean-share", type=float, default=0.5, metavar="S", help="mean completion over the longest (default: 0.5)"
    )
    parser.add_argument("--no-gold", action="store_true", help="leave the check of gold answers out")
    parser.add_argument("--json", action="store_true", help="all figures as JSON")


def run(parsed: argparse.Namespace) -> None:
    from r1rl import plan
    from r1rl.recipe_values import RecipeError

    overrides = read_options(parsed, _options)
    for name, least in (("nodes", 1), ("gpus", 0)):
        if getattr(parsed, name) < least:
            raise RecipeError(f"{name}={getattr(parsed, name)}: need at least {least}")
    for name in ("gpu_memory", "tflops", "update_share", "sampling_share", "mean_share"):
        if not getattr(parsed, name) > 0:
            raise RecipeError(f"{name}={getattr(parsed, name)}: need more than 0")
    machines = plan.Machines(
        nodes=parsed.nodes,
        gpus=parsed.gpus,
        gpu_memory=parsed.gpu_memory * 1e9,
        tflops=parsed.tflops,
        update_share=parsed.update_share,
        sampling_share=parsed.sampling_share,
        mean_share=parsed.mean_share,
        price=parsed.price,
    )
    made = plan.make(parsed.recipe, overrides, machines, check_gold=not parsed.no_gold)
    if parsed.json:
        sys.stdout.write(json.dumps(made.content(), indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in plan.lines(made))
