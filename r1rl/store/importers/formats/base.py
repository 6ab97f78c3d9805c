"""What a format says of itself, how a user says what the files leave open, and where in a path a step stands."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

Record = dict[str, Any]
Seen = Counter[str]
"""How often something was met that readers must be told of, by the words of `missing.SKIPPED`; rollouts without a step
of a model, by MODEL and its name."""
MODEL: Final = "model "

_STEP: Final = re.compile(r"(?:^|[^a-z])(?:global_?)?step[_=-]?(\d{1,12})(?:\D|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Settings:
    """How to read what the files leave open.

    `kind` None is what the format tells. `columns` says which of theirs is meant by one of ours; `weights` are those of
    TRL's rewards (default 1 each, as in TRL). With a `verifier` every completion is judged again, its answer taken from
    it by `extraction`. `correct` names the reward that says whether an answer was right (default `acc` or `correct`).
    `temperature` is that of rows that do not tell theirs; 0 says that they were decoded greedily.
    """

    kind: str | None = None
    temperature: float | None = None
    task: str = "imported"
    verifier: str | None = None
    extraction: str = "answer-tag"
    columns: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    correct: str | None = None


def _as_they_are(record: Record, file: Path, seen: Seen) -> Iterable[Record]:
    return [record]


def _train(files: list[Path]) -> str:
    return "train"


@dataclass(frozen=True)
class Format:
    """One tool's files.

    Args:
        fits: whether a file whose first record is this one is of the format.
        names: their names for columns of ours, the first that a record has.
        rollouts: the rollouts in one record, in columns of the store and numbers that are rewards. `group` names the
            group, if any.
        kind: of all rollouts, where the record does not say.
        first_steps: their step of the rollouts before any update, by kind.
        flat: a record is a rollout, so `--column` can name what is in it.
    """

    name: str
    fits: Callable[[Path, Record], bool]
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rollouts: Callable[[Record, Path, Seen], Iterable[Record]] = _as_they_are
    kind: Callable[[list[Path]], str] = _train
    first_steps: Mapping[str, int] = field(default_factory=lambda: {"train": 0, "eval": 0})
    flat: bool = True


def step_of_name(name: str) -> int | None:
    """The step that a file or folder is named after: `120.jsonl`, `step_120`, `global_step_120_evals`."""
    stem = name.partition(".")[0]
    if stem.isascii() and stem.isdigit() and len(stem) <= 12:
        return int(stem)
    found = _STEP.search(name)
    return int(found[1]) if found else None


FINISHED: Final = {
    **dict.fromkeys(("stop", "tool_calls"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "model_length"), "length"),
}
"""Why servers say that a completion ended -> why the store says so."""
