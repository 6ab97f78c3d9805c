"""What commands that read runs do with a path to another tool's rollouts."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from r1rl.commands import user_errors


def add_out(parser: argparse.ArgumentParser) -> None:
    """The option that says where rollouts of another tool are imported to."""
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where rollouts of another tool are imported to (default: the cache)"
    )


def run_of(path: Path, out: Path | None = None) -> Path:
    """The run folder to read; of another tool's rollouts their import. Says on stderr what cannot be computed of it."""
    from r1rl.store.importers import opened

    with user_errors():
        found = opened(path, out, progress=sys.stderr.isatty())
    if found.format is not None:
        where = "" if found.run == path else f", imported into {found.run}"
        sys.stderr.write(f"{path}: rollouts of another tool ({found.format}){where}\n")
        sys.stderr.writelines(f"  {note}\n" for note in found.notes)
    return found.run
