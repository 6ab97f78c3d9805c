"""The rollout store side by side with pandas over the same Parquet files: rates by step, and pages of rollouts."""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from benchmarks.machine import describe
from benchmarks.rows import Row, row
from r1rl.ground.machine import usable_cores
from r1rl.store import schema, shard_files, shards, store

SUMMARY = "The rollout store, against pandas over the same Parquet files."

RANKS, ROWS_PER_SHARD = 8, 125
STEP: Final = RANKS * ROWS_PER_SHARD
"""Rollouts of a step."""

ROUNDS, ASKED_A_ROUND = 3, 3
"""How often both sides are asked, and how often the store in each round: a small time needs more repeats."""

BYTES_PER_ROW: Final = 3000
"""Disk that a row needs."""

_REASONING: Final = (
    "First, {a} + {b} = {c}.",
    "So we multiply {a} by {b} and get {c}.",
    "Let me check: {c} - {b} = {a}, which is right.",
    "Wait, {a} * {b} is not {c}.",
    "Let us try another way: ({a} + {b}) * 2.",
    "There are {a} boxes and each holds {b} pens, {c} in total.",
    "Hmm, that leaves {a}, too small by {b}.",
    "Subtracting {b} from {c} we have {a} left.",
    "We still need to use the number {a}.",
    "Therefore the sum is {c}, and half of it {b}.",
)
_RARE: Final = "this cannot be proved without the axiom of choice"

RATES: Final = """
SELECT step, count(*) AS rollouts, avg((verdict = 'correct')::DOUBLE) AS accuracy, avg(reward) AS reward,
    avg(n_tokens) AS length, avg((finish_reason = 'length')::DOUBLE) AS truncated
FROM rollouts WHERE kind = 'train' GROUP BY step ORDER BY step"""

_LIMIT: Final = 20
# Name, condition for the store, the same for a pandas frame, columns of it, how many to skip: from narrow to wide; the
# last one is the worst there is, a text that next to nothing contains.
QUESTIONS: Final[tuple[tuple[str, str, Callable[[Any], Any], list[str], int], ...]] = (
    (
        "step and verdict",
        "step = 0 AND verdict = 'wrong'",
        lambda f: (f["step"] == 0) & (f["verdict"] == "wrong"),
        ["step", "verdict"],
        40,
    ),
    ("prompt", "prompt_id = 'made:77'", lambda f: f["prompt_id"] == "made:77", ["prompt_id"], 0),
    (
        "rare text",
        f"contains(completion, '{_RARE}')",
        lambda f: f["completion"].str.contains(_RARE, regex=False),
        [],
        0,
    ),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rollouts", type=int, default=1_000_000, metavar="N", help="rows (default: 1000000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the generated rollouts (default: 0)")


def measure(parsed: argparse.Namespace) -> list[Row]:
    rollouts = parsed.rollouts
    if rollouts < STEP:
        raise ValueError(f"rollouts={rollouts}: need at least {STEP}, a step's")
    place = tempfile.gettempdir()
    free, needed = shutil.disk_usage(place).free, rollouts * BYTES_PER_ROW
    if free < needed:
        raise ValueError(
            f"rollouts={rollouts}: need {needed:,} bytes of disk, {free:,} are free in {place}; set TMPDIR"
        )
    with tempfile.TemporaryDirectory(prefix="r1rl-bench-store-") as folder:
        return compare(Path(folder) / "run", rollouts, parsed.seed)


def compare(run: Path, rollouts: int, seed: int) -> list[Row]:
    """Rows of the benchmark, over a run that is generated."""
    generate(run, rollouts // STEP, seed)
    machine, rows = describe(usable_cores()), []
    ours, peer, answer, theirs = _in_turns(lambda: store.query(run, RATES), lambda: _rates_of_pandas(run))
    assert [round(r["accuracy"], 6) for r in answer.to_pylist()] == [round(a, 6) for a in theirs]
    found = store.shards(run)
    size = sum(shard.path.stat().st_size for shard in found) / 1e9
    note = (
        f"{rollouts // STEP * STEP:,} rollouts of about 300 tokens in {len(found):,} shards of {size:.2g} GB together"
    )
    rows = [row("store: rates per step", ours, peer, "s", machine, note=note)]
    for name, where, chosen, columns, offset in QUESTIONS:
        ours, peer, answer, theirs = _in_turns(
            lambda where=where, offset=offset: store.find(run, where, limit=_LIMIT, offset=offset),
            lambda chosen=chosen, columns=columns, offset=offset: page_of_pandas(run, chosen, columns, offset, _LIMIT),
        )
        assert answer.column("completion").to_pylist() == theirs
        rows.append(row(f"store: {_LIMIT} rollouts by {name}", ours, peer, "s", machine))
    return rows


def frame(run: Path, columns: list[str] | None = None) -> Any:
    """The run's rollouts as a pandas frame."""
    import pandas

    # In the store's order: by step, kind and rank, as the names sort within a kind.
    files = sorted((run / shards.FOLDER).glob("*.parquet"))
    return pandas.concat([pandas.read_parquet(path, columns=columns) for path in files])


def page_of_pandas(run: Path, chosen: Callable[[Any], Any], columns: list[str], offset: int, limit: int) -> list[str]:
    """Some completions that a filter over a frame leaves."""
    rows = frame(run, [*columns, "completion"])
    return list(rows[chosen(rows)]["completion"][offset : offset + limit])


def _rates_of_pandas(run: Path) -> list[float]:
    """Accuracy per step, beside the other rates."""
    rows = frame(run, ["step", "verdict", "reward", "n_tokens", "finish_reason"])
    rows = rows.assign(correct=rows.verdict == "correct", truncated=rows.finish_reason == "length")
    rates = rows.groupby("step")[["correct", "reward", "n_tokens", "truncated"]].mean()
    return list(rates.sort_index()["correct"])


def generate(run: Path, steps: int, seed: int) -> None:
    """Write a run's training shards: RANKS a step, texts put together from sentences, about 300 tokens a rollout."""
    chance, generator = random.Random(seed), np.random.default_rng(seed)
    sentences = []
    for _ in range(4000):
        a, b = chance.randrange(100), chance.randrange(100)
        sentences.append(chance.choice(_REASONING).format(a=a, b=b, c=a + b))
    folder = run / shards.FOLDER
    folder.mkdir(parents=True)
    for step in range(steps):
        for rank in range(RANKS):
            path = shards.shard_path(folder, "train", step, rank)
            shard_files.write(_shard(step, rank, sentences, chance, generator), path)
    (run / "result.json").write_text('{"finished": true}', encoding="utf-8")


def _shard(
    step: int, rank: int, sentences: list[str], chance: random.Random, generator: np.random.Generator
) -> pa.Table:
    count = ROWS_PER_SHARD
    lengths = np.clip(generator.normal(300, 90, count), 20, 512).astype(np.int32)
    correct = generator.random(count) < 0.2 + 0.5 * step / (step + 200)
    texts = [" ".join(chance.choices(sentences, k=max(1, int(n) // 13))) for n in lengths]
    if generator.random() < 1 / 1000:
        texts[count // 2] += f" But {_RARE}."
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    # Token ids as a tokenizer gives them: few of them make most of a text.
    tokens = np.minimum(generator.zipf(1.3, lengths.sum()), 50_000).astype(np.int32)
    logprobs = -generator.exponential(0.4, lengths.sum()).astype(np.float32)
    prompts = [f"made:{generator.integers(2000)}" for _ in range(-(-count // 8)) for _ in range(8)][:count]
    golds = [str(len(prompt) * 7 + int(prompt[5:])) for prompt in prompts]
    names = {
        "run": ["made"] * count,
        "kind": ["train"] * count,
        "step": [step] * count,
        "policy_step": [step] * count,
        "rank": [rank] * count,
        "prompt_id": prompts,
        "group_id": [f"train-{step}-{rank}-{i // 8}" for i in range(count)],
        "sample_idx": [i % 8 for i in range(count)],
        "task": ["countdown"] * count,
        "template": ["r1-zero"] * count,
        "prompt": [f"User: Using the numbers of problem {p}, make {g}." for p, g in zip(prompts, golds, strict=True)],
        "prefill": [""] * count,
        "completion": texts,
        "token_ids": pa.ListArray.from_arrays(offsets, pa.array(tokens)),
        "logprobs": pa.ListArray.from_arrays(offsets, pa.array(logprobs)),
        "n_tokens": lengths,
        "finish_reason": np.where(lengths == 512, "length", "eos"),
        "gold": golds,
        "meta": ['{"numbers": [3, 5, 7]}'] * count,
        "verifier": ["countdown"] * count,
        "verdict": np.where(correct, "correct", "wrong"),
        "verdict_reason": ["" if right else f"value {i} is not it" for i, right in enumerate(correct)],
        "reward": correct.astype(float),
        "advantage": np.where(correct, 1.0, -1.0),
        "kept": [True] * count,
        "temperature": [1.0] * count,
        "top_p": [1.0] * count,
        "cap": [512] * count,
        "wall_time": [1.7e9 + 10.0 * step] * count,
    }
    return pa.table([pa.array(names[f.name], f.type) for f in schema.SCHEMA], schema=schema.SCHEMA)


def _in_turns(ours: Callable[[], Any], peer: Callable[[], Any]) -> tuple[list[float], list[float], Any, Any]:
    """Seconds of each side in every round, and what each answered."""
    mine: list[float] = []
    others: list[float] = []
    for _ in range(ROUNDS):
        seconds, theirs = _timed(peer)
        others.append(seconds)
        timed = [_timed(ours) for _ in range(ASKED_A_ROUND)]
        mine.append(statistics.median(seconds for seconds, _ in timed))
    return mine, others, timed[-1][1], theirs


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    answer = work()
    return time.perf_counter() - started, answer
