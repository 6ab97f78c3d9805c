"""Rows into shards of whole steps, judged where a verifier is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from r1rl.store import store
from r1rl.store.importers.formats.base import Settings

BUFFERED_ROWS: Final = 20_000
BUFFERED_CHARACTERS: Final = 256 * 2**20


class Sink:
    """Writes rows as shards of whole steps, as long as a step's rows come together; holds few in memory."""

    def __init__(self, run: Path, settings: Settings) -> None:
        self._run, self._settings = run, settings
        self._waiting: dict[tuple[str, int], list[dict[str, Any]]] = {}
        self.parts: Counter[tuple[str, int]] = Counter()
        self._rows = self._characters = self.rollouts = self.largest_group = 0

    def add(self, row: dict[str, Any]) -> None:
        """Take one row; it is written later."""
        key = (row["kind"], row["step"])
        if self._rows >= BUFFERED_ROWS or self._characters >= BUFFERED_CHARACTERS:
            self._flush([k for k in self._waiting if k != key] or [key])
        self._waiting.setdefault(key, []).append(row)
        self._rows += 1
        self._characters += _length(row)

    def close(self) -> None:
        """Write what is left."""
        self._flush(list(self._waiting))

    def _flush(self, keys: Sequence[tuple[str, int]]) -> None:
        for kind, step in keys:
            rows = self._waiting.pop((kind, step))
            self._rows -= len(rows)
            self._characters -= sum(map(_length, rows))
            part = self.parts[kind, step]
            self.parts[kind, step] += 1
            groups: dict[tuple[str, bool], int] = {}
            samples: Counter[tuple[str, bool]] = Counter()
            for row in rows:
                name = row.pop("group"), row.get("temperature") == 0
                row["group_id"] = f"{kind}-{step}-{part}-{groups.setdefault(name, len(groups))}"
                row["sample_idx"] = samples[name]
                samples[name] += 1
            self.largest_group = max(self.largest_group, *samples.values())
            _grade(rows, self._settings)
            store.write_shard(self._run, rows, kind=kind, step=step, rank=part, imported=True)
            self.rollouts += len(rows)


def _length(row: dict[str, Any]) -> int:
    return len(row["prompt"]) + len(row["completion"]) + 8 * len(row.get("token_ids") or ())


def _grade(rows: list[dict[str, Any]], settings: Settings) -> None:
    """Judge every completion again where a verifier is named."""
    if settings.verifier is None:
        return
    from rewards.accuracy import Accuracy

    columns = {name: [row[name] for row in rows] for name in ("gold", "meta", "verifier", "prefill")}
    verdicts = Accuracy(settings.extraction).verdicts([row["completion"] for row in rows], **columns)
    for row, verdict in zip(rows, verdicts, strict=True):
        row["verdict"], row["verdict_reason"] = verdict.status, verdict.reason
