"""r1rl tasks: where questions come from."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

from r1rl.commands import print_table

SUMMARY = "List the tasks a recipe can name, and data sets that are known by name."
EXAMPLES = """\
examples:
  r1rl tasks
  r1rl tasks --json

A data set by name is the task `file` with its options filled in: `task: gsm8k` in a recipe trains on its training
split, `r1rl eval … --task gsm8k` asks its test split. --task_options.path FILE takes a local copy of the same rows."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def run(parsed: argparse.Namespace) -> None:
    from r1rl import tasks
    from r1rl.tasks import presets

    kinds = {name: tasks.describe(name) for name in tasks.names()}
    if parsed.json:
        known = {name: dataclasses.asdict(preset) for name, preset in presets.PRESETS.items()}
        sys.stdout.write(json.dumps({"tasks": kinds, "presets": known}, indent=2) + "\n")
        return
    print_table(kinds)
    sys.stdout.write("\ndata sets by name:\n")
    print_table({name: presets.describe(preset) for name, preset in presets.PRESETS.items()})
