"""What commands that read runs do with a path to another tool's rollouts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from r1rl.commands import user_errors
from r1rl.ground.errors import RecipeError

if TYPE_CHECKING:
    from r1rl.store.importers.opening import Opened


def add_out(parser: argparse.ArgumentParser) -> None:
    """The option that says where rollouts of another tool are imported to."""
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where rollouts of another tool are imported to (default: the cache)"
    )


def runs_of(paths: Sequence[Path], out: Path | None = None) -> list[Path]:
    """The run folders to read; of another tool's rollouts their imports. Says on stderr what cannot be computed.

    Raises:
        RecipeError: rollouts that cannot be read, or one `out` for several paths.
    """
    from r1rl.store.importers import opened

    if out is not None and len(paths) > 1:
        raise RecipeError(f"--out {out}: for one path; leave it out to import several into the cache")
    with user_errors():
        found = [opened(path, out, progress=sys.stderr.isatty()) for path in paths]
    return [_told(path, one) for path, one in zip(paths, found, strict=True)]


def _told(path: Path, found: Opened) -> Path:
    if found.format is not None:
        where = "" if found.run == path else f", imported into {found.run}"
        sys.stderr.write(f"{path}: rollouts of another tool ({found.format}){where}\n")
        sys.stderr.writelines(f"  {note}\n" for note in found.notes)
    return found.run
