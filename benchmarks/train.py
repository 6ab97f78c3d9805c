"""Whole GRPO steps of ours side by side with plain TRL's, in turns."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import children, machine, options
from benchmarks.children import Taken
from benchmarks.paired import Row, giga, keeping, row
from benchmarks.presets import Setting
from benchmarks.side import Job
from benchmarks.turn import OURS, TRL, Turn
from r1rl.ground.errors import RunFailedError

SUMMARY = "Whole GRPO steps, against plain TRL."
EXAMPLES = """\
examples:
  r1rl bench train --preset tiny --repeats 7 --warmup 1
  r1rl bench train --preset smollm2-short smollm2-signal --dtype fp32 bf16
  r1rl bench train --preset smollm2-fewshot --data data --repeats 1 --peer-micro-batches 16"""
DEFAULT_PRESETS = ["smollm2-short"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_arguments(parser, DEFAULT_PRESETS)
    parser.add_argument(
        "--peer-micro-batches",
        nargs="+",
        type=int,
        metavar="N",
        help="micro-batches plain TRL is tried with, before the turns; the fastest counts (default: the preset's)",
    )
    parser.add_argument(
        "--peer-checkpointing",
        choices=("yes", "no"),
        default="no",
        help="gradient checkpointing in plain TRL, its own default: less memory, more time (default: no)",
    )
    parser.add_argument("--model", metavar="FOLDER", help="a model instead of the preset's")


def measure(parsed: argparse.Namespace) -> list[Row]:
    found: list[Row] = []
    described, threads = machine.describe(options.threads(parsed)), options.threads(parsed)
    checkpointing = parsed.peer_checkpointing == "yes"
    with keeping(found):
        for setting, _ in options.settings(parsed):
            taken, choice = compare(
                setting,
                parsed.peer_micro_batches or setting.micro_batches,
                threads=threads,
                repeats=parsed.repeats,
                warmup=parsed.warmup,
                model=parsed.model,
                checkpointing=checkpointing,
            )
            name = f"step, {setting.name}" + (", TRL with gradient checkpointing" if checkpointing else "")
            found += rows(name, taken.turns, described, note=f"{setting.note}; {choice}")
            taken.go_on()
    return found


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
    checkpointing: bool = False,
) -> tuple[Taken, str]:
    """Turns of both sides, and in words which of `micro_batches` plain TRL had: the fastest that fits.

    Raises:
        ValueError: a micro-batch does not divide the step's rollouts.
        RunFailedError: a side failed.
    """
    rollouts = setting.keys["prompts_per_step"] * setting.keys["num_generations"] // processes
    for size in micro_batches:
        if size < 1 or rollouts % size:
            raise ValueError(f"peer_micro_batches={size}: must divide the step's {rollouts} rollouts")
    with tempfile.TemporaryDirectory(prefix="r1rl-bench-") as folder:
        recipe = str(setting.write(Path(folder) / "recipe.yaml"))
        peer = Job(TRL, "step", recipe, "", None, threads, model=model, checkpointing=checkpointing)
        sizes, how = list(micro_batches), ""
        if len(sizes) > 1:
            group = setting.keys["num_generations"]
            sizes, how = by_speed(children.micro_batch_seconds(peer, sizes, rollouts=rollouts, group=group))
        while True:
            jobs = {
                OURS: Job(OURS, "step", recipe, "", None, threads, model=model),
                TRL: dataclasses.replace(peer, micro_batch=sizes[0]),
            }
            try:
                taken = children.take_turns(
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
    for a, b in zip(taken.turns[OURS], taken.turns[TRL], strict=True):
        assert a.prompts == b.prompts, "both sides must have the same prompts"
    return taken, f"TRL's micro-batch {sizes[0]}{how}"


def by_speed(tried: Mapping[int, float | None]) -> tuple[list[int], str]:
    """The micro-batches that fit, that of the least seconds first, and in words what was tried.

    Raises:
        RunFailedError: there was no memory for any.
    """
    fitting = {size: seconds for size, seconds in tried.items() if seconds is not None}
    if not fitting:
        raise RunFailedError(f"peer_micro_batches={list(tried)}: no memory for any of them; try smaller ones")
    times = (f"{size}: {'no memory' if seconds is None else f'{seconds:.3g} s'}" for size, seconds in tried.items())
    ranked = sorted(fitting, key=lambda size: fitting[size])
    return ranked, f", the fastest by an update at the cap ({', '.join(times)})"


def rows(name: str, turns: dict[str, list[Turn]], described: str, *, note: str = "") -> list[Row]:
    """What one setting's turns say. Nothing is normalised silently: what both sides sampled has its own rows."""

    def of(figure: Callable[[Turn], float | None], label: str, unit: str, note: str = "") -> Row:
        ours, peer = ([figure(turn) for turn in turns[side]] for side in (OURS, TRL))
        return row(f"{name}: {label}", ours, peer, unit, described, note=note)

    return [
        of(lambda t: 60 / t.seconds["step"], "speed", "steps/min", note),
        of(lambda t: t.sampled / t.seconds["step"], "speed by sampled token", "tokens/s"),
        *(
            of(lambda t, part=part: t.seconds[part], f"time of {label}", "s")  # type: ignore[misc]
            for part, label in (
                ("step", "the step"),
                ("sampling", "sampling"),
                ("grading", "grading"),
                ("rest", "the rest of the rollouts"),
                ("update", "the update"),
            )
        ),
        of(lambda t: t.sampled, "sampled", "tokens"),
        of(lambda t: t.sampled / len(t.lengths), "mean length", "tokens"),
        of(lambda t: sum(t.signal) / len(t.signal), "rollouts with signal", "share"),
        of(lambda t: t.decode_share, "useful of processed in decoding", "share"),
        of(lambda t: t.update_share, "useful of processed in the update", "share"),
        of(lambda t: t.prefilled, "prefilled", "tokens"),
        of(lambda t: t.draws, "decoded", "tokens"),
        of(lambda t: t.forwarded, "forwarded in the update", "tokens"),
        of(lambda t: giga(t.sampling_flops()), "operations of sampling", "GFLOP"),
        of(lambda t: giga(t.update_flops()), "operations of the update", "GFLOP"),
        of(lambda t: giga(t.update_flops() + (t.sampling_flops() or 0)), "operations of the step", "GFLOP"),
        of(lambda t: t.peak_bytes / 1e9, "peak memory", "GB"),
    ]
