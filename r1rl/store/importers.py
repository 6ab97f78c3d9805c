"""Rollouts that other tools wrote, as a store of their own: TRL's completions, verl's dumps, plain JSON lines.

| format | files | where they come from |
|---|---|---|
| `trl` | `OUTPUT_DIR/completions/completions_00001.parquet` | TRL 1.16 `GRPOTrainer.log` with `log_completions=True` |
| `verl` | `ROLLOUT_DATA_DIR/1.jsonl` | verl 0.9.1 `RayPPOTrainer._dump_generations`, `trainer.rollout_data_dir` |
| `jsonl` | any `*.jsonl`, one object a line | anything, `r1rl export` as well, which also writes it as Parquet |

Both trainers name a file after the updates made when they wrote it, and the store a step after the updates made before
its rollouts: training step k of theirs is step k - 1 here. Neither says which rollouts make a group; those of one
prompt in one step are taken for one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from r1rl.store import schema, shards, store

FORMATS: Final = ("trl", "verl", "jsonl")
BUFFERED_ROWS: Final = 20_000

# Ours -> theirs, the first that a row has.
_NAMES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "trl": {"gold": ("gold", "solution", "answer", "ground_truth")},
    "verl": {"prompt": ("input",), "completion": ("output",), "gold": ("gts",), "reward": ("score",)},
    "jsonl": {
        "prompt": ("prompt", "input", "question"),
        "completion": ("completion", "output", "response"),
        "gold": ("gold", "gts", "solution", "answer", "ground_truth"),
        "reward": ("reward", "score"),
    },
}
_OF_US: Final = frozenset({"run", "kind", "rank", "group_id", "sample_idx", "prompt_id"})
_EXPORTED: Final = frozenset({"kind", "prompt_id", "policy_step", "completion"})  # columns that TRL's tables lack
_ARRAY: Final = re.compile(r"\[\s*[0-9]{1,12}(?:\s+[0-9]{1,12}){0,15}\s*\]")
_NUMBERS: Final = frozenset({"n_tokens", "cap", "step", "policy_step"})


@dataclass(frozen=True)
class Settings:
    """How to read what the files leave open.

    `columns` says which of theirs is meant by one of ours; `weights` are those of TRL's rewards (default 1 each, as
    in TRL). With a `verifier` every completion is judged again, its answer taken from it by `extraction`. `temperature`
    is that of rows that do not tell theirs; 0 says that they were decoded greedily.
    """

    kind: str = "train"
    temperature: float | None = None
    task: str = "imported"
    verifier: str | None = None
    extraction: str = "answer-tag"
    columns: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Imported:
    """Rollouts and steps, and the columns of theirs that have no place in the store."""

    rollouts: int
    steps: int
    left_out: tuple[str, ...]


def load(
    source: str | os.PathLike[str],
    run_dir: str | os.PathLike[str],
    *,
    format: str | None = None,
    settings: Settings | None = None,
    progress: bool = False,
) -> Imported:
    """Make the run folder `run_dir` from a file, or a folder of files, of another tool.

    The folder appears when everything is in it; whatever a cut-off import left is removed by the next.

    Raises:
        ValueError: no such files, a line or file that cannot be read, a row that does not fit, or a taken name.
    """
    files, run = _files(Path(source)), Path(run_dir)
    how, known = settings or Settings(), format or guess(files[0])
    if known not in FORMATS:
        raise ValueError(f"format={known!r}: need one of {', '.join(FORMATS)}")
    if how.kind not in schema.KINDS:
        raise ValueError(f"kind={how.kind!r}: need one of {', '.join(schema.KINDS)}")
    if run.exists():
        raise ValueError(f"run={str(run)!r}: exists; give another folder, or remove it")
    reading = _Reading(known, how, run.name)
    partial = run.with_name(f".{run.name}.importing")
    shutil.rmtree(partial, ignore_errors=True)
    (partial / shards.FOLDER).mkdir(parents=True)
    sink = _Sink(partial, how)
    for file in files:
        for row in tqdm(_rows(file), desc=file.name, unit=" rollouts", disable=not progress, leave=False):
            sink.add(reading.row(row, file))
    sink.close()
    result = {"finished": True, "imported": known}
    (partial / "result.json").write_text(json.dumps(result) + "\n", encoding="utf-8")
    os.rename(partial, run)
    return Imported(sink.rollouts, len({step for _, step in sink.parts}), tuple(sorted(reading.left_out)))


def guess(file: Path) -> str:
    """The format of a file: Parquet is TRL's or exported, lines are verl's if they have its keys. Raises as `load`."""
    if file.suffix == ".parquet":
        with _parquet(file) as parquet:
            return "jsonl" if set(parquet.schema_arrow.names) >= _EXPORTED else "trl"
    first = next(_rows(file), {})
    return "verl" if {"input", "output", "score", "step"} <= first.keys() else "jsonl"


def _files(source: Path) -> list[Path]:
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise ValueError(f"source={str(source)!r}: no such file or folder")
    inner = source / "completions"  # of TRL's output_dir
    folder = inner if inner.is_dir() else source
    found = [path for path in folder.iterdir() if path.suffix in (".parquet", ".jsonl")]
    suffixes = {path.suffix for path in found}
    if len(suffixes) != 1:
        what = "both .parquet and .jsonl files; name one file" if suffixes else "no .parquet or .jsonl file"
        raise ValueError(f"source={str(source)!r}: holds {what}")
    return sorted(found, key=lambda path: ([int(n) for n in re.findall(r"\d+", path.stem)], path.name))


@contextmanager
def _parquet(file: Path) -> Iterator[pq.ParquetFile]:
    try:
        with pq.ParquetFile(file) as parquet:
            yield parquet
    except pa.ArrowException as error:
        raise ValueError(f"{file}: not a whole Parquet file ({error})") from error


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    if file.suffix == ".parquet":
        with _parquet(file) as parquet:
            for batch in parquet.iter_batches(4096):
                yield from batch.to_pylist()
        return
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{file}, line {number}: not JSON ({error})") from error
            if not isinstance(row, dict):
                raise ValueError(f"{file}, line {number}: need a JSON object, as {{'completion': …}}")
            yield row


class _Reading:
    """Rows of theirs to rows of ours."""

    def __init__(self, known: str, settings: Settings, run: str) -> None:
        self.format, self.settings, self.run = known, settings, run
        self.left_out: set[str] = set()
        allowed = set(schema.SCHEMA.names) - _OF_US
        for ours in settings.columns:
            if ours not in allowed:
                raise ValueError(f"column={ours}: need one of {', '.join(sorted(allowed))}")

    def row(self, theirs: dict[str, Any], file: Path) -> dict[str, Any]:
        """One row, but for its group. Raises ValueError where the prompt, the completion or a number is missing."""
        left = dict(theirs)
        taken = {name: self._take(left, name) for name in schema.SCHEMA.names if name not in _OF_US}
        if taken["completion"] is None:
            raise ValueError(f"{file}: a row without a completion; name its column, as --column completion=text")
        kind = left.pop("kind", None) if self.format == "jsonl" else None
        row = {name: value for name, value in taken.items() if value is not None}
        for name in _NUMBERS & row.keys():
            row[name] = _whole(name, row[name], file)
        step = row.get("step", 0)
        # See the module's docstring; before the first update both write step 0, for validation.
        if self.format != "jsonl" and self.settings.kind == "train":
            step = max(0, step - 1)
        gold, meta = _gold(row.get("gold"), row.get("meta"))
        row |= {
            "run": self.run,
            "kind": "eval" if kind == schema.OLD_KIND else kind or self.settings.kind,
            "step": step,
            "policy_step": row.get("policy_step", step),
            "prompt": text_of(row.get("prompt", "")),
            "completion": text_of(row["completion"]),
            "gold": gold,
            "meta": meta,
            "prefill": row.get("prefill", ""),
            "task": row.get("task", self.settings.task),
            "template": row.get("template", "imported"),
            "temperature": row.get("temperature", self.settings.temperature),
            "verifier": self.settings.verifier or row.get("verifier"),
        }
        given = left.pop("prompt_id", None) if self.format == "jsonl" else None
        digest = hashlib.sha256(json.dumps([row["prompt"], gold]).encode()).hexdigest()[:16]
        row["prompt_id"] = f"imported:{digest}" if given is None else str(given)
        if self.format == "verl" and left.get("reward") == row.get("reward"):
            left.pop("reward", None)  # in its validation dumps, `score` once more
        self._judged(row, left)
        unused = left.keys() - _OF_US - {"numbers"}
        self.left_out |= {name for name in unused if left[name] is not None}
        return row

    def _take(self, left: dict[str, Any], ours: str) -> Any:
        if ours in self.settings.columns:
            return left.pop(self.settings.columns[ours], None)
        for theirs in _NAMES[self.format].get(ours, (ours,)):
            if theirs in left:
                return left.pop(theirs)
        if ours == "meta" and isinstance(left.get("numbers"), list):
            return {"numbers": left["numbers"]}
        return None

    def _judged(self, row: dict[str, Any], left: dict[str, Any]) -> None:
        """Rewards from what is left, and a verdict where one was given."""
        # verl's reward functions say in `acc`, others in `correct`, whether the answer was right.
        right = next((left[name] for name in ("acc", "correct") if _is_number(left.get(name))), None)
        if right is not None and "verdict" not in row:
            row["verdict"] = "correct" if right > 0 else "wrong"
        total, paid = 0.0, False
        for name in [name for name, value in left.items() if name not in _OF_US and _is_number(value)]:
            value = float(left.pop(name))
            row[name if name.startswith(schema.REWARD_PREFIX) else schema.REWARD_PREFIX + name] = value
            total, paid = total + self.settings.weights.get(name, 1.0) * value, True
        if paid and self.format == "trl" and "reward" not in row:
            row["reward"] = total  # as TRL: the weighted sum of those that are not NaN


class _Sink:
    """Writes rows as shards of whole steps, as long as a step's rows come together; holds few in memory."""

    def __init__(self, run: Path, settings: Settings) -> None:
        self._run, self._settings = run, settings
        self._waiting: dict[tuple[str, int], list[dict[str, Any]]] = {}
        self.parts: Counter[tuple[str, int]] = Counter()
        self._rows = self.rollouts = 0

    def add(self, row: dict[str, Any]) -> None:
        key = (row["kind"], row["step"])
        if self._rows >= BUFFERED_ROWS:
            self._flush([k for k in self._waiting if k != key] or [key])
        self._waiting.setdefault(key, []).append(row)
        self._rows += 1

    def close(self) -> None:
        self._flush(list(self._waiting))

    def _flush(self, keys: Sequence[tuple[str, int]]) -> None:
        for kind, step in keys:
            rows = self._waiting.pop((kind, step))
            self._rows -= len(rows)
            part = self.parts[kind, step]
            self.parts[kind, step] += 1
            groups: dict[tuple[str, bool], int] = {}
            samples: Counter[tuple[str, bool]] = Counter()
            for row in rows:
                name = row["prompt_id"], row.get("temperature") == 0
                row["group_id"] = f"{kind}-{step}-{part}-{groups.setdefault(name, len(groups))}"
                row["sample_idx"] = samples[name]
                samples[name] += 1
            _grade(rows, self._settings)
            store.write_shard(self._run, rows, kind=kind, step=step, rank=part, imported=True)
            self.rollouts += len(rows)


def _grade(rows: list[dict[str, Any]], settings: Settings) -> None:
    """Judge every completion again where a verifier is named."""
    if settings.verifier is None:
        return
    from rewards.accuracy import Accuracy

    columns = {name: [row[name] for row in rows] for name in ("gold", "meta", "verifier", "prefill")}
    verdicts = Accuracy(settings.extraction).verdicts([row["completion"] for row in rows], **columns)
    for row, verdict in zip(rows, verdicts, strict=True):
        row["verdict"], row["verdict_reason"] = verdict.status, verdict.reason


def text_of(value: object) -> str:
    """A text, or the contents of chat messages: one message is its content, more are "role: content" lines."""
    if isinstance(value, list) and all(isinstance(message, dict) for message in value):
        said = [(str(message.get("role", "")), _content(message.get("content"))) for message in value]
        return said[0][1] if len(said) == 1 else "\n".join(f"{role}: {content}" for role, content in said)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _content(content: object) -> str:
    if isinstance(content, list):  # parts of a multimodal message
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return "" if content is None else str(content)


def _gold(gold: Any, meta: Any) -> tuple[str, str]:
    """Gold and meta as texts. TinyZero's Countdown has both in one: {"target": 22, "numbers": [3, 5, 7]}."""
    if isinstance(gold, dict) and {"target", "numbers"} <= gold.keys():
        meta, gold = meta or {"numbers": _numbers(gold["numbers"])}, gold["target"]
    if isinstance(gold, float) and gold.is_integer():
        gold = int(gold)
    said = "" if gold is None else gold if isinstance(gold, str) else json.dumps(gold, ensure_ascii=False)
    return said, meta if isinstance(meta, str) else json.dumps(meta or {}, ensure_ascii=False)


def _numbers(given: Any) -> Any:
    """verl 0.9 writes a gold's NumPy array as `str` gives it, "[ 3 15  7]"."""
    if isinstance(given, str) and _ARRAY.fullmatch(given):
        return [int(number) for number in re.findall("[0-9]+", given)]
    return given


def _is_number(value: object) -> bool:
    return isinstance(value, bool | int | float) and value == value


def _whole(name: str, value: object, file: Path) -> int:
    if isinstance(value, int | float) and value == value and float(value).is_integer():
        return int(value)
    raise ValueError(f"{file}: {name}={value!r}: need a whole number")
