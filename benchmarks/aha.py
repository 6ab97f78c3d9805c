"""The rollout annotations: rollouts a second on one core, beside keyword counting the plain way.

The peer is what training code does by hand: each word of the five lexicons as a regular expression of its own, over
the same texts. It finds words only; `annotate` also finds attempts, transitions, goal tests, slips and the rest.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
import time
import timeit
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from benchmarks.machine import describe
from benchmarks.rows import Row, row

SUMMARY = "The rollout annotations, against keyword counting."
SLICES: Final = 5
_TOKENS: Final = 300
# The tiny base reads whole numbers. SmolLM2 and Qwen2.5 read digits, and cut some words too: they make a tenth more.
_OF_TINY_BASE: Final = re.compile(r"\w+|[^\w\s]")
_OF_PROSE: Final = re.compile(r"\d|[^\W\d]+|[^\w\s]")
_GROUP: Final = 16
_COMPARED: Final = 400  # texts of a slice in which words alone are counted
_ROW: Final[Mapping[str, Any]] = {
    "run": "bench", "kind": "train", "step": 0, "rank": 0, "prompt": "", "prefill": "", "temperature": 1.0,
    "finish_reason": "eos", "verdict": "wrong",
}  # fmt: skip
Problem: TypeAlias = Callable[[random.Random], tuple[dict[str, Any], Callable[[], tuple[str, int]]]]
"""Makes up a problem: the columns that its rollouts share, and what writes one, as its text and its tokens."""

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


def measure(parsed: argparse.Namespace) -> list[Row]:
    """Rollouts of 300 tokens annotated per second, Countdown and word problems, each made up afresh.

    Tokens are words, signs, and of prose single digits, of the tiny base's form whole numbers: as the tokenizers of
    models that write so have it. Everything is annotated in one process, its caches cold at first.
    """
    from r1rl.aha.detect.annotation import annotate_all
    from r1rl.aha.detect.lexicons import LEXICONS
    from r1rl.aha.detect.markers import find_all

    if parsed.rollouts < SLICES:
        raise ValueError(f"rollouts={parsed.rollouts}: need at least {SLICES}; try 10000")
    words = [
        re.compile(rf"\b(?:{pattern.expression})\b", re.IGNORECASE)
        for lexicon in LEXICONS.values()
        for pattern in lexicon.patterns
    ]
    described, found, size = describe(1), [], -(-parsed.rollouts // SLICES)
    each = []  # seconds of a rollout, by slice
    for kind, problem in (("Countdown", countdown), ("word problems", word_problem)):
        source, detectors, lexicons, peer = rollouts(problem, parsed.seed), [], [], []
        for _ in range(SLICES):
            part = list(itertools.islice(source, size))
            texts = [one["completion"] for one in part[:_COMPARED]]
            detectors.append(len(part) / _seconds(annotate_all, part))
            lexicons.append(len(texts) / _seconds(lambda them: [find_all(text) for text in them], texts))
            peer.append(len(texts) / _seconds(lambda them: [w.findall(text) for text in them for w in words], texts))
        for what, ours in (("all detectors", detectors), ("five lexicons with spans", lexicons)):
            found.append(row(f"{kind}, {what}", ours, peer, "rollouts/s", described))
        each += [1 / rate for rate in detectors]
    whole = [100_000 * sum(each) / len(each)]
    return [*found, row("100,000 rollouts of 300 tokens, half of each kind", whole, [None], "s", described)]


def _seconds(work: Callable[[Any], object], argument: Any) -> float:
    """Of processor time, in which other load does not count; the garbage collector is off meanwhile."""
    return timeit.timeit(lambda: work(argument), timer=time.process_time, number=1)


def rollouts(problem: Problem, seed: int) -> Iterator[dict[str, Any]]:
    """Rollouts without end, a group to each problem."""
    chance = random.Random(seed)
    for number in map(str, itertools.count()):
        columns, write = problem(chance)
        for sample in range(_GROUP):
            completion, tokens = write()
            names = {"prompt_id": number, "group_id": number, "sample_idx": sample}
            yield {**_ROW, **columns, **names, "completion": completion, "n_tokens": tokens}


def _tokens(text: str, of: re.Pattern[str]) -> int:
    return len(of.findall(text))


def countdown(chance: random.Random) -> tuple[dict[str, Any], Callable[[], tuple[str, int]]]:
    """Countdown: several attempts as chains, in the tiny base's form or in prose."""
    numbers = [chance.randint(1, 99) for _ in range(chance.choice((3, 4)))]
    target = chance.randint(10, 200)

    def write() -> tuple[str, int]:
        text, prose = "<think>", chance.random() < 0.5
        token = _OF_PROSE if prose else _OF_TINY_BASE
        while _tokens(text, token) < _TOKENS - 30:
            text += _chain(numbers, target, chance, prose)
        text += " </think> <answer> " + " + ".join(map(str, numbers)) + " </answer>"
        return text, _tokens(text, token)

    meta = json.dumps({"numbers": numbers})
    return {"task": "countdown", "verifier": "countdown", "gold": str(target), "meta": meta}, write


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


def word_problem(chance: random.Random) -> tuple[dict[str, Any], Callable[[], tuple[str, int]]]:
    """A word problem, graded by `math` as plain numbers."""
    a, b, c = (chance.randint(2, 90) for _ in range(3))
    words: dict[str, Any] = {"a": a, "b": b, "c": c, "ab": a + b, "abc": a + b - c, "product": a * b}
    words["name"], words["thing"] = chance.choice(("Ann", "Tom", "Maria")), chance.choice(("eggs", "pens", "books"))

    def write() -> tuple[str, int]:
        text = "<think>" + chance.choice(_OPENINGS).format(**words)
        while _tokens(text, _OF_PROSE) < _TOKENS - 34:
            text += chance.choice(_MIDDLES).format(**words)
        text += chance.choice(_ENDINGS).format(**words) + f" </think> <answer> {a + b - c} </answer>"
        return text, _tokens(text, _OF_PROSE)

    return {"task": "file", "verifier": "math", "gold": str(a + b - c), "meta": "{}"}, write
