"""r1rl bench: measure a part side by side with the plain way, in one run."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Final

from r1rl.bench import graders
from r1rl.commands import print_table, user_errors

SUMMARY = "Measure a part side by side with the plain way."
EXAMPLES = """\
examples:
  r1rl bench graders data
  r1rl bench graders data --pairs 1000 --json"""
PARTS: Final = {"graders": graders}


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
    if parsed.json:
        sys.stdout.write(json.dumps(rows) + "\n")
        return
    sys.stdout.write(f"{rows[0]['machine']}; medians of interleaved repeats\n")
    print_table({r["name"]: f"{r['ours']:>10,} {r['peer']:>10,} {r['unit']}  {r['ratio']:.2f}x" for r in rows})
