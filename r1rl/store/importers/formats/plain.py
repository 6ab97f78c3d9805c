"""Plain JSON lines: a prompt and a completion, and where there are any gold, step, reward, and columns of the store.

`messages` is a whole conversation; `completions` are several rollouts of one prompt, with lists beside them that have
one value for each. `r1rl export` writes such files, also as Parquet.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from r1rl.store.importers.formats.base import Format, Record, Seen
from r1rl.store.importers.formats.messages import is_messages, split

_SEVERAL: Final = ("completions", "completion", "outputs", "output", "responses", "response")


def _rollouts(record: Record, file: Path, seen: Seen) -> Iterable[Record]:
    if "completion" not in record and is_messages(record.get("messages")):
        before, after = split(record.pop("messages"))
        record |= {"prompt": before, "completion": after or None}
    for name in _SEVERAL:
        several = record.get(name)
        if isinstance(several, list) and several and not is_messages(several):
            return _apart(record, name, several)
    return [record]


def _apart(record: Record, name: str, several: list[object]) -> list[Record]:
    """A rollout for each of several completions; a list that is as long has one value for each of them."""
    del record[name]
    lists = {
        key: value
        for key, value in record.items()
        if isinstance(value, list) and len(value) == len(several) and not is_messages(value) and key != "prompt"
    }
    return [
        record | {key: values[i] for key, values in lists.items()} | {"completion": text}
        for i, text in enumerate(several)
    ]


FORMAT: Final = Format(
    "jsonl",
    lambda file, record: True,
    names={
        "prompt": ("prompt", "input", "question"),
        "completion": ("completion", "output", "response"),
        "gold": ("gold", "gts", "solution", "answer", "ground_truth"),
        "reward": ("reward", "score"),
    },
    rollouts=_rollouts,
)
