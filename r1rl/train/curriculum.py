"""Which level's problems a run asks: moved by the recent pass rate, the same in every process, kept in checkpoints.

A training problem stands for its place: the problem of the same place at the level that holds is asked instead. So the
order in which places come is that of any other run, and what is asked depends on the seed and past verdicts alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from r1rl.ground import whole_files
from r1rl.ground.errors import RunFailedError
from r1rl.tasks import Row, Task, curriculum
from r1rl.tasks.curriculum import Levels
from r1rl.tasks.dataset import dataset_rows
from r1rl.tasks.prompts import Prompt
from r1rl.train.step_rollouts import Group

_FILE: Final = "curriculum.json"


@dataclass
class Standing:
    """Where a run is on one part's levels.

    Args:
        level: the one that is asked.
        recent: (questions, right answers, judged answers) of the last samplings at this level, as far as the window.
    """

    level: int
    recent: list[list[int]] = field(default_factory=list)

    @property
    def rate(self) -> float | None:
        """The recent pass rate; None where nothing was judged."""
        judged = sum(count[2] for count in self.recent)
        return sum(count[1] for count in self.recent) / judged if judged else None


def following(task: Task, rows: Sequence[Row], prompt: Prompt) -> Curriculum | None:
    """What follows a task's levels; None for a task without."""
    levels = curriculum.of(task)
    return Curriculum(task, rows, prompt, dict(levels)) if levels else None


class Curriculum:
    """The levels that hold for each part of a task, see `tasks.curriculum.of`."""

    def __init__(self, task: Task, rows: Sequence[Row], prompt: Prompt, parts: dict[str, Levels]) -> None:
        self.task, self.prompt, self.parts = task, prompt, parts
        self.standing = {part: Standing(its.first) for part, its in parts.items()}
        counts = dict.fromkeys(parts, 0)
        self._places: dict[str, int] = {}
        for row in rows:
            if (part := self._part(row.prompt_id)) is not None:
                self._places[row.prompt_id] = counts[part]
                counts[part] += 1
        self._counts = counts
        self._rows: dict[tuple[str, int], list[dict[str, Any]]] = {}

    def _part(self, prompt_id: str) -> str | None:
        return next((part for part in self.parts if prompt_id.startswith(part)), None)

    def at_level(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Data-set rows of the first level as those of the levels that hold; rows of other parts as they are."""
        return [self._row(row) for row in rows]

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        part = self._part(row["prompt_id"])
        if part is None or (level := self.standing[part].level) == self.parts[part].first:
            return row
        if (part, level) not in self._rows:
            found = self.parts[part].rows(level, self._counts[part])
            if not found:
                raise RunFailedError(f"task_options.curriculum: level {level} has no training problem")
            self._rows[part, level] = dataset_rows(found, self.task, self.prompt)
        rows = self._rows[part, level]
        # Columns of other parts' data are in every row.
        return dict.fromkeys(row) | rows[self._places[row["prompt_id"]] % len(rows)]

    def move(self) -> Iterator[dict[str, Any]]:
        """Change level where the window is full and the rate says so; each change as what an event says of it."""
        for part, its in self.parts.items():
            now = self.standing[part]
            if sum(count[0] for count in now.recent) < its.window or now.rate is None:
                continue
            level = its.after(now.level, now.rate)
            if level != now.level:
                yield {"key": f"{part}level", "value": level, "before": now.level, "pass_rate": now.rate}
                self.standing[part] = Standing(level)

    def counts(self, groups: Sequence[Group]) -> list[list[int]]:
        """Questions, right and judged answers of each part among the groups that a process sampled."""
        found = {part: [0, 0, 0] for part in self.parts}
        for group in groups:
            if (part := self._part(group.row["prompt_id"])) is not None:
                statuses = [verdict.status for verdict in group.verdicts]
                judged = len(statuses) - statuses.count("bad_gold")
                found[part] = [a + b for a, b in zip(found[part], (1, statuses.count("correct"), judged), strict=True)]
        return list(found.values())

    def take(self, counts: Sequence[list[int]]) -> None:
        """Note what a sampling showed, `counts` summed over all processes; forget what the window no longer needs."""
        for (part, now), count in zip(self.standing.items(), counts, strict=True):
            if not count[0]:
                continue
            now.recent.append(list(count))
            while sum(each[0] for each in now.recent[1:]) >= self.parts[part].window:
                now.recent.pop(0)

    def metrics(self) -> dict[str, float]:
        """The level that was asked, and the recent pass rate at it."""
        found: dict[str, float] = {}
        for part, now in self.standing.items():
            found[f"curriculum/{part}level"] = float(now.level)
            if now.rate is not None:
                found[f"curriculum/{part}pass_rate"] = now.rate
        return found

    def save(self, folder: Path) -> None:
        """Write where the run is into a checkpoint."""
        content = {part: {"level": now.level, "recent": now.recent} for part, now in self.standing.items()}
        whole_files.write_json(folder / _FILE, content)

    def load(self, folder: Path) -> None:
        """Take up where the run was.

        Raises:
            RunFailedError: the checkpoint does not say, or another curriculum.
        """
        try:
            kept = json.loads((folder / _FILE).read_text(encoding="utf-8"))
            found = {part: Standing(int(kept[part]["level"]), kept[part]["recent"]) for part in self.parts}
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise RunFailedError(
                f"{folder / _FILE}: does not say which level the run was at; go on without the curriculum, or remove "
                "this checkpoint"
            ) from error
        for part, now in found.items():
            now.level = min(max(now.level, self.parts[part].first), self.parts[part].last)
        self.standing = found
