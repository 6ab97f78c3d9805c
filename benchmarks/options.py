"""The options that the parts share, and the settings they stand for."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.presets import PRESETS, RECIPES, Setting, setting
from r1rl.ground.machine import has_bf16_kernels, usable_cores

DTYPES = ("fp32", "bf16")


def add_arguments(parser: argparse.ArgumentParser, presets: list[str]) -> None:
    """Options of a part that measures presets, `presets` if none are named."""
    parser.add_argument(
        "--preset",
        nargs="+",
        metavar="NAME",
        default=presets,
        help=f"{', '.join(PRESETS)} (default: {' '.join(presets)})",
    )
    parser.add_argument(
        "--dtype", nargs="+", choices=DTYPES, help="number formats (default: bf16 for smollm2 presets, fp32 for tiny)"
    )
    parser.add_argument(
        "--data", type=Path, metavar="PATH", help="folder with mawps_singleop.jsonl, for few-shot presets"
    )
    add_run_arguments(parser)


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of every part that runs sides in turns."""
    parser.add_argument(
        "--repeats", type=int, default=3, metavar="N", help="turns of each side that count (default: 3)"
    )
    parser.add_argument("--warmup", type=int, default=0, metavar="N", help="turns before them (default: 0)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of problems and sampling (default: 0)")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch, on both sides (default: all cores)")


def settings(parsed: argparse.Namespace) -> list[tuple[Setting, str]]:
    """The chosen presets in the chosen number formats.

    Raises:
        ValueError: an option is out of range, or a preset or number format cannot be had here.
    """
    check(parsed)
    if "bf16" in (parsed.dtype or ()) and not has_bf16_kernels():
        raise ValueError("dtype=bf16: this processor has no bf16 instructions, r1rl trains in float32 on it; try fp32")
    return [
        (setting(name, dtype=dtype, seed=parsed.seed, data=parsed.data), dtype)
        for name in parsed.preset
        for dtype in parsed.dtype or [default_dtype(name)]
    ]


def check(parsed: argparse.Namespace) -> None:
    """Raises ValueError where an option that is a number is out of range."""
    for key, least in (("repeats", 1), ("warmup", 0), ("threads", 1)):
        value = getattr(parsed, key)
        if value is not None and value < least:
            raise ValueError(f"{key}={value}: need at least {least}")


def default_dtype(preset: str) -> str:
    """What the preset's recipe trains in on this processor."""
    import yaml

    if preset not in PRESETS:
        return DTYPES[0]  # `setting` says that it is unknown
    source = RECIPES / PRESETS[preset].recipe
    keys = yaml.safe_load(source.read_text(encoding="utf-8")) if source.is_file() else {}
    return "bf16" if keys.get("bf16") and has_bf16_kernels() else "fp32"


def threads(parsed: argparse.Namespace) -> int:
    """Threads of torch on each side."""
    return int(parsed.threads or usable_cores())
