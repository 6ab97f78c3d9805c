"""Where recipes and job templates that come with r1rl are: inside the installed package, or beside it in a clone."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def folder(name: str) -> Path:
    """The folder `recipes` or `slurm`."""
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def recipe(name: str) -> Path:
    """The recipe file that a user names: a file of his own, else one that comes with r1rl.

    `recipes/tiny/countdown.yaml` is the file of that path where it exists, and the shipped recipe anywhere else;
    `tiny/countdown` is the same recipe. A name that fits neither is returned as it is.
    """
    own = Path(name)
    if own.exists() and not own.is_dir():
        return own
    inside = own.relative_to("recipes") if own.parts[:1] == ("recipes",) else own
    found = folder("recipes") / inside.with_suffix(".yaml")
    return found if not own.is_absolute() and ".." not in own.parts and found.is_file() else own
