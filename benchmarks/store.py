"""The rollout store side by side with plain files: a generated run asked for rates and for rollouts."""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.machine import describe
from benchmarks.rows import Row, row
from r1rl.ground.machine import usable_cores
from r1rl.store import schema, shard_files, shards, store

SUMMARY = "The rollout store, against pandas over Parquet files and a JSONL file."

RANKS, ROWS_PER_SHARD = 8, 125
STEP: Final = RANKS * ROWS_PER_SHARD
"""Rollouts of a step."""

ROUNDS, ASKED_A_ROUND = 3, 3
"""How often both sides are asked, and how often the store in each round: a small time needs more repeats."""

BYTES_PER_ROW: Final = 6000
"""Disk that a row needs at the worst moment, in the store and in the peers' files together."""

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


class Question(NamedTuple):
    """A filter in the store's SQL and the same for one of the peers' rows; every one asks for 20 from an offset."""

    name: str
    where: str
    belongs: Callable[[Any], bool]
    offset: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rollouts", type=int, default=1_000_000, metavar="N", help="rows (default: 1000000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the generated rollouts (default: 0)")


def measure(parsed: argparse.Namespace) -> list[Row]:
    rollouts = parsed.rollouts
    if rollouts < STEP:
        raise ValueError(f"rollouts={rollouts}: need at least {STEP}, a step's")
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < rollouts * BYTES_PER_ROW:
        raise ValueError(
            f"rollouts={rollouts}: need {rollouts * BYTES_PER_ROW:,} bytes of disk, {free:,} are free in "
            f"{tempfile.gettempdir()}; set TMPDIR to another folder"
        )
    with tempfile.TemporaryDirectory(prefix="r1rl-bench-store-") as folder:
        return compare(Path(folder), rollouts, parsed.seed)


def compare(folder: Path, rollouts: int, seed: int) -> list[Row]:
    """Rows of the benchmark; `folder` is filled with the generated files."""
    run, steps = folder / "run", rollouts // STEP
    plain = Plain(folder)
    generate(run, steps, seed, plain)
    machine = describe(usable_cores())
    found = store.shards(run)
    size = sum(shard.path.stat().st_size for shard in found) / 1e9
    rows = [row("store, size with tokens and log-probs, peer: JSONL", [size], [plain.gigabytes], "GB", machine)]
    rows[0]["note"] = f"{steps * STEP:,} rollouts of about 300 tokens in {len(found):,} shards"
    for kind in ("parquet", "jsonl"):
        ours, peer, answer, theirs = _in_turns(lambda: store.query(run, RATES), lambda kind=kind: plain.rates(kind))
        assert [round(r["accuracy"], 6) for r in answer.to_pylist()] == [round(a, 6) for a in theirs]
        rows.append(row(f"store, rates per step, peer: {kind}", ours, peer, "s", machine))
    for asked in questions(steps):
        ours, peer, answer, theirs = _in_turns(
            lambda asked=asked: store.find(run, asked.where, offset=asked.offset),
            lambda asked=asked: plain.rollouts(asked),
        )
        assert answer.column("completion").to_pylist() == theirs
        rows.append(row(f"store, 20 rollouts by {asked.name}, peer: jsonl", ours, peer, "s", machine))
    return rows


def questions(steps: int) -> list[Question]:
    """Filters from narrow to wide; the last one is the worst there is: a text that next to nothing contains."""
    half = steps // 2
    return [
        Question(
            "step and verdict",
            f"step = {half} AND verdict = 'wrong'",
            lambda r: r["step"] == half and r["verdict"] == "wrong",
            40,
        ),
        Question("prompt", "prompt_id = 'made:77'", lambda r: r["prompt_id"] == "made:77", 100),
        Question(
            "step, verdict and text",
            f"step >= {half} AND verdict = 'wrong' AND contains(completion, 'Wait, 17')",
            lambda r: r["step"] >= half and r["verdict"] == "wrong" and "Wait, 17" in r["completion"],
            200,
        ),
        Question("rare text", f"contains(completion, '{_RARE}')", lambda r: _RARE in r["completion"], 0),
    ]


class Plain:
    """The same rollouts as others dump them: a Parquet file a step (TRL's way), one JSONL file (as verl's lines)."""

    def __init__(self, folder: Path) -> None:
        self.parquet, self.jsonl = folder / "completions", folder / "rollouts.jsonl"
        self.parquet.mkdir()

    @property
    def gigabytes(self) -> float:
        """Size of the JSONL file."""
        return self.jsonl.stat().st_size / 1e9

    def add(self, step: int, table: pa.Table) -> None:
        """Append a step's rollouts."""
        table = table.select(
            ["step", "prompt_id", "prompt", "completion", "gold", "verdict", "reward", "n_tokens", "finish_reason"]
        )
        pq.write_table(table, self.parquet / f"completions_{step:05d}.parquet")
        with self.jsonl.open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in table.to_pylist())

    def rates(self, kind: str) -> list[float]:
        """Accuracy per step, beside the other rates."""
        import pandas as pd

        columns = ["step", "verdict", "reward", "n_tokens", "finish_reason"]
        if kind == "parquet":
            frame = pd.concat(pd.read_parquet(path, columns=columns) for path in sorted(self.parquet.iterdir()))
        else:
            frame = pd.DataFrame([[row[name] for name in columns] for row in self._lines()], columns=columns)
        frame = frame.assign(correct=frame.verdict == "correct", truncated=frame.finish_reason == "length")
        rates = frame.groupby("step")[["correct", "reward", "n_tokens", "truncated"]].mean()
        return list(rates.sort_index()["correct"])

    def rollouts(self, question: Question) -> list[str]:
        """The completions asked for; stops at the twentieth."""
        found, skip = [], question.offset
        for line in self._lines():
            if question.belongs(line):
                if skip:
                    skip -= 1
                    continue
                found.append(line["completion"])
                if len(found) == 20:
                    break
        return found

    def _lines(self) -> Iterator[dict[str, Any]]:
        with self.jsonl.open(encoding="utf-8") as stream:
            for line in stream:
                yield json.loads(line)


def generate(run: Path, steps: int, seed: int, plain: Plain | None = None) -> None:
    """Write a run's training shards: RANKS a step, texts put together from sentences, about 300 tokens a rollout."""
    chance, generator = random.Random(seed), np.random.default_rng(seed)
    sentences = []
    for _ in range(4000):
        a, b = chance.randrange(100), chance.randrange(100)
        sentences.append(chance.choice(_REASONING).format(a=a, b=b, c=a + b))
    folder = run / shards.FOLDER
    folder.mkdir(parents=True)
    for step in range(steps):
        tables = [_shard(step, rank, sentences, chance, generator) for rank in range(RANKS)]
        for rank, table in enumerate(tables):
            with shards.shard_path(folder, "train", step, rank).open("wb") as file:
                shard_files.write(table, file, durable=False)
        if plain is not None:
            plain.add(step, pa.concat_tables(tables))
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
