"""The mathematics grader side by side with plain math-verify."""

import argparse
import json
import random
import subprocess
import sys
import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from benchmarks.rows import Row, row
from r1rl.ground.machine import cores_of_a_rank
from r1rl.verify import math

SUMMARY = "The mathematics grader, against plain math-verify."

MATH_SHARE = 0.2  # of MATH-500 among the pairs; the others are GSM8K's
SLICES = 5  # both sides take turns slice by slice, so that a load from elsewhere meets both

# plain math-verify as its README shows it: gold and answer as LaTeX, its own time-outs, one process
_PEER = r"""
import json, sys, time
from math_verify import parse, verify
def judge(answer, gold):
    return verify(parse(f"${gold}$"), parse(f"${answer}$"))
judge("1", "2"), judge("\\sqrt{2}", "\\frac{1}{2}")
for line in sys.stdin:
    pairs = json.loads(line)
    started = time.perf_counter()
    right = sum(judge(answer, gold) for answer, gold in pairs)
    print(json.dumps([time.perf_counter() - started, right]), flush=True)
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, default=Path("data"), metavar="PATH", help="folder with gsm8k_*.jsonl and math500_*.jsonl"
    )
    parser.add_argument("--pairs", type=int, default=5000, metavar="N", help="answer pairs judged (default: 5000)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="which pairs (default: 0)")


def measure(parsed: argparse.Namespace) -> list[Row]:
    """Pairs judged per second: ours in all workers, against plain math-verify in one process times the cores.

    Rows: the verifier at first sight, and the same again with its verdicts remembered.
    """
    todo = answer_pairs(parsed.data, parsed.pairs, parsed.seed)
    size = -(-len(todo) // SLICES)
    cores, pool = cores_of_a_rank(), math._pool
    pool.verify_many([(f"x+{number}", "y") for number in range(16 * cores)])  # start every worker
    rates: dict[str, list[float]] = {"first pass": [], "cached pass": [], "peer": []}
    pipe, quiet = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen([sys.executable, "-c", _PEER], stdin=pipe, stdout=pipe, stderr=quiet, text=True) as peer:
        assert peer.stdin is not None
        assert peer.stdout is not None
        for start in range(0, len(todo), size):
            part = todo[start : start + size]
            items: list[tuple[str, str, dict[str, Any]]] = [(answer, gold, {}) for answer, gold in part]
            peer.stdin.write(json.dumps(part) + "\n")
            peer.stdin.flush()
            rates["peer"].append(cores * len(part) / json.loads(peer.stdout.readline())[0])
            pool.clear_cache()
            math._plain.cache_clear()
            rates["first pass"].append(len(part) / _seconds(math.verify_many, items))
            rates["cached pass"].append(len(part) / _seconds(math.verify_many, items))
    theirs, machine = rates.pop("peer"), describe(cores)
    return [row(f"graders, {name}", ours, theirs, "pairs/s", machine) for name, ours in rates.items()]


def answer_pairs(data_dir: Path, count: int, seed: int) -> list[tuple[str, str]]:
    """`count` different (answer, gold) pairs, shuffled: golds against themselves, then against other problems'.

    MATH-500 gives a fifth. Raises `ValueError` where the files are missing or hold too few different answers.
    """
    found: dict[tuple[str, str], None] = {}
    shares = {"math500": round(count * MATH_SHARE), "gsm8k": count - round(count * MATH_SHARE)}
    for name, share in shares.items():
        answers = _answers(data_dir, name)
        distinct = list(dict.fromkeys(answers))
        if len(distinct) ** 2 < share or len(distinct) < 2:
            raise ValueError(f"pairs={count}: {name} in {data_dir} has {len(distinct)} different answers; try fewer")
        random.Random(seed).shuffle(distinct)
        pairs = [(answer, answer) for answer in distinct][: -(-share // 2)]
        for step in range(1, len(distinct)):
            pairs += [(distinct[(at + step) % len(distinct)], gold) for at, gold in enumerate(distinct)]
            if len(pairs) >= 2 * share:
                break
        new = [pair for pair in pairs if pair not in found]  # the data sets share some numbers
        found.update(dict.fromkeys(new[:share]))
    chosen = list(found)
    random.Random(seed).shuffle(chosen)
    return chosen


def _answers(data_dir: Path, name: str) -> list[str]:
    """The gold answers of one data set's files."""
    files = sorted(data_dir.glob(f"{name}_*.jsonl"))
    if not files:
        raise ValueError(f"data={str(data_dir)!r}: no {name}_*.jsonl there; try the folder that has it")
    rows = [
        json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines() if line.strip()
    ]
    try:
        return [row["answer"].rpartition("####")[2].strip() for row in rows]  # GSM8K's follows ####
    except KeyError:
        raise ValueError(f"data={str(data_dir)!r}: a row of {name} has no 'answer'") from None


def _seconds(work: Callable[[Any], object], argument: Any) -> float:
    return timeit.timeit(lambda: work(argument), number=1)
