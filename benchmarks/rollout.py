"""Sampling alone, side by side with plain TRL's ways (`generate`, transformers' continuous batching) and vLLM."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks import children, machine, presets, vllm_side, work
from benchmarks.machine import Peak
from benchmarks.rows import Figure, Row, giga, row, rows_of
from benchmarks.side import Job
from benchmarks.work import CONTINUOUS, OURS, TRL, VLLM, Turn, Turns
from r1rl.ground.errors import RunFailedError

SUMMARY = "Sampling alone, against plain TRL's generate and continuous batching, and vLLM."
_NAMES: Final = {TRL: "TRL generate", CONTINUOUS: "continuous batching", VLLM: "vLLM"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    presets.add_arguments(parser)
    parser.add_argument(
        "--peers", nargs="+", choices=list(_NAMES), default=[TRL, CONTINUOUS], help="(default: trl transformers)"
    )


def measure(parsed: argparse.Namespace) -> list[Row]:
    import torch

    presets.check(parsed)
    if VLLM in parsed.peers:
        vllm_side.check()
    setting = presets.setting(parsed.preset, dtype=parsed.dtype, seed=parsed.seed, data=parsed.data)
    described = machine.describe(parsed.threads)
    name, missing = f"sampling, {setting.name}", []
    with tempfile.TemporaryDirectory(prefix="r1rl-bench-") as folder:
        recipe = str(setting.write(Path(folder)))
        jobs = {side: Job(side, "sample", recipe, threads=parsed.threads) for side in (OURS, *parsed.peers)}
        if CONTINUOUS in jobs and (why := reason_it_fails(jobs[CONTINUOUS])):
            del jobs[CONTINUOUS]
            label = f"{name}: speed, against {_NAMES[CONTINUOUS]}"
            missing = [row(label, [None], [None], "tokens/s", described, note=why)]
        dtype, weight_bytes = (torch.bfloat16, 2) if setting.keys["bf16"] else (torch.float32, 4)
        peak = machine.peak(dtype, parsed.threads)
        turns = children.take_turns(jobs, repeats=parsed.repeats, warmup=parsed.warmup, label=setting.name)
        peak = peak.best(machine.peak(dtype, parsed.threads))  # minutes later
    return rows(name, turns, described, peak=peak, weight_bytes=weight_bytes, note=setting.note) + missing


def reason_it_fails(job: Job) -> str:
    """Why a side cannot sample here; "" if it can. It is tried once."""
    try:
        with children.Side(job) as side:
            side.wait_until_ready()
            side.turn()
    except RunFailedError as error:
        last = [line for line in str(error).splitlines() if line.strip()][-1]
        sys.stderr.write(f"{job.side}: {last[:200]}\n")
        return f"does not run here: {last[:200]}"
    return ""


def rows(name: str, turns: Turns, described: str, *, peak: Peak, weight_bytes: int, note: str = "") -> list[Row]:
    """What one setting's turns say, against each peer that took part."""

    def limit_share(turn: Turn) -> float:
        least = work.least_seconds(turn.cost, peak, turn.prompts, turn.lengths, weight_bytes)
        return least / turn.seconds["sampling"]

    figures: Sequence[Figure] = (
        ("speed", "tokens/s", lambda turn: turn.sampled / turn.seconds["sampling"]),
        ("speed", "batches/min", lambda turn: 60 / turn.seconds["sampling"]),
        ("time", "s", lambda turn: turn.seconds["sampling"]),
        ("sampled", "tokens", lambda turn: turn.sampled),
        ("completions under 200 tokens", "share", lambda turn: sum(n < 200 for n in turn.lengths) / len(turn.lengths)),
        ("of the machine's limit", "share", limit_share),
        ("useful of processed in decoding", "share", lambda turn: turn.decode_share),
        ("prefilled", "tokens", lambda turn: turn.prefilled),
        ("operations", "GFLOP", lambda turn: giga(turn.sampling_flops())),
        ("peak memory", "GB", lambda turn: turn.peak_bytes / 1e9),
    )
    limit = (
        f"limit: products at {peak.flops / 1e9:.0f} GFLOP/s (2048 x 2048), weights at {peak.bandwidth / 1e9:.0f} GB/s, "
        "the larger of both for each pass that the completions need"
    )
    return [
        made
        for peer, label in _NAMES.items()
        if peer in turns
        for made in rows_of(
            figures, turns[OURS], turns[peer], described, name=f"{name}: {{}}, against {label}", note=f"{note}; {limit}"
        )
    ]
