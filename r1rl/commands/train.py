"""r1rl train: start a recipe."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from r1rl import launch
from r1rl.recipe_keys import Recipe

SUMMARY = "Train a recipe."
EXAMPLES = "\n".join(
    [
        "keys of r1rl itself:",
        *(f"  {item.name:<18} {item.metadata['help']}" for item in dataclasses.fields(Recipe)),
        """
examples:
  r1rl train recipes/tiny/countdown.yaml
  r1rl train recipes/tiny/countdown.yaml --seed 1 --max_steps 40 --name short
  r1rl train recipes/tiny/countdown.yaml --launcher cpu_ddp2
  r1rl train recipes/smollm2-135m/mawps.yaml --task_options.path mawps.jsonl

Every key of the recipe can be given as --key value: r1rl's own, listed above, and every field of TRL's
GRPOConfig (https://huggingface.co/docs/trl/grpo_trainer) and ModelConfig.""",
    ]
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="the recipe's YAML file")
    parser.add_argument("overrides", nargs=argparse.REMAINDER, metavar="--key value", help="recipe keys to override")


def run(parsed: argparse.Namespace) -> int:
    if any(word in ("-h", "--help") for word in parsed.overrides):
        parsed.parser.parse_args(["--help"])
    return launch.train(parsed.recipe, parsed.overrides)
