"""What judges answered before: RUN/annotations/judge/<model>.jsonl, a line an answer, only ever added to.

A line holds the reply as it came, not what was read out of it, and no text of a rollout: its key is a digest of model,
version of the prompt, question and completion. A line that a kill cut short is not read, and the next one begins anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from r1rl.aha.figures.annotations import FOLDER as ANNOTATIONS

FOLDER: Final = "judge"


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's reply, which was cut off at `cut_at` tokens, 0 if it was not."""

    reply: str
    cut_at: int = 0


class Cache:
    """The answers of one model to what was asked of one run."""

    def __init__(self, run_dir: Path | str, model: str) -> None:
        self.model = model
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", model).strip("-.")[:60]
        digest = hashlib.sha256(model.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        self.path = folder(run_dir) / f"{name or 'model'}-{digest}.jsonl"
        self._answers = {key: answer for its, key, answer in _lines(self.path) if its == model}

    def get(self, key: str, max_tokens: int = 0) -> Answer | None:
        """The answer; None where there is none, or one that was cut off where it might now be longer."""
        found = self._answers.get(key)
        return None if found is not None and 0 < found.cut_at < max_tokens else found

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer; it is with the operating system when this returns. Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        record = {"key": key, "model": self.model, "reply": answer.reply, "cut_at": answer.cut_at}
        line = json.dumps(record).encode() + b"\n"
        with self.path.open("a+b", buffering=0) as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                line = (b"" if file.read(1) == b"\n" else b"\n") + line
            # One write to a file opened for appending: lines of two judges at work do not mix.
            if file.write(line) < len(line):
                raise OSError(f"{self.path}: the disk took half a line; is it full?")
        self._answers[key] = answer


def folder(run_dir: Path | str) -> Path:
    """Where the answers about a run are."""
    return Path(run_dir) / ANNOTATIONS / FOLDER


def models(run_dir: Path | str) -> list[str]:
    """The models that answered anything about this run, sorted."""
    return sorted({model for path in folder(run_dir).glob("*.jsonl") for model, _, _ in _lines(path)})


def _lines(path: Path) -> Iterator[tuple[str, str, Answer]]:
    """Model, key and answer of every line that is one; a later line wins."""
    if not path.is_file():
        return
    with path.open("rb") as stream:
        for line in stream:
            try:
                record = json.loads(line)
                model, key, reply, cut_at = (record[name] for name in ("model", "key", "reply", "cut_at"))
            except (ValueError, RecursionError, LookupError, TypeError):
                continue
            if all(isinstance(text, str) for text in (model, key, reply)) and isinstance(cut_at, int):
                yield model, key, Answer(reply, cut_at)
