"""The folder of built and converted models, and whole folders in it."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


def cache_dir() -> Path:
    """Where built and converted models are kept: `$R1RL_CACHE`, else `r1rl` in the user's cache folder."""
    given = os.environ.get("R1RL_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "r1rl"


def publish(target: Path, model: object, tokenizer: object) -> Path:
    """Save model and tokenizer into `target`, which appears whole or not at all; the first of two writers wins."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        model.save_pretrained(folder)  # type: ignore[attr-defined]
        tokenizer.save_pretrained(folder)  # type: ignore[attr-defined]
        folder.chmod(0o755)
        try:
            folder.rename(target)
        except OSError:
            if not (target / "config.json").is_file():
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return target
