"""A plan's memory beside what a finished run of the same recipe really took."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from r1rl.ground.errors import RecipeError
from r1rl.plan.plan import Plan


@dataclass(frozen=True)
class Measured:
    """Peak resident memory of every process of a run, in bytes."""

    peaks: tuple[int, ...]
    gpus: int


def read(run: Path) -> Measured:
    """What a run recorded when it ended.

    Raises:
        RecipeError: no such run, it has not ended, or it was made before peaks were recorded.
    """
    try:
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"check={run}: no finished run there ({error.__class__.__name__}); give a run's folder"
        ) from error
    peaks = [peak for peak in result.get("peak_memory_bytes") or [] if isinstance(peak, int)]
    if not peaks:
        raise RecipeError(f"check={run}: this run recorded no peak memory; run it again, a few steps will do")
    return Measured(tuple(peaks), len(environment.get("gpus") or []))


def lines(plan: Plan, measured: Measured) -> Iterator[str]:
    """Predicted, measured, ratio.

    Raises:
        RecipeError: the run was another one: GPUs, or another number of processes.
    """
    if measured.gpus or plan.machines.gpus:
        raise RecipeError(
            "check: a run on GPUs records its processes' resident memory only, which plan does not predict"
        )
    if len(measured.peaks) != plan.machines.processes:
        raise RecipeError(
            f"check: the run had {len(measured.peaks)} process(es), planned are {plan.machines.processes}; give the "
            "run's own recipe, recipe.yaml in its folder"
        )
    predicted, largest = plan.memory[plan.chosen].peak, max(measured.peaks)
    yield (
        f"check     {plan.chosen}: predicted {predicted / 1e9:.3f} GB, measured {largest / 1e9:.3f} GB at most in one "
        f"of {len(measured.peaks)} process(es)"
    )
    yield f"          predicted / measured = {predicted / largest:.2f}"
