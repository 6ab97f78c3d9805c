"""Looking at a run: the report and a page of rollouts, side by side with pandas over the same Parquet files.

`python -m benchmarks.inspect SIDE TASK RUN` does one task as a process of its own and prints its peak memory.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tqdm.auto import tqdm

from benchmarks import machine, presets, store
from benchmarks.rows import Figure, Row, rows_of
from r1rl.ground.errors import RunFailedError
from r1rl.ground.machine import peak_memory, usable_cores

SUMMARY = "The report and a page of rollouts, against pandas."
TASKS: Final = {"report": "report", "page": "20 wrong rollouts of a step"}
HELD_OUT: Final = "eval"
_EVALUATIONS, _PROMPTS, _SAMPLES = 5, 64, 4  # held-out evaluations of a run, their prompts, samples of each
_OFFSET, _LIMIT = 40, 20
_TAIL = 400
_FIGURES: Final[list[Figure]] = [
    ("time", "s", lambda turn: turn[0]),
    ("peak memory", "GB", lambda turn: turn[1]),
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--rollouts", type=int, default=100_000, metavar="N", help="of training; a step has 1000 (default: 100000)"
    )
    parser.add_argument("--repeats", type=int, default=3, metavar="N", help="turns of each side (default: 3)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the generated run (default: 0)")


def measure(parsed: argparse.Namespace) -> list[Row]:
    presets.check(parsed, rollouts=store.STEP)
    steps = parsed.rollouts // store.STEP
    taken: dict[tuple[str, str], list[tuple[float, float]]] = {(task, side): [] for task in TASKS for side in SIDES}
    with tempfile.TemporaryDirectory(prefix="r1rl-bench-inspect-") as folder:
        run = Path(folder) / "run"
        store.generate(run, steps, parsed.seed)
        add_evaluations(run, steps, parsed.seed)
        for _ in tqdm(range(parsed.repeats), desc="inspect", unit="round"):
            for task, side in taken:
                taken[task, side].append(turn(side, task, run))
    rollouts = steps * store.STEP + _EVALUATIONS * _PROMPTS * _SAMPLES
    note = f"{rollouts:,} rollouts; whole processes, imports included; ours also detects attempts and draws curves"
    described = machine.describe(usable_cores())
    found = []
    for task, title in TASKS.items():
        ours, peer = (taken[task, side] for side in SIDES)
        found += rows_of(_FIGURES, ours, peer, described, name=f"inspect: {{}} of the {title}", note=note)
        note = ""
    return found


def report_of_ours(run: Path) -> Any:
    """The report that `r1rl inspect` writes."""
    from r1rl.inspect import load, write_report

    return write_report(load(run))


def report_of_pandas(run: Path) -> Path:
    """What a notebook shows of a run: rates by step, and some rollouts, as an HTML page."""
    frame = store.frame(run)
    right = frame.assign(right=frame["verdict"] == "correct")
    rates = right.groupby(["kind", "step"])[["right", "reward", "n_tokens"]].mean()
    samples = frame[frame["kind"] == HELD_OUT].groupby("verdict").head(3)[["step", "prompt", "completion", "verdict"]]
    path = run / "pandas.html"
    path.write_text(rates.to_html() + samples.to_html(), encoding="utf-8")
    return path


def page_of_ours(run: Path) -> list[str]:
    """Some completions that a filter leaves, by the store."""
    from r1rl.store.store import find

    found = find(run, "kind = 'train' AND step = 0 AND verdict = 'wrong'", limit=_LIMIT, offset=_OFFSET)
    return list(found.column("completion").to_pylist())


def page_of_pandas(run: Path) -> list[str]:
    """The same by a filter over a frame."""

    def wrong(rows: Any) -> Any:
        return (rows["kind"] == "train") & (rows["step"] == 0) & (rows["verdict"] == "wrong")

    return store.page_of_pandas(run, wrong, ["kind", "step", "verdict"], _OFFSET, _LIMIT)


SIDES: Final[dict[str, dict[str, Callable[[Path], Any]]]] = {
    "ours": {"report": report_of_ours, "page": page_of_ours},
    "pandas": {"report": report_of_pandas, "page": page_of_pandas},
}


def add_evaluations(run: Path, steps: int, seed: int) -> None:
    """Give a generated run what a report needs: a recipe, and held-out rollouts that try once or twice."""
    from r1rl.store.store import write_shard

    (run / "recipe.yaml").write_text(f"model_name_or_path: made\ntask: countdown\nseed: {seed}\n", encoding="utf-8")
    chance = random.Random(seed)
    problems = [tuple(chance.randrange(1, 20) for _ in range(3)) for _ in range(_PROMPTS)]
    for number in range(_EVALUATIONS):
        made = [
            _held_out(f"countdown:made-{i}", numbers, sample, right=chance.random() < 0.2 + 0.1 * number)
            for i, numbers in enumerate(problems)
            for sample in range(_SAMPLES)
        ]
        write_shard(run, made, kind=HELD_OUT, step=number * steps // (_EVALUATIONS - 1), rank=0)


def _held_out(prompt_id: str, numbers: tuple[int, ...], sample: int, *, right: bool) -> dict[str, Any]:
    a, b, c = numbers
    gold = str(a + b + c)
    tries = [f"{a} - {b} = {a - b} , {a - b} + {c} = {a - b + c} target {gold} got {a - b + c} no"]
    if right:
        tries.append(f"{a} + {b} = {a + b} , {a + b} + {c} = {gold} target {gold} got {gold} yes")
    answer = f"{a} + {b} + {c}" if right else f"{a} - {b} + {c}"
    text = f"<think> {' , wait , '.join(tries)} </think> <answer> {answer} </answer>"
    return {
        "run": "made", "policy_step": 0, "prompt_id": prompt_id, "group_id": prompt_id, "sample_idx": sample,
        "task": "countdown", "template": "none", "prompt": f"Use {a}, {b}, {c} to make {gold}.", "prefill": "",
        "completion": text, "token_ids": None, "logprobs": None, "n_tokens": len(text.split()), "finish_reason": "eos",
        "gold": gold, "meta": json.dumps({"numbers": numbers}), "verdict": "correct" if right else "wrong",
        "verdict_reason": "", "reward": float(right), "advantage": None, "temperature": 1.0, "top_p": 1.0, "cap": 512,
        "wall_time": 1.7e9,
    }  # fmt: skip


def turn(side: str, task: str, run: Path) -> tuple[float, float]:
    """Seconds of a process from its start to its end, and its peak memory in GB."""
    words = [sys.executable, "-m", "benchmarks.inspect", side, task, str(run)]
    started = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise RunFailedError(f"benchmark side {side!r} ended: …{done.stderr.strip()[-_TAIL:]}")
    return seconds, json.loads(done.stdout.splitlines()[-1]) / 1e9


def main() -> None:
    side, task, run = sys.argv[1:]
    SIDES[side][task](Path(run))
    sys.stdout.write(f"{peak_memory()}\n")


if __name__ == "__main__":
    main()
