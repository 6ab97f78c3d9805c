"""Seeing what a run did: figures with intervals, a terminal summary, and one offline HTML report."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from rich.console import Console

from r1rl.inspect.report import write_report
from r1rl.inspect.run_data import load
from r1rl.inspect.summary import summarise
from r1rl.inspect.terminal import print_summary

__all__ = ["load", "print_summary", "run", "summarise", "write_report"]


def run(run_dir: Path | str, *, as_json: bool = False, html: bool = True, console: Console | None = None) -> None:
    """`r1rl inspect`: print the summary of a run (as one JSON object, or for readers) and write its report.

    Args:
        run_dir: the run's folder.
        as_json: print `summarise`'s object to standard output and nothing else.
        html: write `report.html` into the run's folder.
        console: where the readers' summary goes; standard output by default.

    Raises:
        ValueError: the folder is no run, has no evaluation yet, or holds an unreadable file.
    """
    data = load(run_dir)
    report = write_report(data) if html else None
    if as_json:
        sys.stdout.write(json.dumps(summarise(data), indent=2, allow_nan=False) + "\n")
        return
    console = console or Console()
    print_summary(data, console)
    if report is not None:
        console.print()
        console.print(f"report: {report}", markup=False, highlight=False, soft_wrap=True)
