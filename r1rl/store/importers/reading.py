"""Rows of other tools as rows of the store."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, get_args

from r1rl.store import schema
from r1rl.store.importers.formats.base import Format, Record, Settings, step_of_name
from r1rl.store.importers.formats.messages import read_text, written_text
from r1rl.store.importers.missing import Told
from r1rl.verify.verdict import Status

_OWN: Final = ("kind", "prompt_id", "group")
_OF_US: Final = frozenset({"run", "rank", "group_id", "sample_idx", *_OWN})
_ARRAY: Final = re.compile(r"\[\s*[0-9]{1,12}(?:\s+[0-9]{1,12}){0,15}\s*\]")
_WHOLE: Final = ("n_tokens", "cap", "step", "policy_step")
_REAL: Final = ("reward", "advantage", "temperature", "top_p", "wall_time")
_VERDICTS: Final = get_args(Status)
_LONGEST_NUMBER: Final = 40
_UNUSUAL: Final = re.compile(r"[^\w .:/@+-]")  # in the name of a reward, which becomes a column's
_LONGEST_NAME: Final = 80
_MOST_REWARDS: Final = 100


class Reading:
    """Records of one import to rows of the store, all but their groups; `told` counts what they tell."""

    def __init__(self, format: Format, settings: Settings, run: str, kind: str) -> None:
        self.format, self.settings, self.run, self.kind = format, settings, run, kind
        self.left_out: set[str] = set()
        self._rewards: set[str] = set()
        self.told = Told()
        allowed = set(schema.SCHEMA.names) - _OF_US
        for ours in settings.columns:
            if ours not in allowed:
                raise ValueError(f"column={ours}: need one of {', '.join(sorted(allowed))}")
        if settings.columns and not format.flat:
            raise ValueError(
                f"column={next(iter(settings.columns))}: {format.name} files have no columns to choose from"
            )

    def rows(self, record: Record, file: Path, where: str) -> Iterator[dict[str, Any]]:
        """The rollouts in a record. Raises ValueError where the completion or a number is missing."""
        for rollout in self.format.rollouts(record, file, self.told.seen):
            if not self.format.flat and rollout.get("completion") is None:
                self.told.seen["empty"] += 1
                continue
            row = self._row(rollout, file, where)
            self.told.add(row)
            yield row

    def _row(self, theirs: Record, file: Path, where: str) -> dict[str, Any]:
        left = dict(theirs)
        taken = {name: self._take(left, name) for name in schema.SCHEMA.names if name not in _OF_US}
        if taken["completion"] is None:
            raise ValueError(f"{where}: no completion; name its column, as --column completion=text")
        row = {name: value for name, value in taken.items() if value is not None}
        self._check(row, where)
        # Of TRL's and verl's columns one may have such a name, and mean another thing.
        own = {} if self.format.name in ("trl", "verl") else {name: left.pop(name, None) for name in _OWN}
        kind = "eval" if own.get("kind") == schema.OLD_KIND else own.get("kind") or self.kind
        if kind not in schema.KINDS:
            raise ValueError(f"{where}: kind={str(kind)[:60]!r}: need one of {', '.join(schema.KINDS)}")
        step = self._step(row, file)
        if step < 0:
            raise ValueError(f"{where}: step={step}: need at least 0")
        step = max(0, step - self.format.first_steps.get(kind, 0))
        gold, meta = _gold(row.get("gold"), row.get("meta"))
        if _is_countdown(row.get("gold")) and self.settings.task == Settings.task:
            row.setdefault("task", "countdown")  # which attempts are found in it depends on the task
        row |= {
            "run": self.run,
            "kind": kind,
            "step": step,
            "policy_step": row.get("policy_step", step),
            "prompt": read_text(row.get("prompt", ""), self.told.seen),
            "completion": written_text(row["completion"], self.told.seen),
            "gold": gold,
            "meta": meta,
            "prefill": row.get("prefill", ""),
            "task": row.get("task", self.settings.task),
            "template": row.get("template", "imported"),
            "temperature": row.get("temperature", self.settings.temperature),
            "verifier": self.settings.verifier or row.get("verifier"),
        }
        given = own.get("prompt_id")
        digest = hashlib.sha256(json.dumps([row["prompt"], gold]).encode()).hexdigest()[:16]
        row["prompt_id"] = f"imported:{digest}" if given is None else str(given)
        row["group"] = str(row["prompt_id"] if own.get("group") is None else own["group"])
        self._judged(row, left)
        unused = left.keys() - _OF_US - {"numbers"}
        self.left_out |= {_UNUSUAL.sub("_", name)[:_LONGEST_NAME] for name in unused if left[name] is not None}
        return row

    def _check(self, row: Record, where: str) -> None:
        """Make numbers of numbers in quotes, and verdicts of truth values. Raises ValueError for what is neither."""
        for name in _WHOLE:
            if name in row:
                row[name] = _whole(name, row[name], where)
        for name in _REAL:
            if name in row:
                row[name] = self._real(name, row[name], where)
        if (verdict := row.get("verdict")) is not None:
            if isinstance(verdict, int | float) and verdict in (0, 1):
                row["verdict"] = "correct" if verdict else "wrong"
            elif verdict not in _VERDICTS:
                raise ValueError(f"{where}: verdict={str(verdict)[:60]!r}: need true, false or {', '.join(_VERDICTS)}")
        ids, logprobs = row.get("token_ids"), row.get("logprobs")
        if isinstance(ids, list) and isinstance(logprobs, list) and len(ids) != len(logprobs):
            raise ValueError(f"{where}: {len(logprobs)} logprobs for {len(ids)} token_ids; need one for each")

    def _take(self, left: Record, ours: str) -> Any:
        if ours in self.settings.columns:
            return left.pop(self.settings.columns[ours], None)
        for theirs in self.format.names.get(ours, (ours,)):
            if theirs in left:
                return left.pop(theirs)
        if ours == "meta" and isinstance(left.get("numbers"), list):
            return {"numbers": left["numbers"]}
        return None

    def _step(self, row: Record, file: Path) -> int:
        """The step as they count; of a record without one the file's name may tell it."""
        if "step" in row:
            return int(row["step"])
        named = step_of_name(file.name) if self.format.flat else None
        return self.format.first_steps.get(self.kind, 0) if named is None else named

    def _real(self, name: str, value: object, where: str) -> float | None:
        number = as_number(value)
        if number is None:
            raise ValueError(f"{where}: {name}={str(value)[:60]!r}: need a number")
        if not math.isfinite(number):
            self.told.seen["numbers"] += 1
            return None
        return number

    def _judged(self, row: Record, left: Record) -> None:
        """Rewards from what is left, and a verdict where one was given."""
        names = (self.settings.correct,) if self.settings.correct else ("acc", "correct")
        right = next((left[name] for name in names if _is_number(left.get(name))), None)
        if right is not None and "verdict" not in row:
            row["verdict"] = "correct" if right > 0 else "wrong"
        total, paid = 0.0, False
        for name in [name for name, value in left.items() if name not in _OF_US and _is_number(value)]:
            column = schema.REWARD_PREFIX + _UNUSUAL.sub("_", name.removeprefix(schema.REWARD_PREFIX))[:_LONGEST_NAME]
            if column not in self._rewards and len(self._rewards) >= _MOST_REWARDS:
                continue
            self._rewards.add(column)
            value = row[column] = float(left.pop(name))
            total, paid = total + self.settings.weights.get(name, 1.0) * value, True
        if paid and self.format.name == "trl" and "reward" not in row:
            row["reward"] = total  # as TRL: the weighted sum of those that are not NaN


def as_number(value: object) -> float | None:
    """A number, or the number that a text holds; None for anything else."""
    if isinstance(value, str) and len(value) > _LONGEST_NUMBER:
        return None
    try:
        return float(value) if isinstance(value, str | int | float) else None
    except (ValueError, OverflowError):
        return None


def _is_countdown(gold: object) -> bool:
    return isinstance(gold, dict) and {"target", "numbers"} <= gold.keys()


def _gold(gold: Any, meta: Any) -> tuple[str, str]:
    """Gold and meta as texts. TinyZero's Countdown has both in one: {"target": 22, "numbers": [3, 5, 7]}."""
    if _is_countdown(gold):
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
    number = None if isinstance(value, str) else as_number(value)
    return number is not None and math.isfinite(number)


def _whole(name: str, value: object, where: str) -> int:
    number = as_number(value)
    if number is None or not number.is_integer():
        raise ValueError(f"{where}: {name}={str(value)[:60]!r}: need a whole number")
    return int(number)
