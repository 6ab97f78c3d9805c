"""How a step's time and memory grow with the group, the cap and the processes."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine, options, train
from benchmarks.children import Taken
from benchmarks.endless import write
from benchmarks.paired import Row, fitted_exponent, keeping, row, significant
from benchmarks.presets import NO_SIGNAL_LOST, setting
from benchmarks.turn import OURS, TRL, Turn
from r1rl.ground.errors import RunFailedError

SUMMARY = "How a step's time and memory grow with group, cap and processes, against plain TRL."
EXAMPLES = """\
examples:
  r1rl bench growth
  r1rl bench growth --over cap --caps 128 512 2048 --repeats 1"""
OVER = ("group", "cap", "processes")
_PROMPTS, _GROUP, _CAP, _MICRO_BATCH = 2, 8, 128, 16
_FIGURES: dict[str, tuple[Callable[[Turn], float], str]] = {
    "time of the step": (lambda turn: turn.seconds["step"], "s"),
    "time of sampling": (lambda turn: turn.seconds["sampling"], "s"),
    "time of the update": (lambda turn: turn.seconds["update"], "s"),
    "peak memory": (lambda turn: turn.peak_bytes / 1e9, "GB"),
}
_NOTE = (
    "2 prompts; a group of 8, a cap of 128 and one process but for what grows; a random model of the tiny base's shape "
    "that never ends by itself, so that both sides write every completion to the cap; every group with signal, TRL in "
    "micro-batches of 16; memory is the first process's"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_run_arguments(parser)
    parser.add_argument("--over", nargs="+", choices=OVER, default=list(OVER), help="what grows (default: all three)")
    sizes: tuple[tuple[str, list[int], str], ...] = (
        ("groups", [4, 8, 16, 32, 64], "rollouts a prompt"),
        ("caps", [128, 256, 512, 1024, 2048], "tokens a completion"),
        ("processes", [1, 2], "data-parallel processes"),
    )
    for name, default, what in sizes:
        shown = " ".join(map(str, default))
        parser.add_argument(
            f"--{name}", nargs="+", type=int, metavar="N", default=default, help=f"{what} (default: {shown})"
        )


def measure(parsed: argparse.Namespace) -> list[Row]:
    options.check(parsed)
    for key, least in (("groups", 2), ("caps", 1), ("processes", 1)):
        if any(value < least for value in getattr(parsed, key)):
            raise ValueError(f"{key}={getattr(parsed, key)}: need at least {least} each")
    if any(_PROMPTS % number for number in parsed.processes):
        raise ValueError(f"processes={parsed.processes}: must divide the {_PROMPTS} prompts of a step; try 1 2")
    threads = options.threads(parsed)
    described = machine.describe(threads)
    found: list[Row] = []
    with keeping(found), tempfile.TemporaryDirectory(prefix="r1rl-bench-") as folder:
        model = str(_endless(Path(folder), max(parsed.caps) if "cap" in parsed.over else _CAP))

        def take(label: str, group: int, cap: int, processes: int) -> Taken:
            changes: dict[str, Any] = {
                "prompts_per_step": _PROMPTS,
                "num_generations": group,
                "max_completion_length": cap,
                "reward_funcs": [NO_SIGNAL_LOST],
                "reward_weights": [1.0],
                "prompt_options": {"stop": []},  # a random model writes "</answer>" soon, and TRL cannot stop there
            }
            prepared = setting("tiny", dtype="fp32", seed=parsed.seed, changes=changes)
            rollouts = _PROMPTS * group // processes
            size = next(size for size in range(min(_MICRO_BATCH, rollouts), 0, -1) if rollouts % size == 0)
            taken, _ = train.compare(
                prepared,
                [size],
                threads=threads,
                repeats=parsed.repeats,
                warmup=max(1, parsed.warmup),
                model=model,
                processes=processes,
                label=label,
            )
            check_lengths(taken.turns, cap)
            return taken

        plan: dict[str, tuple[Sequence[int], Callable[[int], Taken]]] = {
            "group": (parsed.groups, lambda n: take(f"group {n}", n, _CAP, 1)),
            "cap": (parsed.caps, lambda n: take(f"cap {n}", _GROUP, n, 1)),
            "processes": (parsed.processes, lambda n: take(f"{n} processes", _GROUP, _CAP, n)),
        }
        for name in dict.fromkeys(parsed.over):
            sizes, take_at = plan[name]
            measured: dict[int, dict[str, list[Turn]]] = {}
            try:
                for size in sorted(set(sizes)):
                    taken = take_at(size)
                    measured[size] = taken.turns
                    taken.go_on()
            finally:
                found += rows(name, measured, described, fitted=name != "processes")
    return found


def check_lengths(turns: Mapping[str, Sequence[Turn]], cap: int) -> None:
    """Raises RunFailedError where a completion ended before the cap: the sides' work could not be compared."""
    for side, taken in turns.items():
        shorter = [length for turn in taken for length in turn.lengths if length != cap]
        if shorter:
            raise RunFailedError(
                f"benchmark side {side!r}: {len(shorter)} completions ended before the cap of {cap} tokens, the first "
                f"after {shorter[0]}; growth is measured where all run to the cap"
            )


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
            ours, peer = (
                significant(fitted_exponent(list(measured), [r[side] for r in of_sizes]), 3)
                for side in ("ours", "peer")
            )
            # The ratio of two exponents says nothing.
            exponent = row(f"growth, {name}: exponent of {label}", [ours], [peer], "power", described)
            found.append(exponent | {"ratio": None})
    if found:
        found[0]["note"] = _NOTE
    return found


def _endless(folder: Path, cap: int) -> Path:
    from transformers import AutoTokenizer

    from r1rl.models import resolve as models

    tokenizer = AutoTokenizer.from_pretrained(models.resolve("base:countdown"))
    return write(folder / "model", tokenizer, positions=cap + 64)
