"""r1rl train: start a recipe."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

from r1rl.commands import add_recipe, read_options
from r1rl.ground.errors import RecipeError
from r1rl.ground.values import read_yaml
from r1rl.launch import start
from r1rl.recipe import changes, launchers
from r1rl.recipe.keys import Recipe
from r1rl.run import cpu_processes, exits, lock

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
    add_recipe(parser, _options)


def _options(parser: argparse.ArgumentParser) -> None:
    """None of its own: everything is a key of the recipe."""


def run(parsed: argparse.Namespace) -> int:
    return train(parsed.recipe, read_options(parsed, _options))


def train(recipe: Path, overrides: Sequence[str] = ()) -> int:
    """Train a recipe and return the exit code: 0, or 1 for a failure.

    Without a launcher the training runs in this process. With one, the recipe is checked here, for its number
    of processes, before any of them starts.

    Raises:
        RecipeError: the recipe or an override is wrong.
    """
    named = _named_launcher(recipe, overrides)
    if named is None:
        from r1rl.train import main as training

        return training.main(["--config", str(recipe), *overrides]) or exits.SUCCESS
    launcher = launchers.find(named, recipe.parent)
    processes = launchers.require_processes(launcher)
    if launcher.kind == "DEEPSPEED" and importlib.util.find_spec("deepspeed") is None:
        raise RecipeError(f"launcher={named!r}: DeepSpeed is not installed; try pip install 'r1rl[deepspeed]'")
    environment = os.environ | {launchers.EXPECTED_WORLD_SIZE: str(processes)}
    environment |= cpu_processes.environment(launcher.kind)

    from r1rl.recipe import load as recipes
    from r1rl.run import folder as run_folder

    loaded = recipes.load(recipe, overrides, world_size=processes, check_only=True)
    name = str(loaded.recipe.name)
    run_folder.check_name(name, loaded.recipe.runs_dir, resume=loaded.recipe.resume)
    lock.refuse(loaded.folder.path)
    changes.check(loaded)
    # The name is settled here, so that all processes write into one folder.
    words = start.command(launcher, recipe, [*overrides, "--name", name], start.free_port())
    return start.run(words, environment)


def _named_launcher(recipe: Path, overrides: Sequence[str]) -> str | None:
    """The `launcher` key, read without the imports that a full check takes."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--launcher", nargs="?", default=read_yaml(recipe).get("launcher"))
    value = parser.parse_known_args(list(overrides))[0].launcher
    return None if str(value).lower() in ("none", "null", "") else str(value)
