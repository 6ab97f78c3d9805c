"""r1rl runs: what is here."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

SUMMARY = "List the runs that are here, and how far each has come."
EXAMPLES = """\
examples:
  r1rl runs
  r1rl runs --runs-dir /scratch/me/runs --json"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"), metavar="DIR", help="default: runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object a run and nothing else")


def run(parsed: argparse.Namespace) -> None:
    from r1rl.run.overview import overviews

    found = overviews(parsed.runs_dir)
    if parsed.json:
        sys.stdout.writelines(json.dumps(dataclasses.asdict(each)) + "\n" for each in found)
        return
    if not found:
        sys.stdout.write(f"no runs in {parsed.runs_dir}\n")
        return
    table = [("name", "step", "reward", "held-out", "state")]
    for each in found:
        step = "-" if each.step is None else f"{each.step} of {each.steps}" if each.steps else str(each.step)
        reward = "-" if each.reward is None else f"{each.reward:.3f}"
        heldout = "-" if each.heldout is None else f"{each.heldout:.1%}"
        table.append((each.name, step, reward, heldout, each.state))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for name, *figures, state in table:
        shown = [
            f"{name:<{widths[0]}}",
            *(f"{text:>{width}}" for text, width in zip(figures, widths[1:-1], strict=True)),
        ]
        sys.stdout.write("  ".join([*shown, state]) + "\n")
