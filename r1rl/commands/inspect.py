"""r1rl inspect: what a run did."""

from __future__ import annotations

import argparse
from pathlib import Path

from r1rl.commands import foreign, user_errors

SUMMARY = "Show what a run did, and write its report."
EXAMPLES = """\
examples:
  r1rl inspect runs/countdown-1
  r1rl inspect runs/countdown-1 --json
  r1rl inspect runs/countdown-1 --open
  r1rl inspect logs/math.eval             # rollouts of another tool, see docs/rollouts.md"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder, or rollouts of another tool")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--no-html", action="store_true", help="write no report.html")
    parser.add_argument("--open", action="store_true", help="open the report")
    foreign.add_out(parser)


def run(parsed: argparse.Namespace) -> None:
    from r1rl import inspect

    with user_errors():
        if parsed.open and parsed.no_html:
            raise ValueError("--open, --no-html: without a report there is none to open; leave one of the two out")
        (run_dir,) = foreign.runs_of([parsed.run], parsed.out)
        inspect.run(run_dir, as_json=parsed.json, html=not parsed.no_html)
    if parsed.open:
        import webbrowser

        webbrowser.open((run_dir / "report.html").resolve().as_uri())
