"""The process that measures reflection beside a training run.

`python -m r1rl.aha.figures.live_process RUN PID`, with the process number of the training.

It annotates the shards just written, which leaves their annotation files ready, and answers with the step's figures;
they join that step's log line as aha/…. It reads requests from its standard input, one JSON line each, and ends with
the run, whichever way that ends. Whatever it could not do, `r1rl aha` does later. It imports no torch.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final

from r1rl.aha.figures.annotations import annotate_part, missing
from r1rl.aha.figures.figures import of_step

METRICS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "aha/marker_rate": "marker_strict_rate",
        "aha/marker_per_1k_tokens": "marker_strict_per_1k",
        "aha/attempts_per_rollout": "attempts",
        "aha/retried": "retried",
        "aha/retry_after_miss": "retry_after_miss",
        "aha/wrong_to_right": "wrong_to_right",
        "aha/right_to_wrong": "right_to_wrong",
        "aha/first_attempt_accuracy": "first_accuracy",
        "aha/final_attempt_accuracy": "final_accuracy",
        "aha/retry_lift": "retry_lift",
        "aha/verify_precision": "verify_precision",
        "aha/verify_recall": "verify_recall",
        "aha/slips": "slips",
        "aha/guesses": "guesses",
        "aha/unclean": "unclean",
    }
)
"""Name in the log -> key in `figures.FIGURES`."""

_LOOK_SECONDS: Final = 5


def measured(run_dir: Path, step: int) -> dict[str, Any]:
    """Annotate a stored training step: `{"step": 3, "metrics": {…}}`, or `"error"` instead of metrics."""
    try:
        for part in missing(run_dir, kind="train", steps=[step]):
            annotate_part(part)
        found = of_step(run_dir, "train", step, list(METRICS.values()))
    except Exception as error:  # the run goes on, and is told why
        return {"step": step, "error": f"{type(error).__name__}: {error}"}
    return {"step": step, "metrics": {name: found[key] for name, key in METRICS.items() if key in found}}


def serve(run_dir: Path, requests: IO[str], answers: IO[str]) -> None:
    """Answer requests `{"step": 3}` with what is `measured`, until an empty one or the end."""
    for line in requests:
        request = json.loads(line)
        if not request:
            return
        answers.write(json.dumps(measured(run_dir, int(request["step"]))) + "\n")
        answers.flush()
        # The probes' annotations are not waited for.
        with suppress(OSError, ValueError):
            for part in missing(run_dir, kind="probe"):
                annotate_part(part)


def main() -> None:
    # Only what the run leaves idle: its threads wait for each other, so a core that is taken costs all of them.
    with suppress(OSError):
        if hasattr(os, "SCHED_IDLE"):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        else:
            os.nice(19)
    threading.Thread(target=_end_with, args=(int(sys.argv[2]),), daemon=True).start()
    with suppress(BrokenPipeError):
        serve(Path(sys.argv[1]), sys.stdin, sys.stdout)


def _end_with(parent: int) -> None:
    """Standard input does not close where a worker that the killed run has left behind holds its other end."""
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os._exit(0)


if __name__ == "__main__":
    main()
