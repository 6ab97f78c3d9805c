"""r1rl base: the tiny base models."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from r1rl.ground.errors import RecipeError

SUMMARY = "List, show or build the tiny base models."
EXAMPLES = """\
examples:
  r1rl base
  r1rl base show
  r1rl base build --out base-countdown"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = (
        "list: the bases that ship, and their skills (default); show: the manifest of one; "
        "build: pretrain one again from its corpus (about 20 minutes), print its folder"
    )
    parser.add_argument(
        "action", nargs="?", default="list", choices=("list", "show", "build"), metavar="ACTION", help=actions
    )
    parser.add_argument("name", nargs="?", default="countdown", metavar="NAME", help="default: countdown")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="build into it (default: base-NAME)")


def run(parsed: argparse.Namespace) -> None:
    from r1rl.models import base
    from r1rl.models.base.examine import Skills

    if parsed.name not in base.BASES:
        raise RecipeError(f"base {parsed.name!r}: unknown, known are {', '.join(base.BASES)}")
    if parsed.out and parsed.action != "build":
        raise RecipeError(f"--out {parsed.out}: only with build")
    if parsed.action == "build":
        sys.stdout.write(f"{base.build(parsed.name, parsed.out or Path(f'base-{parsed.name}'))}\n")
        return
    if parsed.action == "show":
        sys.stdout.write((base.path(parsed.name) / base.MANIFEST).read_text(encoding="utf-8"))
        return
    for name in base.BASES:
        content = base.manifest(folder := base.path(name))
        sys.stdout.write(
            f"base:{name}  {content['parameters']:,} parameters, in {folder}\n  {Skills(**content['skills']).text()}\n"
        )
