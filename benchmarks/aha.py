"""The rollout annotations: rollouts a second on one core, beside keyword counting the plain way.

The peer is what training code does by hand: each word of the five lexicons as a regular expression of its own, over
the same texts. It finds words only; `annotate` also finds attempts, transitions, goal tests, slips and the rest.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import random
import re
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from benchmarks.machine import describe

SUMMARY = "The rollout annotations, against keyword counting."
SLICES: Final = 5
_TOKENS: Final = 300
# The tiny base reads whole numbers. SmolLM2 and Qwen2.5 read digits, and cut some words too: they make a tenth more.
_OF_TINY_BASE: Final = re.compile(r"\w+|[^\w\s]")
_OF_PROSE: Final = re.compile(r"\d|[^\W\d]+|[^\w\s]")
_GROUP: Final = 16
_COMPARED: Final = 400  # texts of a slice in which words alone are counted

_OPENINGS: Final = (
    "Okay, so let's see. {name} has {a} {thing} and buys {b} more, then gives away {c} of them.",
    "First, I need to find out how many {thing} {name} has after buying {b} more.",
    "Alright, {name} starts the day with {a} {thing}, and each of the {b} boxes holds {c}.",
)
_MIDDLES: Final = (
    " So that's {a} + {b} = {ab} {thing}.",
    " Then {ab} - {c} = {abc}, which means {abc} {thing} are left over at the end of the day.",
    " Each box holds the same number, so we multiply: {a} * {b} = {product}.",
    " Wait, let me check that again. The problem says {name} gives away {c}, not {b}.",
    " Hmm, but the question asks for the total number of {thing} that remain.",
    " In other words, \\({a} \\times {b} = {product}\\), and we still have to subtract the {c} that were sold.",
    " However, I should double-check whether the {thing} from yesterday count as well.",
    " Let me think about it differently: if {name} had {a} of them, the others would have {b}.",
    " That makes sense because the shop sells them at ${a}.50 each and {b} of them cost ${product}.",
)
_ENDINGS: Final = (
    " So the answer is {abc}.",
    " Therefore, the total is {abc}. Let me verify: {abc} + {c} = {ab}. That's correct.",
    " The final answer is \\boxed{{{abc}}}.",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rollouts", type=int, default=10_000, metavar="N", help="of each kind (default: 10000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="which rollouts (default: 0)")


def measure(parsed: argparse.Namespace) -> list[dict[str, Any]]:
    if parsed.rollouts < SLICES:
        raise ValueError(f"rollouts={parsed.rollouts}: need at least {SLICES}; try 10000")
    return measured(parsed.rollouts, parsed.seed)


def measured(rollouts: int = 10_000, seed: int = 0) -> list[dict[str, Any]]:
    """Rollouts of 300 tokens annotated per second, Countdown and word problems, each made up afresh.

    Tokens are words, signs, and of prose single digits, of the tiny base's form whole numbers: as the tokenizers of
    models that write so have it. Everything is annotated in one process, its caches cold at first.
    """
    from r1rl.aha.detect.annotation import annotate_all
    from r1rl.aha.detect.markers import find_all

    words = _peer()
    machine = describe(1)
    rows = []
    spent = 0.0  # seconds of `annotate_all`
    for kind, make in (("Countdown", countdown_rows), ("word problems", prose_rows)):
        rates: dict[str, list[float]] = {"annotate": [], "markers": [], "peer": []}
        source = iter(make(seed))
        size = -(-rollouts // SLICES)
        for _ in range(SLICES):
            part = list(itertools.islice(source, size))
            texts = [row["completion"] for row in part[:_COMPARED]]
            seconds = _seconds(annotate_all, [part])
            spent += seconds
            rates["annotate"].append(len(part) / seconds)
            rates["markers"].append(len(texts) / _seconds(find_all, texts))
            rates["peer"].append(len(texts) / _seconds(words, texts))
        for name, key in (("all detectors", "annotate"), ("five lexicons with spans", "markers")):
            rows.append(
                {
                    "name": f"{kind}, {name}",
                    "ours": round(statistics.median(rates[key]), 1),
                    "peer": round(statistics.median(rates["peer"]), 1),
                    "ratio": round(statistics.median(a / b for a, b in zip(rates[key], rates["peer"], strict=True)), 2),
                    "unit": "rollouts/s",
                    "machine": machine,
                }
            )
    annotated = 2 * SLICES * -(-rollouts // SLICES)
    rows.append(
        {
            "name": "100,000 rollouts of 300 tokens, half of each kind",
            "ours": round(spent / annotated * 100_000, 1),
            "peer": None,
            "ratio": None,
            "unit": "s",
            "machine": machine,
        }
    )
    return rows


def _peer() -> Callable[[str], int]:
    from r1rl.aha.detect.lexicons import LEXICONS

    expressions = [
        re.compile(rf"\b(?:{pattern.expression})\b", re.IGNORECASE)
        for lexicon in LEXICONS.values()
        for pattern in lexicon.patterns
    ]
    return lambda text: sum(len(expression.findall(text)) for expression in expressions)


def _seconds(work: Callable[[Any], Any], arguments: Iterable[Any]) -> float:
    """Of processor time, in which other load does not count, nor what the collector does about others' objects."""
    collects = gc.isenabled()
    gc.disable()
    try:
        started = time.process_time()
        for argument in arguments:
            work(argument)
        return time.process_time() - started
    finally:
        if collects:
            gc.enable()


def _tokens(text: str, of: re.Pattern[str]) -> int:
    return len(of.findall(text))


def _row(
    completion: str, n_tokens: int, *, task: str, verifier: str, prompt_id: int, sample: int, **columns: Any
) -> dict[str, Any]:
    return {
        **{"run": "bench", "kind": "train", "step": 0, "rank": 0, "group_id": str(prompt_id), "prompt": ""},
        **{"prompt_id": str(prompt_id), "sample_idx": sample, "temperature": 1.0, "n_tokens": n_tokens},
        **{"task": task, "verifier": verifier, "completion": completion, "prefill": "", "finish_reason": "eos"},
        **{"verdict": "wrong", **columns},
    }


def countdown_rows(seed: int) -> Iterable[dict[str, Any]]:
    """Countdown rollouts without end: several attempts as chains, in the tiny base's form or in prose."""
    chance = random.Random(seed)
    for prompt_id in itertools.count():
        numbers = [chance.randint(1, 99) for _ in range(chance.choice((3, 4)))]
        target = chance.randint(10, 200)
        meta = json.dumps({"numbers": numbers})
        for sample in range(_GROUP):
            text = "<think>"
            prose = chance.random() < 0.5
            token = _OF_PROSE if prose else _OF_TINY_BASE
            while _tokens(text, token) < _TOKENS - 30:
                text += _chain(numbers, target, chance, prose)
            text += " </think> <answer> " + " + ".join(map(str, numbers)) + " </answer>"
            yield _row(
                text,
                _tokens(text, token),
                task="countdown",
                verifier="countdown",
                prompt_id=prompt_id,
                sample=sample,
                gold=str(target),
                meta=meta,
            )


def _chain(numbers: list[int], target: int, chance: random.Random, prose: bool) -> str:
    pool = chance.sample(numbers, len(numbers))
    steps = []
    while len(pool) > 1:
        left, right = pool.pop(), pool.pop()
        sign = chance.choice("++-*")
        value = left + right if sign == "+" else left - right if sign == "-" else left * right
        steps.append(f"{left} {sign if not prose or sign != '*' else '×'} {right} = {value}")
        pool.append(value)
    if prose:
        doubt = chance.choice(("Wait, let me try again. ", "Hmm. ", "That doesn't work. ", ""))
        return f" Let's try {', then '.join(steps)}. That is {chance.choice(('not', 'too far from'))} {target}. {doubt}"
    return f" {' , '.join(steps)} target {target} got {pool[0]} no , {chance.choice(('wait ,', 'try again :'))}"


def prose_rows(seed: int) -> Iterable[dict[str, Any]]:
    """Word-problem rollouts without end, graded by `math` as plain numbers."""
    chance = random.Random(seed)
    for prompt_id in itertools.count():
        a, b, c = (chance.randint(2, 90) for _ in range(3))
        words: dict[str, Any] = {"a": a, "b": b, "c": c, "ab": a + b, "abc": a + b - c, "product": a * b}
        words["name"], words["thing"] = chance.choice(("Ann", "Tom", "Maria")), chance.choice(("eggs", "pens", "books"))
        for sample in range(_GROUP):
            text = "<think>" + chance.choice(_OPENINGS).format(**words)
            while _tokens(text, _OF_PROSE) < _TOKENS - 34:
                text += chance.choice(_MIDDLES).format(**words)
            text += chance.choice(_ENDINGS).format(**words) + f" </think> <answer> {a + b - c} </answer>"
            yield _row(
                text,
                _tokens(text, _OF_PROSE),
                task="file",
                verifier="math",
                prompt_id=prompt_id,
                sample=sample,
                gold=str(a + b - c),
                meta="{}",
            )
