"""Runs whose annotations are drawn, not detected, and the figures of annotation rows by plain loops."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from r1rl.aha.detect.annotation import SCHEMA
from r1rl.aha.figures import annotations
from r1rl.store.store import write_shard

Annotation = dict[str, Any]
TRANSITIONS = ("right_right", "wrong_same", "wrong_different", "wrong_right", "right_wrong")
LABELS = ("effective", "confirmatory", "harmful", "idle")
HYGIENE = ("truncated", "repetition_loop", "continues_after_answer", "code_only", "mixed_language")


def rollout(prompt_id: str, sample_idx: int, **changes: Any) -> dict[str, Any]:
    """A rollout row without a text of interest."""
    row = {
        "run": "toy", "policy_step": 0, "prompt_id": prompt_id, "group_id": prompt_id, "sample_idx": sample_idx,
        "task": "countdown", "template": "none", "prompt": "Use 1, 2, 3 to make 6.", "prefill": "",
        "completion": "<think> 1 + 2 = 3 , 3 + 3 = 6 yes </think> <answer> 1 + 2 + 3 </answer>", "token_ids": None,
        "logprobs": None, "n_tokens": 20, "finish_reason": "eos", "gold": "6",
        "meta": json.dumps({"numbers": [1, 2, 3]}), "verdict": "correct", "verdict_reason": "", "reward": None,
        "advantage": None, "temperature": 1.0, "top_p": 1.0, "cap": 100, "wall_time": 1.0,
    }  # fmt: skip
    return {**row, **changes}


def attempts_of(path: str) -> dict[str, Any]:
    """The attempt columns for a path such as "WR": wrong, then right; every miss has another value."""
    right = [move == "R" for move in path]
    pairs = list(itertools.pairwise(right))
    names = {(True, True): "right_right", (True, False): "right_wrong", (False, True): "wrong_right"}
    return {
        "attempts": [
            {"start": i, "end": i + 1, "value": str(i), "claimed": None, "right": hit, "slip": False, "repeat": False,
             "status": "complete"}
            for i, hit in enumerate(right)
        ],
        "n_attempts": len(path),
        "first_right": right[0] if right else None,
        "final_right": right[-1] if right else None,
        "transitions": [names.get(pair, "wrong_different") for pair in pairs],
    }  # fmt: skip


def drawn_annotation(generator: random.Random, hit: float, retry: float) -> Annotation:
    """A row that has everything, nothing related to anything else, nulls where the contract allows them."""
    path = "".join("R" if generator.random() < hit else "W" for _ in range(1 + (generator.random() < retry)))
    while path and len(path) > 1 and generator.random() < retry:
        path += "R" if generator.random() < hit else "W"
    if generator.random() < 0.1:
        path = ""
    row: Annotation = {
        "n_tokens": generator.randint(3, 90),
        "n_chars": 100,
        "correct": generator.choice([True, False, False, None]),
        "finish_reason": "eos",
        **{flag: generator.random() < 0.08 for flag in HYGIENE},
        "markers": [
            {"start": i, "end": i + 1, "kind": "k", "label": generator.choice(LABELS)}
            for i in range(generator.choice([0, 0, 1, 3]))
        ],
        **attempts_of(path),
        "goal_tests": [
            {"start": i, "end": i + 1, "attempt": generator.randrange(len(path)), "says": generator.random() < 0.5,
             "truth": generator.random() < 0.5}
            for i in range(generator.randint(0, 3) if path else 0)
        ],
        "slips": generator.randint(0, 1),
        "checked_steps": generator.randint(1, 4),
        "guess": generator.choice([True, False, None]),
        **{name: generator.randint(0, 2) for name in ("resumes", "restarts", "duplicate_retries")},
        "dead_left": generator.randint(0, 1), "dead_seen": generator.randint(1, 2),
        "live_left": generator.randint(0, 1), "live_seen": generator.randint(1, 2),
    }  # fmt: skip
    row["transitions"] = [
        "wrong_same" if t == "wrong_different" and generator.random() < 0.3 else t for t in row["transitions"]
    ]
    row["clean"] = not any(row[flag] for flag in HYGIENE)
    row["marker_strict"] = len(row["markers"])
    row["marker_strict_first_n"] = min(1, row["marker_strict"])
    for name in ("marker_r1_nature", "marker_oat", "marker_orz", "marker_simplerl"):
        row[name] = generator.choice([0, 1, 4])
    return row


Draw = Callable[[int, int, int], Annotation]
"""(step, prompt, sample) -> annotation columns."""


def write_run(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    draw: Draw,
    *,
    steps: Sequence[int] = (0, 10, 20),
    prompts: int = 12,
    samples: int = 4,
    kind: str = "eval",
    prefix: str = "p",
) -> Path:
    """A run whose rollouts get the annotations that `draw` gives, computed and on disk."""
    made: dict[tuple[int, str, int], Annotation] = {}
    for step in steps:
        rows = []
        for prompt in range(prompts):
            for sample in range(samples):
                name = f"{prefix}{prompt}"
                made[step, name, sample] = draw(step, prompt, sample)
                rows.append(rollout(name, sample))
        write_shard(folder, rows, kind=kind, step=step, rank=0)

    def annotate(row: dict[str, Any]) -> Annotation:
        key = {name: row.get(name) for name in ("run", "kind", "step", "rank", "group_id", "prompt_id", "sample_idx",
                                                "temperature")}  # fmt: skip
        return {**dict.fromkeys(SCHEMA.names), **made[row["step"], row["prompt_id"], row["sample_idx"]], **key}

    with monkeypatch.context() as patch:
        patch.setattr(annotations, "annotate_all", lambda rows: [annotate(row) for row in rows])
        annotations.compute(folder, kind=kind)
    return folder


def counted(rows: Sequence[Annotation]) -> dict[str, float | None]:
    """Every figure of one step's rows by loops over them: what the SQL must give."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def add(key: str, above: float, below: float) -> None:
        sums[key][0] += above
        sums[key][1] += below

    for row in rows:
        moves = row["transitions"] or []
        if row["correct"] is not None:
            add("accuracy", row["correct"], 1)
        add("tokens", row["n_tokens"], 1)
        if row["n_attempts"] is not None:
            add("attempts", row["n_attempts"], 1)
            add("retried", row["n_attempts"] > 1, 1)
            add("wrong_to_right", "wrong_right" in moves, 1)
            add("right_to_wrong", "right_wrong" in moves, 1)
            for name in ("restarts", "resumes", "duplicate_retries"):
                add(name, row[name], 1)
        if row["first_right"] is not None:
            add("first_accuracy", row["first_right"], 1)
            add("retry_after_hit" if row["first_right"] else "retry_after_miss", row["n_attempts"] > 1, 1)
        if row["final_right"] is not None:
            add("final_accuracy", row["final_right"], 1)
        for move in moves:
            for name in TRANSITIONS:
                add(f"transition_{name}", move == name, 1)
            if move.startswith("wrong_"):
                add("retry_hits", move == "wrong_right", 1)
                others = [
                    other["first_right"] for other in rows
                    if other is not row and other["prompt_id"] == row["prompt_id"] and other["first_right"] is not None
                ]  # fmt: skip
                if others:
                    add("retry_lift", (move == "wrong_right") - sum(others) / len(others), 1)
        tests = row["goal_tests"]
        if tests is not None:
            add("tested", len({test["attempt"] for test in tests}), len(row["attempts"]))
            for test in tests:
                if test["says"]:
                    add("verify_precision", test["truth"], 1)
                if test["truth"]:
                    add("verify_recall", test["says"], 1)
                else:
                    add("yes_after_miss", test["says"], 1)
        if row["slips"] is not None:
            add("slips", row["slips"], row["checked_steps"])
            add("abandon_dead", row["dead_left"], row["dead_seen"])
            add("abandon_live", row["live_left"], row["live_seen"])
        if row["guess"] is not None:
            add("guesses", row["guess"], 1)
        for lexicon in ("strict", "r1_nature", "oat", "orz", "simplerl"):
            add(f"marker_{lexicon}_rate", row[f"marker_{lexicon}"] > 0, 1)
            add(f"marker_{lexicon}_per_1k", 1000 * row[f"marker_{lexicon}"], row["n_tokens"])
        add("marker_first_n", row["marker_strict_first_n"] > 0, 1)
        for marker in row["markers"]:
            for label in LABELS:
                add(f"marker_{label}", marker["label"] == label, 1)
        for flag in HYGIENE:
            add(flag, row[flag], 1)
        add("unclean", not row["clean"], 1)
    for key, by_length in (("reflection_gap", False), ("reflection_gap_matched", True)):
        sums[key] = _risk_difference(rows, by_length=by_length)
    return {key: above / below if below else None for key, (above, below) in sums.items()}


def _risk_difference(rows: Sequence[Annotation], *, by_length: bool) -> list[float]:
    """Mantel and Haenszel's, from the two-by-two table of each stratum."""
    strata: dict[tuple[Any, ...], list[list[bool]]] = defaultdict(lambda: [[], []])
    for row in rows:
        if row["correct"] is not None:
            length = math.floor(2 * math.log2(row["n_tokens"])) if by_length else 0
            strata[row["prompt_id"], length][row["marker_strict"] > 0].append(row["correct"])
    above = below = 0.0
    for without, with_marker in strata.values():
        size = len(without) + len(with_marker)
        above += (sum(with_marker) * len(without) - sum(without) * len(with_marker)) / size
        below += len(with_marker) * len(without) / size
    return [above, below]
