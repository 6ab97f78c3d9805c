"""What judges answered before: RUN/annotations/judge/*.jsonl, a line an answer, only ever added to.

A line holds the reply as it came, not what was read out of it, and no text of a rollout: its key is a digest of model,
version of the prompt, question and completion. A line that a kill cut short is not read, and the next one begins anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from r1rl.aha.figures.annotations import FOLDER as ANNOTATIONS


class Cache:
    """The answers to what was asked of one run: `replies` by key, and the `models` that answered anything."""

    def __init__(self, run_dir: Path | str) -> None:
        folder = Path(run_dir) / ANNOTATIONS / "judge"
        self.path = folder / "answers.jsonl"
        self.replies: dict[str, str] = {}
        self.models: set[str] = set()
        for line in (line for path in sorted(folder.glob("*.jsonl")) for line in path.read_bytes().splitlines()):
            try:
                record = json.loads(line)
                model, key, reply = (record[name] for name in ("model", "key", "reply"))
            except (ValueError, RecursionError, LookupError, TypeError):
                continue
            if all(isinstance(text, str) for text in (model, key, reply)) and not record.get("cut_at"):
                self.replies[key] = reply
                self.models.add(model)

    def put(self, model: str, key: str, reply: str) -> None:
        """Keep an answer; it is with the operating system when this returns. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"key": key, "model": model, "reply": reply}).encode() + b"\n"
        with self.path.open("a+b", buffering=0) as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                line = (b"" if file.read(1) == b"\n" else b"\n") + line
            # One write to a file opened for appending: lines of two judges at work do not mix.
            if file.write(line) < len(line):
                raise OSError(f"{self.path}: the disk took half a line; is it full?")
        self.replies[key] = reply
