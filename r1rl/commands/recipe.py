"""r1rl recipe: what a recipe may say, for editors."""

from __future__ import annotations

import argparse
import json
import sys

SUMMARY = "Print the JSON Schema of a recipe, for editors."
EXAMPLES = """\
examples:
  r1rl recipe schema > recipe.schema.json

An editor with a YAML language server then knows every key, its values and its help, when the recipe begins with
  # yaml-language-server: $schema=recipe.schema.json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("schema",), metavar="schema")


def run(parsed: argparse.Namespace) -> None:
    from r1rl.recipe import schema

    sys.stdout.write(json.dumps(schema.schema(), indent=2, ensure_ascii=False) + "\n")
