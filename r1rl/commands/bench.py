"""r1rl bench: measure a part side by side with the plain way, in one run."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Final

from r1rl.bench import graders, report, rollout, store, train
from r1rl.bench import growth as growth_part
from r1rl.bench.tables import text_table
from r1rl.commands import user_errors

SUMMARY = "Measure a part side by side with the plain way."
EXAMPLES = """\
examples:
  r1rl bench train --preset smollm2-short --dtype bf16
  r1rl bench rollout --preset smollm2-longtail --repeats 1
  r1rl bench graders data
  r1rl bench graders data --pairs 1000 --json"""
PARTS: Final = {
    "train": train, "rollout": rollout, "growth": growth_part, "graders": graders, "store": store, "all": report,
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parts = parser.add_subparsers(title="parts", metavar="PART", required=True)
    for name, module in PARTS.items():
        part = parts.add_parser(name, help=module.SUMMARY, description=module.SUMMARY)
        part.set_defaults(measure=module.measure)
        module.add_arguments(part)
        part.add_argument("--json", action="store_true", help="print a list of rows and nothing else")


def run(parsed: argparse.Namespace) -> None:
    with user_errors():
        rows = parsed.measure(parsed)
    sys.stdout.write(json.dumps(rows) + "\n" if parsed.json else text_table(rows))
