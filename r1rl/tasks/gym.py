"""Problems of any reasoning-gym generator, judged by its own scorer; needs the extra `gym`.

The generators run in a process of their own: some walk through sets of strings, whose order differs from process to
process unless Python's hash seed is fixed.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from r1rl import tasks
from r1rl.ground.errors import RecipeError, nearest, one_line
from r1rl.tasks import Row, curriculum
from r1rl.tasks.curriculum import Levels

HELDOUT_SHARE = 0.2
_GENERATE = """
import json, sys
import reasoning_gym
out, sys.stdout = sys.stdout, sys.stderr  # some generators print
asked = json.load(sys.stdin)
made = reasoning_gym.create_dataset(asked["dataset"], seed=asked["seed"], size=asked["size"], **asked["options"])
for index in range(asked["start"], asked["stop"]):
    print(json.dumps(made[index]), file=out)
"""


@dataclass
class Gym:
    """The task and its options.

    Args:
        dataset: a generator's name, such as `countdown` or `spell_backward`.
        options: the generator's own options, such as `{"max_numbers": 4}` for `countdown`.
        seed: another value, other problems.
        size: how many problems the generator is asked for at most, both splits together; with levels, of each.
        curriculum: `{}` or a rule: the generator's own curriculum sets the options that it knows by level, and a run
            moves between `first` and `last` by its recent pass rate (`raise_at`, `lower_at`, `window`; see
            `curriculum.Levels`). Held-out problems are of all levels in turn.
    """

    dataset: str
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    size: int = 10_000
    curriculum: dict[str, Any] | None = None
    _splits: dict[str, list[Row]] = field(default_factory=lambda: {"train": [], "heldout": []}, init=False, repr=False)
    _asked: set[str] = field(default_factory=set, init=False, repr=False)
    _drawn: int = field(default=0, init=False, repr=False)
    _generators: dict[int, Gym] = field(default_factory=dict, init=False, repr=False)

    name = "gym"
    verifier = "gym"

    def __post_init__(self) -> None:
        if importlib.util.find_spec("reasoning_gym") is None:
            raise RecipeError("task='gym': needs reasoning-gym; try pip install 'r1rl[gym]'")
        from reasoning_gym.factory import DATASETS

        if self.dataset not in DATASETS:
            raise RecipeError(
                f"task_options.dataset={self.dataset!r}: reasoning-gym has no such generator"
                f"{nearest(self.dataset, DATASETS) or '; known are ' + ', '.join(sorted(DATASETS))}"
            )
        known = {item.name for item in dataclasses.fields(DATASETS[self.dataset][1])} - {"seed", "size"}
        for key in self.options:
            if key not in known:
                raise RecipeError(
                    f"task_options.options.{key}: the generator {self.dataset!r} has no such option, it takes "
                    f"{', '.join(sorted(known))}{nearest(key, known)}"
                )
        if self.curriculum is not None:
            self._check_curriculum()

    @cached_property
    def levels(self) -> Mapping[str, Levels]:
        """The generator's levels, where a curriculum was asked for, see `curriculum.of`."""
        if self.curriculum is None:
            return {}
        rule = curriculum.rule(self.curriculum, self._highest())
        words = lambda level: ", ".join(f"{key}={value}" for key, value in self._set_by(level).items())  # noqa: E731
        return {"": Levels(**rule, rows=lambda level, count: self._of_level(level, "train", count), words=words)}

    def _check_curriculum(self) -> None:
        """Every level must be one that the generator takes, with the options beside it."""
        where = f"the curriculum of {self.dataset!r}"
        its = self.levels[""]
        for level in range(its.first, its.last + 1):
            found = self._set_by(level)
            if taken := sorted(found.keys() & self.options.keys()):
                raise RecipeError(f"task_options.options.{taken[0]}: {where} sets it by level; leave one of them out")

    def _highest(self) -> int:
        return max(len(attribute.levels) for attribute in self._made_curriculum().attributes.values()) - 1

    def _made_curriculum(self) -> Any:
        from reasoning_gym.factory import create_curriculum, has_curriculum

        made = create_curriculum(self.dataset) if has_curriculum(self.dataset) else None
        if made is None or not made.attributes:
            raise RecipeError(f"task_options.curriculum: reasoning-gym has none for {self.dataset!r}; leave it out")
        return made

    def _set_by(self, level: int) -> dict[str, Any]:
        """The options that the curriculum sets at a level."""
        made = self._made_curriculum()
        made.set_global_level(level)
        try:
            config = made.generate_configuration(defaults=dict(self.options))
        except (AssertionError, TypeError, ValueError) as error:
            raise RecipeError(
                f"task_options.curriculum: level {level} of {self.dataset!r}: {one_line(error)}"
            ) from error
        fields = ("lower_field_name", "upper_field_name", "field_name")
        names = [getattr(attribute, key, None) for attribute in made.attributes.values() for key in fields]
        return {name: getattr(config, name) for name in names if name is not None}

    def _of_level(self, level: int, split: str, count: int) -> list[Row]:
        """Rows of one level, by a generator of its own."""
        if level not in self._generators:
            self._generators[level] = Gym(self.dataset, self.options | self._set_by(level), self.seed, self.size)
        rows = self._generators[level].rows(split, count)
        name = f"gym:{self.dataset}@{level}:"
        return [
            replace(row, prompt_id=name + row.prompt_id.rpartition(":")[2], columns={"level": level}) for row in rows
        ]

    def rows(self, split: str, count: int) -> list[Row]:
        """At most `count` training rows, or exactly `count` held-out rows; no question comes twice.

        Raises:
            RecipeError: the generator refuses its options, or there are too few held-out problems.
        """
        for its in self.levels.values():
            return self._of_levels(its, split, count)
        share = HELDOUT_SHARE if split == "heldout" else 1 - HELDOUT_SHARE
        while (missing := count - len(self._splits[split])) > 0 and self._drawn < self.size:
            self._draw(min(self.size - self._drawn, 8 + round(1.1 * missing / share)))
        found = self._splits[split][:count]
        if split == "heldout" and len(found) < count:
            raise RecipeError(
                f"heldout_size={count}: {self.dataset!r} gives {len(found)} held-out problems; ask for fewer, or "
                "raise task_options.size"
            )
        return found

    def _of_levels(self, its: Levels, split: str, count: int) -> list[Row]:
        """Training rows of the first level, held-out ones of all levels in turn."""
        if split == "train":
            return its.rows(its.first, count)
        every = range(its.first, its.last + 1)
        parts = [self._of_level(level, split, -(-(count - i) // len(every))) for i, level in enumerate(every)]
        return [parts[place % len(every)][place // len(every)] for place in range(count)]

    def _draw(self, number: int) -> None:
        """Sort the next problems of the generator into the splits."""
        asked = {"dataset": self.dataset, "options": self.options, "seed": self.seed, "size": self.size}
        done = subprocess.run(
            [sys.executable, "-c", _GENERATE],
            input=json.dumps(asked | {"start": self._drawn, "stop": self._drawn + number}),
            env=os.environ | {"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            last = done.stderr.strip().rpartition("\n")[2]
            raise RecipeError(f"task_options.options={self.options}: {self.dataset!r} refuses them: {last[:300]}")
        for index, line in enumerate(done.stdout.splitlines(), self._drawn):
            entry = json.loads(line)
            question, answer = entry["question"].strip(), entry["answer"]
            if question in self._asked:
                continue
            self._asked.add(question)
            split = "heldout" if tasks.is_heldout(question, HELDOUT_SHARE) else "train"
            row = Row(f"gym:{self.dataset}:{index}", question, answer or "", {"dataset": self.dataset, "entry": entry})
            self._splits[split].append(row)
        self._drawn += number
