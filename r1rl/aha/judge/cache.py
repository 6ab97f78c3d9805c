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
from typing import Any, Final

from r1rl.aha.figures.annotations import FOLDER as ANNOTATIONS
from r1rl.aha.judge.labels import MAX_REPLY_CHARACTERS

FOLDER: Final = "judge"
_MAX_LINE_BYTES: Final = 12 * MAX_REPLY_CHARACTERS + 4096  # a character outside the BMP is 12 bytes of JSON


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's reply; None where it gave none that can be read, and `fault` says why.

    Args:
        cut_at: the reply was cut off at this many tokens, 0 if it was not.
    """

    reply: str | None
    fault: str | None = None
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
        record = {"key": key, "model": self.model, "reply": answer.reply, "fault": answer.fault,
                  "cut_at": answer.cut_at}  # fmt: skip
        line = json.dumps(record).encode() + b"\n"
        # One write to a file opened for appending: lines of two judges at work do not mix.
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(handle).st_size
            torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
            line = b"\n" + line if torn else line
            if os.write(handle, line) < len(line):
                raise OSError(f"{self.path}: the disk took half a line; is it full?")
        finally:
            os.close(handle)
        self._answers[key] = answer


def folder(run_dir: Path | str) -> Path:
    """Where the answers about a run are."""
    return Path(run_dir) / ANNOTATIONS / FOLDER


def models(run_dir: Path | str) -> list[str]:
    """The models that answered anything about this run, sorted."""
    return sorted({model for path in folder(run_dir).glob("*.jsonl") for model, _, _ in _lines(path)})


def _lines(path: Path) -> Iterator[tuple[str, str, Answer]]:
    """Model, key and answer of every line that is one; a later line wins."""
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return
    with stream:
        while line := stream.readline(_MAX_LINE_BYTES):
            try:
                record: Any = json.loads(line) if line.endswith(b"\n") else None
            except (ValueError, RecursionError):
                continue
            if not isinstance(record, dict):
                continue
            model, key, reply = (record.get(name) for name in ("model", "key", "reply"))
            fault, cut_at = record.get("fault"), record.get("cut_at")
            texts = isinstance(model, str) and isinstance(key, str)
            maybe = all(value is None or isinstance(value, str) for value in (reply, fault))
            if texts and maybe and isinstance(cut_at, int) and (reply is None) == (fault is not None):
                yield str(model), str(key), Answer(reply, fault, cut_at)
