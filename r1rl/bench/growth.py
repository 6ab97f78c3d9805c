"""How a step's time and memory grow with the group, the cap and the processes."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from r1rl.bench import machine, options, train
from r1rl.bench.endless import write
from r1rl.bench.paired import Row, fitted_exponent, row, significant
from r1rl.bench.presets import setting
from r1rl.bench.turn import OURS, TRL, Turn

SUMMARY = "How a step's time and memory grow with group, cap and processes, against plain TRL."
GROUPS = [4, 8, 16, 32, 64]
CAPS = [128, 256, 512, 1024, 2048]
_PROMPTS, _GROUP, _CAP, _MICRO_BATCH = 2, 8, 128, 16
_FIGURES: dict[str, tuple[Callable[[Turn], float], str]] = {
    "time of the step": (lambda turn: turn.seconds["step"], "s"),
    "time of sampling": (lambda turn: turn.seconds["sampling"], "s"),
    "time of the update": (lambda turn: turn.seconds["update"], "s"),
    "peak memory": (lambda turn: turn.peak_bytes / 1e9, "GB"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_run_arguments(parser)
    parser.add_argument("--groups", nargs="*", type=int, metavar="G", default=GROUPS, help="rollouts a prompt")
    parser.add_argument("--caps", nargs="*", type=int, metavar="N", default=CAPS, help="tokens a completion")
    parser.add_argument("--processes", nargs="*", type=int, metavar="N", default=[1, 2], help="data-parallel processes")


def measure(parsed: argparse.Namespace) -> list[Row]:
    options.check(parsed)
    for key, least in (("groups", 2), ("caps", 1), ("processes", 1)):
        if any(value < least for value in getattr(parsed, key)):
            raise ValueError(f"{key}={getattr(parsed, key)}: need at least {least} each")
    threads = options.threads(parsed)
    described = machine.describe(threads)
    found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="r1rl-bench-") as folder:
        model = str(_endless(Path(folder), max(parsed.caps, default=_CAP)))

        def turns(label: str, group: int, cap: int, processes: int = 1) -> dict[str, list[Turn]]:
            changes: dict[str, Any] = {
                "prompts_per_step": _PROMPTS,
                "num_generations": group,
                "max_completion_length": cap,
                "reward_funcs": ["r1rl.bench.signal:characters"],
                "reward_weights": [1.0],
            }
            prepared = setting("tiny", dtype="fp32", seed=parsed.seed, changes=changes)
            rollouts = _PROMPTS * group // processes
            size = next(size for size in range(min(_MICRO_BATCH, rollouts), 0, -1) if rollouts % size == 0)
            return train.compare(
                prepared,
                [size],
                threads=threads,
                repeats=parsed.repeats,
                warmup=max(1, parsed.warmup),
                model=model,
                processes=processes,
                label=label,
            )[0]

        by_group = {group: turns(f"group {group}", group, _CAP) for group in parsed.groups}
        by_cap = {cap: turns(f"cap {cap}", _GROUP, cap) for cap in parsed.caps}
        by_processes = {n: turns(f"{n} processes", _GROUP, _CAP, n) for n in parsed.processes}
    for name, measured in (("group", by_group), ("cap", by_cap), ("processes", by_processes)):
        found += rows(name, measured, described, fitted=name != "processes")
    return found


def rows(name: str, measured: dict[int, dict[str, list[Turn]]], described: str, *, fitted: bool) -> list[Row]:
    """One row a size and figure, and the exponent of each figure where there are two sizes or more.

    Args:
        name: of what is made larger.
        measured: turns of both sides by size.
    """
    found: list[Row] = []
    for label, (figure, unit) in _FIGURES.items():
        of_sizes = [
            row(
                f"growth, {name}: {label} at {size}",
                [figure(turn) for turn in turns[OURS]],
                [figure(turn) for turn in turns[TRL]],
                unit,
                described,
            )
            for size, turns in measured.items()
        ]
        found += of_sizes
        if fitted and len(measured) > 1:
            exponents = [fitted_exponent(list(measured), [r[side] for r in of_sizes]) for side in ("ours", "peer")]
            ours, peer = (significant(exponent, 3) for exponent in exponents)
            found.append(
                row(f"growth, {name}: exponent of {label}", [ours], [peer if peer > 0 else None], "power", described)
            )
    return found


def _endless(folder: Path, cap: int) -> Path:
    from transformers import AutoTokenizer

    from r1rl import models

    tokenizer = AutoTokenizer.from_pretrained(models.resolve("base:countdown"))
    return write(folder / "model", tokenizer, positions=cap + 64)
