"""Study files, and finished runs of theirs whose annotations are drawn."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from r1rl.eval.study import arms
from tests.aha.annotated_runs import Annotation, attempts_of, write_run

STEPS = (0, 10, 20, 30)
CONTENT: dict[str, Any] = {
    "recipe": "tiny/countdown",
    "seeds": 2,
    "arms": {"paid": {}, "coin": {"reward_funcs": ["random", "format"]}},
}


def write(folder: Path, **changes: Any) -> Path:
    """A study's file with some keys changed; None leaves a key out."""
    content = {key: value for key, value in (CONTENT | changes).items() if value is not None}
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def load(folder: Path, **changes: Any) -> arms.Study:
    """The study of such a file, in a folder beside it."""
    return arms.load(write(folder, **changes), folder / "out")


def finish(study: arms.Study, arm: str, seed: int, retries: Callable[[int], float], *, prompts: int = 30) -> Path:
    """A finished run: first attempts hit with 20 %, after a miss the next one at the step's rate hits with 80 %."""
    generator = random.Random(f"{arm} {seed}")

    def one(step: int, _prompt: int, _sample: int) -> Annotation:
        moves = "R" if generator.random() < 0.2 else "W"
        if moves == "W" and generator.random() < retries(step):
            moves += "R" if generator.random() < 0.8 else "W"
        return {
            "n_tokens": 40, "correct": moves.endswith("R"), "marker_strict": 0, "markers": [], "goal_tests": [],
            "clean": True, "guess": False, **attempts_of(moves),
        }  # fmt: skip

    folder = study.folder(next(one for one in study.arms if one.name == arm), seed)
    with pytest.MonkeyPatch.context() as patch:
        write_run(folder.path, patch, one, steps=STEPS, prompts=prompts)
    folder.result.write_text(json.dumps({"finished": True, "steps": 50, "wall_seconds": 90.0}))
    folder.environment.write_text(json.dumps({"versions": {"r1rl": "0"}, "cpu": {"model": "abacus"}}))
    return folder.path
