"""Whole GRPO steps of ours side by side with plain TRL's, in turns."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from benchmarks import children, machine, presets
from benchmarks.presets import Setting
from benchmarks.rows import Figure, Row, giga, rows_of
from benchmarks.side import Job
from benchmarks.work import OURS, TRL, Turns
from r1rl.ground.errors import RunFailedError

SUMMARY = "Whole GRPO steps, against plain TRL."
add_arguments = presets.add_arguments
# What both sides sampled has rows of its own: nothing is normalised silently.
FIGURES: Final[Sequence[Figure]] = (
    ("speed", "steps/min", lambda turn: 60 / turn.seconds["step"]),
    ("speed by sampled token", "tokens/s", lambda turn: turn.sampled / turn.seconds["step"]),
    ("time of the step", "s", lambda turn: turn.seconds["step"]),
    ("time of sampling", "s", lambda turn: turn.seconds["sampling"]),
    ("time of grading", "s", lambda turn: turn.seconds["grading"]),
    ("time of the rest of the rollouts", "s", lambda turn: turn.seconds["rest"]),
    ("time of the update", "s", lambda turn: turn.seconds["update"]),
    ("sampled", "tokens", lambda turn: turn.sampled),
    ("mean length", "tokens", lambda turn: turn.sampled / len(turn.lengths)),
    ("rollouts with signal", "share", lambda turn: sum(turn.signal) / len(turn.signal)),
    ("useful of processed in decoding", "share", lambda turn: turn.decode_share),
    ("useful of processed in the update", "share", lambda turn: turn.update_share),
    ("prefilled", "tokens", lambda turn: turn.prefilled),
    ("decoded", "tokens", lambda turn: turn.draws),
    ("forwarded in the update", "tokens", lambda turn: turn.forwarded),
    ("operations of sampling", "GFLOP", lambda turn: giga(turn.sampling_flops())),
    ("operations of the update", "GFLOP", lambda turn: giga(turn.update_flops())),
    ("operations of the step", "GFLOP", lambda turn: giga(turn.update_flops() + (turn.sampling_flops() or 0))),
    ("peak memory", "GB", lambda turn: turn.peak_bytes / 1e9),
)


def measure(parsed: argparse.Namespace) -> list[Row]:
    presets.check(parsed)
    setting = presets.setting(parsed.preset, dtype=parsed.dtype, seed=parsed.seed, data=parsed.data)
    turns, choice = compare(
        setting,
        setting.micro_batches,
        threads=parsed.threads,
        repeats=parsed.repeats,
        warmup=parsed.warmup,
    )
    return rows(f"step, {setting.name}", turns, machine.describe(parsed.threads), note=f"{setting.note}; {choice}")


def rows(name: str, turns: Turns, described: str, *, note: str = "") -> list[Row]:
    """What a setting's turns say; the name says so where nothing was earned and our update did nothing."""
    if not any(any(turn.signal) for turn in turns[OURS]):
        name += ", nothing earned"
    return rows_of(FIGURES, turns[OURS], turns[TRL], described, name=f"{name}: {{}}", note=note)


def compare(
    setting: Setting,
    micro_batches: Sequence[int],
    *,
    threads: int,
    repeats: int,
    warmup: int,
    model: str | None = None,
    processes: int = 1,
    label: str | None = None,
) -> tuple[Turns, str]:
    """Turns of both sides, and in words which of `micro_batches` plain TRL had: the fastest that fits.

    Raises:
        ValueError: a micro-batch does not divide the step's rollouts.
        RunFailedError: a side failed.
    """
    group = setting.keys["num_generations"]
    rollouts = setting.keys["prompts_per_step"] * group // processes
    for size in micro_batches:
        if size < 1 or rollouts % size:
            raise ValueError(f"micro_batch={size}: must divide the step's {rollouts} rollouts")
    with tempfile.TemporaryDirectory(prefix="r1rl-bench-") as folder:
        recipe = str(setting.write(Path(folder)))
        ours, peer = (Job(side, "step", recipe, threads=threads, model=model) for side in (OURS, TRL))
        sizes, how = list(micro_batches), ""
        if len(sizes) > 1:
            sizes, how = by_speed(children.micro_batch_seconds(peer, sizes, rollouts=rollouts, group=group))
        while True:
            jobs = {OURS: ours, TRL: dataclasses.replace(peer, micro_batch=sizes[0])}
            try:
                turns = children.take_turns(
                    jobs, repeats=repeats, warmup=warmup, label=label or setting.name, processes=processes
                )
                break
            except children.NoMemoryError as error:
                # Made-up completions of the cap's length fitted, but sampling has left memory in pieces.
                if error.side != TRL or len(sizes) == 1:
                    raise
                lost = sizes.pop(0)
                sys.stderr.write(f"TRL's micro-batch {lost}: no memory in a whole step; going on with {sizes[0]}\n")
                how += f"; {lost} had no memory in a whole step"
    for a, b in zip(turns[OURS], turns[TRL], strict=True):
        assert a.prompts == b.prompts, "both sides must have the same prompts"
    return turns, f"TRL's micro-batch {sizes[0]}{how}"


def by_speed(tried: Mapping[int, float | None]) -> tuple[list[int], str]:
    """The micro-batches that fit, that of the least seconds first, and in words what was tried.

    Raises:
        RunFailedError: there was no memory for any.
    """
    fitting = {size: seconds for size, seconds in tried.items() if seconds is not None}
    if not fitting:
        raise RunFailedError(f"TRL's micro-batches {list(tried)}: no memory for any of them")
    times = (f"{size}: {'no memory' if seconds is None else f'{seconds:.3g} s'}" for size, seconds in tried.items())
    return sorted(fitting, key=fitting.__getitem__), f", the fastest by an update at the cap ({', '.join(times)})"
