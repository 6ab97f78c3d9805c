"""r1rl compare: two runs side by side."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

SUMMARY = "Compare two runs: recipes, figures, and held-out accuracy problem by problem."
EXAMPLES = """\
examples:
  r1rl compare runs/zero runs/zero-lr2
  r1rl compare runs/a runs/b --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("second", type=Path, metavar="RUN", help="another one")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")


def run(parsed: argparse.Namespace) -> None:
    from rich.console import Console

    from r1rl.inspect import compare

    found = compare.compare(parsed.first, parsed.second)
    if parsed.json:
        sys.stdout.write(json.dumps(dataclasses.asdict(found), default=str) + "\n")
    else:
        compare.show(found, Console(highlight=False))
