"""A plan's memory beside what a finished run of the same recipe really took."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from r1rl.ground.errors import RecipeError
from r1rl.plan.plan import Plan


def lines(plan: Plan, run: Path) -> Iterator[str]:
    """Predicted and measured peak of resident memory, and their ratio.

    Raises:
        RecipeError: no finished run, it recorded no peaks, or it was another one: GPUs, another number of processes.
    """
    try:
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecipeError(
            f"check={run}: no finished run there ({type(error).__name__}); give a run's folder"
        ) from error
    peaks = [peak for peak in result.get("peak_memory_bytes") or [] if isinstance(peak, int)]
    if not peaks:
        raise RecipeError(f"check={run}: this run recorded no peak memory; run it again, a few steps will do")
    if environment.get("gpus") or plan.machines.gpus:
        raise RecipeError("check: a run on GPUs records the resident memory alone, which plan does not predict")
    if len(peaks) != plan.machines.processes:
        raise RecipeError(
            f"check: the run had {len(peaks)} process(es), planned are {plan.machines.processes}; give the run's own "
            "recipe, recipe.yaml in its folder"
        )
    predicted, largest = plan.memory[plan.chosen].peak, max(peaks)
    yield (
        f"check     {plan.chosen}: predicted {predicted / 1e9:.3f} GB, measured {largest / 1e9:.3f} GB at most in one "
        f"of {len(peaks)} process(es)"
    )
    yield f"          predicted / measured = {predicted / largest:.2f}"
