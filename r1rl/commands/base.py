"""r1rl base: the tiny base models."""

from __future__ import annotations

import argparse
import sys

from r1rl.ground.errors import RecipeError

SUMMARY = "Build or show a tiny base model."
EXAMPLES = """\
examples:
  r1rl base build
  r1rl base show"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = "build: pretrain it unless it is cached, print its folder; show: its configuration and measured skills"
    parser.add_argument("action", choices=("build", "show"), metavar="ACTION", help=actions)
    parser.add_argument("name", nargs="?", default="countdown", metavar="NAME", help="default: countdown")


def run(parsed: argparse.Namespace) -> None:
    from r1rl.models import base

    if parsed.name not in base.BASES:
        raise RecipeError(f"base {parsed.name!r}: unknown, known are {', '.join(base.BASES)}")
    folder = base.path(parsed.name)
    shown = (folder / "base.json").read_text(encoding="utf-8") if parsed.action == "show" else f"{folder}\n"
    sys.stdout.write(shown)
