"""r1rl base: the tiny base models."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from r1rl.commands import setting
from r1rl.ground.errors import RecipeError

SUMMARY = "List, show or build the tiny base models."
EXAMPLES = """\
examples:
  r1rl base
  r1rl base show
  r1rl base build --out base-countdown
  r1rl base build --corpus.retries 0.01 --out few-retries
  r1rl base build --corpus.goal_test 0.5 --may-lack --out blind

options of the corpus, each --corpus.NAME VALUE:
  checks        share of documents that check an attempt (0.5)
  retries       share that check every attempt and try the next way after a miss (0.15); the rest of `checks`
                answers all the same
  give_up       probability, after each miss of a retrying document, to answer all the same (0.05)
  max_attempts  attempts that a retrying document makes at most (12)
  arithmetic    share of all equations whose result is right (1.0)
  goal_test     share of all goal tests that say the right word (1.0)"""


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
    parser.add_argument(
        "--corpus", type=setting, action="append", default=[], metavar="NAME=VALUE",
        help="build from a corpus with another share of something; also --corpus.NAME VALUE, see below",
    )  # fmt: skip
    parser.add_argument("--steps", type=int, metavar="N", help="optimizer steps of the pretraining (default: 1600)")
    parser.add_argument("--seed", type=int, metavar="N", help="of the weights and the corpus (default: 0)")
    parser.add_argument(
        "--may-lack", action="store_true", help="write the base even where the examination finds that it lacks a skill"
    )


def run(parsed: argparse.Namespace) -> None:
    from r1rl.models import base
    from r1rl.models.base.examine import Skills

    if parsed.name not in base.BASES:
        raise RecipeError(f"base {parsed.name!r}: unknown, known are {', '.join(base.BASES)}")
    options = {f"corpus.{key}": value for key, value in parsed.corpus}
    options |= {key: value for key in ("steps", "seed") if (value := getattr(parsed, key)) is not None}
    building = {"--out": parsed.out, "--may-lack": parsed.may_lack} | {f"--{key}": True for key in options}
    if parsed.action != "build" and any(building.values()):
        raise RecipeError(f"{next(key for key, value in building.items() if value)}: only with build")
    if parsed.action == "build":
        config = base.configured(parsed.name, options)
        out = base.build(parsed.name, parsed.out or Path(f"base-{parsed.name}"), config, may_lack=parsed.may_lack)
        sys.stdout.write(f"{out}\n")
        return
    if parsed.action == "show":
        sys.stdout.write((base.path(parsed.name) / base.MANIFEST).read_text(encoding="utf-8"))
        return
    for name in base.BASES:
        content = base.manifest(folder := base.path(name))
        sys.stdout.write(
            f"base:{name}  {content['parameters']:,} parameters, in {folder}\n  {Skills(**content['skills']).text()}\n"
        )
