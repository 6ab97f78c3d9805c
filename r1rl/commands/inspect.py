"""r1rl inspect: what a run did."""

from __future__ import annotations

import argparse
from pathlib import Path

from r1rl.commands import user_errors

SUMMARY = "Show what a run did, and write its report."
EXAMPLES = """\
examples:
  r1rl inspect runs/countdown-1
  r1rl inspect runs/countdown-1 --json
  r1rl inspect runs/countdown-1 --open yes"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--html", choices=("yes", "no"), default="yes", help="write report.html (default: yes)")
    parser.add_argument("--open", choices=("yes", "no"), default="no", help="open the report (default: no)")


def run(parsed: argparse.Namespace) -> None:
    from r1rl import inspect

    with user_errors():
        inspect.run(parsed.run, as_json=parsed.json, html=parsed.html == "yes")
    if parsed.open == "yes":
        import webbrowser

        webbrowser.open((parsed.run / "report.html").resolve().as_uri())
