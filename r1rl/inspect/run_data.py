"""What a run folder holds, read once: recipe, logged metrics, events, measured figures, and rollouts to show."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import yaml

from r1rl.aha.detect.annotation import KEY, verifier_of
from r1rl.aha.detect.math_attempts import VERIFIERS as FREE_TEXT_VERIFIERS
from r1rl.aha.figures import suite
from r1rl.aha.figures.annotations import compute, connection
from r1rl.aha.figures.figures import FIGURES, Selection
from r1rl.aha.figures.suite import Result
from r1rl.aha.measures import decomposition, detector_errors
from r1rl.aha.measures.decomposition import Decomposition
from r1rl.ground.machine import cores_of_a_rank
from r1rl.store import store
from r1rl.store.schema import REWARD_PREFIX
from r1rl.verify.verdict import outcome

_COLUMNS = [
    *KEY, "task", "template", "prompt", "completion", "n_tokens", "finish_reason", "gold", "verifier", "verdict",
    "verdict_reason", "reward", "cap",
]  # fmt: skip
_ANNOTATIONS = (*KEY, "correct", "markers", "attempts", "first_right", "transitions")
# What a run of r1rl logs and an imported run's rollouts tell, named as in metrics.jsonl. As there, `step` counts the
# updates made once the step is over.
_RATES = """
SELECT step + 1 AS step, avg(reward) AS reward, avg(n_tokens) AS "completions/mean_length",
    avg((finish_reason = 'length')::DOUBLE) AS "completions/clipped_ratio"{parts}
FROM rollouts WHERE kind = 'train' GROUP BY step ORDER BY step"""

_TRAINED = """
SELECT step, count(*) AS rollouts, avg(reward) AS reward, min(wall_time) AS first_time, max(wall_time) AS last_time
FROM rollouts WHERE kind = 'train' GROUP BY step ORDER BY step"""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt as it was annotated; the span counts characters of the completion. See `aha.detect.attempts`."""

    start: int
    end: int
    value: str | None
    claimed: str | None
    right: bool
    slip: bool
    repeat: bool
    status: str


@dataclass(frozen=True, slots=True)
class Marker:
    """A strict marker as it was annotated. See `aha.detect.markers`."""

    start: int
    end: int
    kind: str
    label: str


@dataclass(frozen=True)
class Rollout:
    """One rollout: its row of the store, and what was annotated of it."""

    row: dict[str, Any]
    annotation: dict[str, Any]

    @property
    def step(self) -> int:
        """Updates made before this rollout was sampled."""
        return int(self.row["step"])

    @property
    def prompt_id(self) -> str:
        """Name of the problem."""
        return str(self.row["prompt_id"])

    @property
    def free_text(self) -> bool:
        """Whether attempts are found in words: then nothing is known of a value but what is claimed."""
        return self.verifier in FREE_TEXT_VERIFIERS

    @property
    def verifier(self) -> str | None:
        """Name of the verifier that judges it, None where nothing tells."""
        return verifier_of(self.row)

    @property
    def judged(self) -> bool:
        """False without a verdict or a usable gold answer: such a rollout counts neither for nor against."""
        return self.annotation["correct"] is not None

    @property
    def outcome(self) -> str | None:
        """One of `verdict.OUTCOMES`, None where nobody judged."""
        if self.row["verdict"] is None:
            return None
        return outcome(self.row["verdict"], self.row["verdict_reason"] or "", self.row["finish_reason"] or "")

    @property
    def correct(self) -> bool:
        """The verifier's verdict on the final answer."""
        return bool(self.annotation["correct"])

    @property
    def first_right(self) -> bool:
        """Whether there is an attempt and the first one is right."""
        return bool(self.annotation["first_right"])

    @property
    def transitions(self) -> list[str]:
        """From each attempt that is no repeat to the next."""
        return self.annotation["transitions"] or []

    @cached_property
    def attempts(self) -> list[Attempt]:
        """Every attempt, repeats included."""
        return [Attempt(**attempt) for attempt in self.annotation["attempts"] or ()]

    @cached_property
    def markers(self) -> list[Marker]:
        """Strict markers in the reasoning."""
        return [Marker(**marker) for marker in self.annotation["markers"] or ()]


@dataclass(frozen=True)
class RunData:
    """A run folder's contents.

    Args:
        train: one dict a stored training step: how many rollouts, their mean reward, and when they were sampled.
        metrics: one dict a logged step, in order of steps; of an import the training rollouts' rates.
        measured: what `r1rl aha` measures of the sampled held-out rollouts. Where none were sampled, of the greedy
            ones; and where there are no held-out prompts, as in an import of training rollouts, of the training's.
        greedy: the accuracy of the greedy held-out rollouts, where there are sampled ones as well.
        gain: where the change of accuracy comes from, where that is known.
        rollouts: those that were measured at the first and at the last step, by prompt and sample.
    """

    path: Path
    recipe: dict[str, Any]
    environment: dict[str, Any]
    result: dict[str, Any]
    metrics: list[dict[str, Any]]
    events: list[dict[str, Any]]
    train: list[dict[str, Any]]
    measured: Result
    greedy: Result | None
    gain: Decomposition | None
    rollouts: dict[int, list[Rollout]]

    @property
    def name(self) -> str:
        """The run's name, which is its folder's."""
        return self.path.resolve().name

    @property
    def training_only(self) -> bool:
        """Whether training rollouts were measured, for want of held-out prompts."""
        return self.measured.selection.kind == "train"

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps at which rollouts were measured."""
        return self.measured.steps

    @property
    def compared(self) -> bool:
        """Whether there are two steps to set side by side."""
        return len(self.steps) > 1

    @property
    def last_rollouts(self) -> list[Rollout]:
        """The rollouts of the last measured step."""
        return self.rollouts[self.steps[-1]]

    @cached_property
    def has_attempts(self) -> bool:
        """Whether the task has an attempt detector; without one only markers are known."""
        return any(rollout.annotation["attempts"] is not None for rollout in self.last_rollouts)


def load(run_dir: Path | str, *, measured: RunData | None = None) -> RunData:
    """Read a run folder, and measure it; rollouts that have no annotations yet get them.

    `measured` is the same run as it was read before, where nothing was evaluated since: its figures are taken over.

    Raises:
        ValueError: the folder is no run, has no complete evaluation yet, or holds an unreadable file; the message
            names the file, the line, and what to do.
    """
    path = Path(run_dir)
    check_run(path)
    rollouts = path / "rollouts"
    result = _mapping(path / "result.json")
    kinds = {shard.kind for shard in store.shards(path)} if rollouts.is_dir() else set()
    imported = "imported" in result and kinds == {"train"}
    if "eval" not in kinds and not imported:
        raise ValueError(
            f"run={path}: no complete evaluation of the held-out prompts yet, so there is nothing to compare; "
            "wait until the evaluation of step 0 has been written"
        )
    if measured is None:
        figures, greedy = _measured(path, "train" if imported else "eval")
        (gain,) = detector_errors.taken_out([path], figures.selection, decomposition.measure([path], figures.selection))
        rollouts_shown = _rollouts(path, figures)
    else:
        figures, greedy, gain = measured.measured, measured.greedy, measured.gain
        rollouts_shown = measured.rollouts
    train: list[dict[str, Any]] = store.query(path, _TRAINED).to_pylist() if "train" in kinds else []
    return RunData(
        path=path,
        recipe=_mapping(path / "recipe.yaml"),
        environment=_mapping(path / "environment.json"),
        result=result,
        metrics=_rates(path) if imported else logged(path),
        events=[event for _, event in _lines(path / "events.jsonl")],
        train=train,
        measured=figures,
        greedy=greedy,
        gain=gain,
        rollouts=rollouts_shown,
    )


def check_run(path: Path) -> None:
    """Raise ValueError for a folder that is no run."""
    if not path.is_dir():
        raise ValueError(f"run={path}: no such folder; give a run's folder{_neighbours(path.parent)}")
    if not (path / "recipe.yaml").is_file() and not (path / "rollouts").is_dir():
        raise ValueError(
            f"run={path}: no run folder, it has neither recipe.yaml nor rollouts/; "
            f"give a folder that `r1rl train` made{_neighbours(path)}"
        )


def _measured(path: Path, kind: str) -> tuple[Result, Result | None]:
    """The figures of a run, and the accuracy of its greedy rollouts where there are sampled ones as well."""
    compute(path, kind=kind, workers=cores_of_a_rank(), progress=sys.stderr.isatty())
    temperatures = store.query(
        path, "SELECT DISTINCT temperature IS NOT DISTINCT FROM 0 AS greedy FROM rollouts WHERE kind = 'eval'"
    )
    greedily = set(temperatures["greedy"].to_pylist())
    (measured,) = suite.measure([path], Selection(kind, greedy=greedily == {True}))
    if len(greedily) < 2:
        return measured, None
    (greedy,) = suite.measure([path], Selection(greedy=True), figures=[FIGURES["accuracy"]])
    if (greedy.steps[0], greedy.steps[-1]) != (measured.steps[0], measured.steps[-1]):
        return measured, None  # of a run that is still writing them
    return measured, greedy


def _neighbours(folder: Path) -> str:
    found = sorted(p.parent for p in folder.glob("*/recipe.yaml"))[-5:] if folder.is_dir() else []
    return f", such as {', '.join(map(str, found))}" if found else ""


def _rollouts(path: Path, measured: Result) -> dict[int, list[Rollout]]:
    """The measured rollouts of the first and the last step with their annotations, by prompt and sample."""
    kind, steps = measured.selection.kind, sorted({measured.steps[0], measured.steps[-1]})
    with connection(path, kind=kind, steps=steps) as database:
        columns = ", ".join(_ANNOTATIONS)
        answer = database.sql(f"SELECT {columns} FROM annotations WHERE {measured.selection.where}").to_arrow_table()
    annotated = {_key(row): row for row in answer.to_pylist()}
    found: dict[int, list[Rollout]] = {step: [] for step in steps}
    for row in store.read(path, kind=kind, steps=steps, columns=_COLUMNS).to_pylist():
        if (annotation := annotated.get(_key(row))) is not None:
            found[row["step"]].append(Rollout(row, annotation))
    for rollouts in found.values():
        rollouts.sort(key=lambda rollout: (rollout.prompt_id, rollout.row["sample_idx"]))
    return found


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


def _rates(run: Path) -> list[dict[str, Any]]:
    """Means over the training rollouts of every step, null where unknown."""
    columns = store.query(run, "SELECT * FROM rollouts LIMIT 0").column_names
    quoted = [name.replace('"', '""') for name in columns if name.startswith(REWARD_PREFIX)]
    parts = "".join(f', avg("{name}") AS "rewards/{name.removeprefix(REWARD_PREFIX)}/mean"' for name in quoted)
    found: list[dict[str, Any]] = store.query(run, _RATES.format(parts=parts)).to_pylist()
    return found


def _mapping(path: Path) -> dict[str, Any]:
    """A YAML or JSON file's mapping (JSON is YAML), {} where the file does not exist."""
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        value = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: unreadable ({' '.join(str(error).split())}); restore or delete it") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path}: holds no mapping; restore or delete it")
    return value


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and object of every line of a JSONL file; a torn last line, as a killed run leaves, is skipped."""
    if not path.is_file():
        return
    numbered = [(n, raw) for n, raw in enumerate(path.read_bytes().split(b"\n"), 1) if raw.strip()]
    for position, (number, raw) in enumerate(numbered):
        try:
            value = json.loads(raw.decode("utf-8"))
        except ValueError as error:
            if position == len(numbered) - 1:
                return
            raise ValueError(f"{path}:{number}: no JSON object ({error}); mend or delete that line") from error
        if not isinstance(value, dict):
            raise ValueError(f"{path}:{number}: no JSON object but {value!r:.60}; mend or delete that line")
        yield number, value


def logged(run: Path) -> list[dict[str, Any]]:
    """A run's metrics merged by step: a resumed run logs a step again, and the later line holds."""
    path = run / "metrics.jsonl"
    merged: dict[int, dict[str, Any]] = {}
    for number, line in _lines(path):
        step = line.get("step")
        if isinstance(step, bool) or not isinstance(step, int | float) or not math.isfinite(step):
            raise ValueError(f"{path}:{number}: step={step!r}: need a number; mend or delete that line")
        merged.setdefault(int(step), {}).update(line, step=int(step))
    return [merged[step] for step in sorted(merged)]


def numbers(values: Iterable[Any]) -> list[float | None]:
    """Finite floats as they are; everything else (absent, NaN, infinite, text) as None."""
    return [
        float(v) if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) else None
        for v in values
    ]


def flat(mapping: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of a mapping of mappings, by keys with dots: `{"a": {"b": 1}}` has `a.b`."""
    for key, value in mapping.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


_SECRET: Final = re.compile(r"(?i)(?:^|[_.])(?:token|secret|password|api_key|key)$")


def hidden(key: str, value: Any) -> bool:
    """Whether a value is not to be shown: what is printed is made to be passed on, a hub token in a recipe is not."""
    return value is not None and _SECRET.search(key) is not None
