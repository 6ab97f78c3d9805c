"""How a step's time and memory grow with the group, the cap and the processes."""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import machine, presets, train
from benchmarks.rows import Figure, Row, row, rows_of, significant
from benchmarks.work import OURS, TRL, Turns
from r1rl.ground.errors import RunFailedError

SUMMARY = "How a step's time and memory grow with group, cap or processes, against plain TRL."
SIZES: Final = {"group": [4, 8, 16, 32, 64], "cap": [128, 256, 512, 1024, 2048], "processes": [1, 2]}
_USUAL: Final = {"group": 8, "cap": 128, "processes": 1}
_PROMPTS, _MICRO_BATCH = 2, 16
_FIGURES: Final[Sequence[Figure]] = (
    ("time of the step", "s", lambda turn: turn.seconds["step"]),
    ("time of sampling", "s", lambda turn: turn.seconds["sampling"]),
    ("time of the update", "s", lambda turn: turn.seconds["update"]),
    ("peak memory", "GB", lambda turn: turn.peak_bytes / 1e9),
)
_NOTE: Final = (
    "2 prompts; a group of 8, a cap of 128 and one process but for what grows; a random model of the tiny base's shape "
    "that never ends by itself, so that both sides write every completion to the cap; every group with signal, TRL in "
    "micro-batches of 16; memory is the first process's"
)
_NEVER: Final = -1e4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    presets.add_turn_arguments(parser)
    parser.add_argument("--over", choices=list(SIZES), default="cap", help="what grows (default: cap)")
    shown = "; ".join(f"{name} {' '.join(map(str, sizes))}" for name, sizes in SIZES.items())
    parser.add_argument("--sizes", nargs="+", type=int, metavar="N", help=f"its sizes (default: {shown})")


def measure(parsed: argparse.Namespace) -> list[Row]:
    from r1rl.models import resolve

    parsed.sizes = sorted(set(parsed.sizes or SIZES[parsed.over]))
    presets.check(parsed, sizes=2 if parsed.over == "group" else 1)
    if parsed.over == "processes" and any(_PROMPTS % number for number in parsed.sizes):
        raise ValueError(f"sizes={parsed.sizes}: processes must divide the {_PROMPTS} prompts of a step; try 1 2")
    measured: dict[int, Turns] = {}
    with tempfile.TemporaryDirectory(prefix="r1rl-bench-") as folder:
        base = Path(resolve.resolve("base:countdown"))
        longest = max(parsed.sizes) if parsed.over == "cap" else _USUAL["cap"]
        model = str(endless_model(Path(folder) / "model", base, positions=longest + 64))
        for size in parsed.sizes:
            chosen = _USUAL | {parsed.over: size}
            changes: dict[str, Any] = presets.SIGNAL | {
                "prompts_per_step": _PROMPTS,
                "num_generations": chosen["group"],
                "max_completion_length": chosen["cap"],
                "prompt_options": {"stop": []},  # a random model writes "</answer>" soon, and TRL cannot stop there
            }
            rollouts = _PROMPTS * chosen["group"] // chosen["processes"]
            micro_batch = next(n for n in range(min(_MICRO_BATCH, rollouts), 0, -1) if rollouts % n == 0)
            measured[size], _ = train.compare(
                presets.setting("tiny", dtype="fp32", seed=parsed.seed, changes=changes),
                [micro_batch],
                threads=parsed.threads,
                repeats=parsed.repeats,
                warmup=max(1, parsed.warmup),
                model=model,
                processes=chosen["processes"],
                label=f"{parsed.over} {size}",
            )
            check_lengths(measured[size], chosen["cap"])
    return rows(parsed.over, measured, machine.describe(parsed.threads))


def check_lengths(turns: Turns, cap: int) -> None:
    """Raises RunFailedError where a completion ended before the cap: the sides' work could not be compared."""
    for side, taken in turns.items():
        shorter = [length for turn in taken for length in turn.lengths if length != cap]
        if shorter:
            raise RunFailedError(
                f"benchmark side {side!r}: {len(shorter)} completions ended before the cap of {cap} tokens, the first "
                f"after {shorter[0]}; growth is measured where all run to the cap"
            )


def rows(over: str, measured: Mapping[int, Turns], described: str) -> list[Row]:
    """One row a size and figure, and the exponent of each figure over groups or caps.

    Args:
        measured: turns of both sides by size.
    """
    found: list[Row] = []
    for figure in _FIGURES:
        of_sizes = [
            rows_of([figure], turns[OURS], turns[TRL], described, name=f"growth, {over}: {{}} at {size}")[0]
            for size, turns in measured.items()
        ]
        found += of_sizes
        if over != "processes" and len(measured) > 1:
            ours, peer = ([fitted_exponent(list(measured), [r[side] for r in of_sizes])] for side in ("ours", "peer"))
            # The ratio of two exponents says nothing.
            exponent = row(f"growth, {over}: exponent of {figure[0]}", ours, peer, "power", described)
            found.append(exponent | {"ratio": None})
    found[0]["note"] = _NOTE
    return found


def fitted_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The p of cost = c * size**p, by least squares over the logarithms; all are above zero, to three digits."""
    x, y = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    return significant(statistics.linear_regression(x, y).slope, 3)


def endless_model(folder: Path, base: Path, *, positions: int) -> Path:
    """A model of random weights in `folder`, of the base's shape and with its tokenizer, whose EOS cannot be drawn.

    A Llama's output projection has no bias. So the first channel of the residual stream is the same in every token
    and no layer writes to it; EOS's row of a projection of its own reads that channel alone, and makes it a very low
    logit.

    Args:
        positions: longest prompt and completion together.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    config = AutoConfig.from_pretrained(base, tie_word_embeddings=False, max_position_embeddings=positions)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 0] = config.initializer_range
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0
            layer.mlp.down_proj.weight[0] = 0
        model.lm_head.weight[:, 0] = 0
        model.lm_head.weight[config.eos_token_id] = 0
        model.lm_head.weight[config.eos_token_id, 0] = _NEVER
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder
