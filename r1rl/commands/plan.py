"""r1rl plan: what a recipe would do, before it does."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from r1rl.commands import add_recipe, read_options
from r1rl.ground import machine

SUMMARY = "Say what a recipe would do: batch, memory, time, cost, first prompt."
EXAMPLES = """\
examples:
  r1rl plan recipes/tiny/countdown.yaml
  r1rl plan runs/zero/recipe.yaml --check runs/zero
  r1rl plan my_recipe.yaml --nodes 1 --gpus 8 --gpu-memory 80 --price 2.5
  r1rl plan my_recipe.yaml --gpus 8 --launcher zero3 --max_completion_length 2048 --json

No GPU, no weights and no network are needed: a model is known by a folder with its config.json, or, for Qwen2.5 and
DeepSeek-V3, by its name."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_recipe(parser, _options)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help="machines (default: 1)")
    parser.add_argument(
        "--gpus", type=int, metavar="N", help="GPUs of a machine; 0: its CPU (default: as many as this machine has)"
    )
    memory = "of one GPU, or of a machine without any, 10^9 bytes (default: 80, or this machine's)"
    parser.add_argument("--gpu-memory", type=float, metavar="GB", help=memory)
    parser.add_argument("--price", type=float, metavar="P", help="of one GPU-hour")
    parser.add_argument("--tflops", type=float, metavar="T", help="peak of one GPU (default: 989, an H100 in bf16)")
    parser.add_argument("--update-share", type=float, default=0.35, metavar="S", help="of the peak (default: 0.35)")
    parser.add_argument("--sampling-share", type=float, default=0.05, metavar="S", help="of the peak (default: 0.05)")
    parser.add_argument(
        "--mean-share", type=float, default=0.5, metavar="S", help="mean completion over the longest (default: 0.5)"
    )
    parser.add_argument(
        "--check", type=Path, metavar="RUN", help="compare the memory with what a finished CPU run recorded"
    )
    parser.add_argument("--no-gold", action="store_true", help="leave the check of gold answers out")
    parser.add_argument("--json", action="store_true", help="all figures as JSON")


def run(parsed: argparse.Namespace) -> None:
    from r1rl.plan import plan, text, work

    overrides = read_options(parsed, _options)
    rates = ("tflops", "update_share", "sampling_share", "mean_share", "price")
    machines = work.Machines(
        nodes=parsed.nodes,
        gpus=machine.visible_gpus() if parsed.gpus is None else parsed.gpus,
        memory=None if parsed.gpu_memory is None else parsed.gpu_memory * 1e9,
        **{name: getattr(parsed, name) for name in rates},
    )
    made = plan.make(parsed.recipe, overrides, machines, check_gold=not (parsed.no_gold or parsed.check))
    if parsed.json:
        lines = iter([json.dumps(made.content(), indent=2)])
    else:
        lines = text.check(made, parsed.check) if parsed.check else text.lines(made)
    sys.stdout.writelines(f"{line}\n" for line in lines)
