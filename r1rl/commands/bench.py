"""r1rl bench: measure a part side by side with the plain way, in one run."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, Final

from benchmarks import aha, graders, growth, report, rollout, store, train
from benchmarks import inspect as inspect_part
from benchmarks.paired import Row, Stopped
from benchmarks.tables import text_table
from r1rl.commands import user_errors

SUMMARY = "Measure a part side by side with the plain way."
EXAMPLES = """\
examples:
  r1rl bench train --preset tiny --repeats 7 --warmup 1
  r1rl bench rollout --preset smollm2-longtail --repeats 1
  r1rl bench growth --over group
  r1rl bench graders data --pairs 1000 --json
  r1rl bench all --data data

Each part has its own help: r1rl bench PART --help. Ctrl-C shows what was measured by then."""
PARTS: Final[dict[str, Any]] = {
    "train": train,
    "rollout": rollout,
    "growth": growth,
    "graders": graders,
    "store": store,
    "inspect": inspect_part,
    "aha": aha,
    "all": report,
}

_EXAMPLES: Final = {
    "graders": "examples:\n  r1rl bench graders data\n  r1rl bench graders data --pairs 1000 --json",
    "store": "examples:\n  r1rl bench store --rollouts 100000\n  r1rl bench store --folder /scratch --json",
    "aha": "examples:\n  r1rl bench aha\n  r1rl bench aha --rollouts 1000 --json",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parts = parser.add_subparsers(title="parts", metavar="PART", required=True)
    for name, module in PARTS.items():
        part = parts.add_parser(
            name,
            help=module.SUMMARY,
            description=module.SUMMARY,
            epilog=_EXAMPLES.get(name) or module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        part.set_defaults(measure=module.measure)
        module.add_arguments(part)
        part.add_argument("--json", action="store_true", help="print a list of rows and nothing else")


def run(parsed: argparse.Namespace) -> None:
    with user_errors():
        try:
            rows = parsed.measure(parsed)
        except Stopped as stopped:
            _show(stopped.rows, as_json=parsed.json)
            raise
    _show(rows, as_json=parsed.json)


def _show(rows: list[Row], *, as_json: bool) -> None:
    sys.stdout.write(json.dumps(rows) + "\n" if as_json else text_table(rows))
