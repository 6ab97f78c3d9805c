"""Sampling alone, side by side with plain TRL's two ways: `generate`, and transformers' continuous batching."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import children, machine, options
from benchmarks.machine import Peak
from benchmarks.paired import Row, giga, keeping, row
from benchmarks.side import Job
from benchmarks.turn import CONTINUOUS, OURS, TRL, Turn
from r1rl.ground.errors import RunFailedError

SUMMARY = "Sampling alone, against plain TRL's generate and continuous batching."
EXAMPLES = """\
examples:
  r1rl bench rollout --preset smollm2-short --dtype fp32 bf16
  r1rl bench rollout --preset smollm2-longtail --peers trl --repeats 1"""
_BYTES = {"fp32": 4, "bf16": 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_arguments(parser, ["smollm2-short"])
    parser.add_argument("--model", metavar="FOLDER", help="a model instead of the preset's")
    parser.add_argument(
        "--peers", nargs="+", choices=(TRL, CONTINUOUS), default=[TRL, CONTINUOUS], help="(default: both)"
    )


def measure(parsed: argparse.Namespace) -> list[Row]:
    import torch

    found: list[Row] = []
    threads = options.threads(parsed)
    described = machine.describe(threads)
    for setting, dtype in options.settings(parsed):
        with keeping(found), tempfile.TemporaryDirectory(prefix="r1rl-bench-") as folder:
            recipe = str(setting.write(Path(folder) / "recipe.yaml"))
            # The micro-batch only has to divide the batch: nothing is updated.
            jobs = {
                side: Job(side, "sample", recipe, "", None, threads, model=parsed.model)
                for side in (OURS, *parsed.peers)
            }
            why = ""
            if CONTINUOUS in jobs:
                why = reason_it_fails(jobs[CONTINUOUS])
                if why:
                    del jobs[CONTINUOUS]
            kind = torch.bfloat16 if dtype == "bf16" else torch.float32
            peak = machine.peak(kind, threads)
            taken = children.take_turns(jobs, repeats=parsed.repeats, warmup=parsed.warmup, label=setting.name)
            peak = peak.best(machine.peak(kind, threads))  # minutes later
            name = f"sampling, {setting.name}"
            found += rows(name, taken.turns, described, peak=peak, bytes_each=_BYTES[dtype], note=setting.note)
            if why:
                missing = row(f"{name}: speed, against continuous batching", [None], [None], "tokens/s", described)
                found.append(missing | {"note": why})
            taken.go_on()
    return found


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


def rows(
    name: str, turns: dict[str, list[Turn]], described: str, *, peak: Peak, bytes_each: int, note: str = ""
) -> list[Row]:
    """What one setting's turns say, against each peer that took part."""
    found: list[Row] = []
    names = {TRL: "TRL generate", CONTINUOUS: "continuous batching"}
    for peer, label in names.items():
        if peer not in turns:
            continue

        def of(
            figure: Callable[[Turn], float | None],
            what: str,
            unit: str,
            note: str = "",
            peer: str = peer,
            label: str = label,
        ) -> Row:
            ours, other = ([figure(turn) for turn in turns[side]] for side in (OURS, peer))
            return row(f"{name}: {what}, against {label}", ours, other, unit, described, note=note)

        found += [
            of(lambda t: t.sampled / t.seconds["sampling"], "speed", "tokens/s", note),
            of(lambda t: 60 / t.seconds["sampling"], "speed", "batches/min"),
            of(lambda t: t.seconds["sampling"], "time", "s"),
            of(lambda t: t.sampled, "sampled", "tokens"),
            of(_share_under_200, "completions under 200 tokens", "share"),
            of(lambda t: t.limit_share(peak, bytes_each), "of the machine's limit", "share", _limit_note(peak)),
            of(lambda t: t.decode_share, "useful of processed in decoding", "share"),
            of(lambda t: t.prefilled, "prefilled", "tokens"),
            of(lambda t: giga(t.sampling_flops()), "operations", "GFLOP"),
            of(lambda t: t.peak_bytes / 1e9, "peak memory", "GB"),
        ]
    return found


def _share_under_200(turn: Turn) -> float:
    return sum(n < 200 for n in turn.lengths) / len(turn.lengths)


def _limit_note(peak: Peak) -> str:
    return (
        f"limit: products at {peak.flops / 1e9:.0f} GFLOP/s (2048 x 2048), weights at {peak.bandwidth / 1e9:.0f} GB/s, "
        "the larger of both for each pass that the completions need"
    )
