"""What a run folder holds, read once: recipe, logged metrics, events, and the probes' rollouts, measured."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from r1rl.aha.detect.annotation import annotate
from r1rl.aha.detect.attempts import Attempt, find_attempts, reasoning_spans
from r1rl.aha.detect.markers import Marker, find
from r1rl.aha.detect.math_attempts import VERIFIERS as FREE_TEXT_VERIFIERS
from r1rl.aha.detect.transitions import Reflection, measure, transitions
from r1rl.inspect import training_rows
from r1rl.store import store

_COLUMNS = [
    "step", "prompt_id", "sample_idx", "task", "template", "prompt", "prefill", "completion", "n_tokens",
    "finish_reason", "gold", "meta", "verifier", "verdict", "verdict_reason", "reward", "temperature", "top_p", "cap",
]  # fmt: skip


@dataclass(frozen=True)
class ProbeRollout:
    """One held-out rollout (or a training one, see `RunData`) and what was measured in it.

    `worded`: the attempts of a task that is answered in free text; None for other tasks.
    """

    row: dict[str, Any]
    reflection: Reflection
    worded: list[Attempt] | None = None

    @property
    def step(self) -> int:
        """Updates made before this rollout was sampled."""
        return int(self.row["step"])

    @property
    def prompt_id(self) -> str:
        """Name of the held-out problem."""
        return str(self.row["prompt_id"])

    @property
    def verifier(self) -> str:
        """Name of the verifier that judges it; in older shards it is the task's."""
        return str(self.row["verifier"] or self.row["task"])

    @property
    def judged(self) -> bool:
        """False without a verdict or a usable gold answer: such a rollout counts neither for nor against."""
        return self.row["verdict"] not in (None, "bad_gold")

    @property
    def correct(self) -> bool:
        """The verifier's verdict on the final answer."""
        return bool(self.row["verdict"] == "correct")

    @cached_property
    def attempts(self) -> list[Attempt]:
        """Every attempt, repeats included; spans are character offsets into the completion."""
        if self.worded is not None:
            return self.worded
        if self.reflection.attempts is None:
            return []
        row = self.row
        try:
            meta = json.loads(row["meta"])
        except (TypeError, ValueError, RecursionError):
            return []
        if not isinstance(meta, dict):
            return []
        return find_attempts(
            row["completion"],
            task_verifier=self.verifier,
            gold=row["gold"],
            meta=meta,
            prefill=row["prefill"] or "",
        )

    @cached_property
    def markers(self) -> list[Marker]:
        """Strict markers in the reasoning; spans are character offsets into the completion."""
        text = self.row["completion"]
        return [
            marker._replace(start=start + marker.start, end=start + marker.end)
            for start, end in reasoning_spans(text, self.row["prefill"] or "")
            for marker in find(text[start:end])
        ]


def _measured(row: dict[str, Any]) -> ProbeRollout:
    reflection = measure(row)
    if reflection.attempts is not None or row["verifier"] not in FREE_TEXT_VERIFIERS:
        return ProbeRollout(row, reflection)
    found = annotate(row)["attempts"]
    if found is None:  # the gold answer is missing, or the extra that the verifier needs
        return ProbeRollout(row, reflection)
    worded = [_worded(row["completion"], **attempt) for attempt in found]
    followed = transitions(worded)
    reflection = replace(
        reflection,
        attempts=len(followed) + 1 if worded else 0,
        first_right=worded[0].right if worded else None,
        wrong_to_right="wrong_right" in followed,
        right_to_wrong="right_wrong" in followed,
    )
    return ProbeRollout(row, reflection, worded)


def _worded(completion: str, *, start: int, end: int, repeat: bool, **columns: Any) -> Attempt:
    text = completion[start:end]
    return Attempt(start, end, text, None, complete=True, repeats_previous=repeat, **columns)


@dataclass(frozen=True)
class RunData:
    """A run folder's contents.

    `metrics` has one dict a logged step, in order of steps. `probes` (sampled) and `evals` (greedy) hold the
    rollouts of the held-out prompts by step, and only steps at which every held-out prompt is there.

    With `training_only` there are no held-out prompts, as in an import of training rollouts: then `metrics` has the
    training rollouts' rates, and `probes` some training rollouts of some steps, see `training_rows`.
    """

    path: Path
    recipe: dict[str, Any]
    environment: dict[str, Any]
    result: dict[str, Any]
    metrics: list[dict[str, Any]]
    events: list[dict[str, Any]]
    train: dict[str, list[Any]]
    probes: dict[int, list[ProbeRollout]]
    evals: dict[int, list[ProbeRollout]]
    incomplete_steps: list[int] = field(default_factory=list)
    training_only: bool = False

    @property
    def name(self) -> str:
        """The run's name, which is its folder's."""
        return self.path.resolve().name

    @cached_property
    def steps(self) -> list[int]:
        """Steps at which the held-out prompts were sampled (and decoded greedily, if the run does that)."""
        if self.probes and self.evals:
            return sorted(self.probes.keys() & self.evals.keys())
        return sorted(self.probes or self.evals)

    @cached_property
    def has_attempts(self) -> bool:
        """Whether the task has an attempt detector; without one only markers are known."""
        return any(r.reflection.attempts is not None for r in self.last_probe)

    @property
    def last_probe(self) -> list[ProbeRollout]:
        """Sampled rollouts of the last probed step by prompt and sample; greedy ones where none were sampled."""
        return (self.probes or self.evals)[self.steps[-1]]


def load(run_dir: Path | str) -> RunData:
    """Read a run folder.

    Raises:
        ValueError: the folder is no run, has no complete probe yet, or holds an unreadable file; the message
            names the file, the line, and what to do.
    """
    path = Path(run_dir)
    if not path.is_dir():
        raise ValueError(f"run={path}: no such folder; give a run's folder{_neighbours(path.parent)}")
    rollouts = path / "rollouts"
    if not (path / "recipe.yaml").is_file() and not rollouts.is_dir():
        raise ValueError(
            f"run={path}: no run folder, it has neither recipe.yaml nor rollouts/; "
            f"give a folder that `r1rl train` made{_neighbours(path)}"
        )
    kinds = {shard.kind for shard in store.shards(path)} if rollouts.is_dir() else set()
    probes, late_probes = _probed(path, "probe") if "probe" in kinds else ({}, [])
    evals, late_evals = _probed(path, "eval") if "eval" in kinds else ({}, [])
    result = _mapping(path / "result.json")
    training_only = "imported" in result and kinds == {"train"}
    if training_only:
        rows = training_rows.drawn(path, _COLUMNS)
        probes = {step: [_measured(row) for row in found] for step, found in rows.items()}
    if not (probes or evals) or (probes and evals and not probes.keys() & evals.keys()):
        raise ValueError(
            f"run={path}: no complete probe of the held-out prompts yet, so there is nothing to compare; "
            "wait until the probe of step 0 has been written"
        )
    train: dict[str, list[Any]] = {"step": [], "reward": [], "wall_time": []}
    if "train" in kinds:
        table = store.read(path, kind="train", columns=list(train))
        train = {name: table.column(name).to_pylist() for name in train}
    return RunData(
        path=path,
        recipe=_mapping(path / "recipe.yaml"),
        environment=_mapping(path / "environment.json"),
        result=result,
        metrics=training_rows.rates(path) if training_only else _by_step(path / "metrics.jsonl"),
        events=[event for _, event in _lines(path / "events.jsonl")],
        train=train,
        probes=probes,
        evals=evals,
        incomplete_steps=sorted({*late_probes, *late_evals}),
        training_only=training_only,
    )


def _neighbours(folder: Path) -> str:
    found = sorted(p.parent for p in folder.glob("*/recipe.yaml"))[-5:] if folder.is_dir() else []
    return f", such as {', '.join(map(str, found))}" if found else ""


def _probed(path: Path, kind: str) -> tuple[dict[int, list[ProbeRollout]], list[int]]:
    """Rollouts of `kind` by step, and the steps left out for missing prompts (a run still writing them)."""
    by_step: dict[int, list[ProbeRollout]] = {}
    for row in store.read(path, kind=kind, columns=_COLUMNS).to_pylist():
        by_step.setdefault(int(row["step"]), []).append(_measured(row))
    for rollouts in by_step.values():
        rollouts.sort(key=lambda r: (r.prompt_id, r.row["sample_idx"]))
    # Several ranks write one shard each: the fullest step tells which (prompt, sample) pairs make a probe.
    contents = {step: {(r.prompt_id, r.row["sample_idx"]) for r in rs} for step, rs in by_step.items()}
    whole = max(contents.values(), key=len, default=set())
    complete = {step: rs for step, rs in sorted(by_step.items()) if contents[step] == whole}
    return complete, sorted(by_step.keys() - complete.keys())


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


def _by_step(path: Path) -> list[dict[str, Any]]:
    """Logged metrics merged by step: a resumed run logs a step again, and the later line holds."""
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
