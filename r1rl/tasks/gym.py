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
from dataclasses import dataclass, field
from typing import Any

from r1rl import tasks
from r1rl.ground.errors import RecipeError, nearest
from r1rl.tasks import Row

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
        size: how many problems the generator is asked for at most, both splits together.
    """

    dataset: str
    options: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    size: int = 10_000
    _splits: dict[str, list[Row]] = field(default_factory=lambda: {"train": [], "heldout": []}, init=False, repr=False)
    _asked: set[str] = field(default_factory=set, init=False, repr=False)
    _drawn: int = field(default=0, init=False, repr=False)

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

    def rows(self, split: str, count: int) -> list[Row]:
        """At most `count` training rows, or exactly `count` held-out rows; no question comes twice.

        Raises:
            RecipeError: the generator refuses its options, or there are too few held-out problems.
        """
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
