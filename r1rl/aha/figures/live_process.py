"""The process that measures reflection beside a training run.

`python -m r1rl.aha.figures.live_process RUN PID`, with the process number of the training.

Apart, so that no update waits for the detectors. It annotates the shards just written, which leaves their annotation
files ready, and answers with the step's figures; they join that step's log line as aha/…. It reads requests from its
standard input, one JSON line each, and ends with the run, whichever way that ends. Whatever it could not do, `r1rl aha`
does later. It imports no torch.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

from r1rl.aha.figures.figures import LOGGED, of_step

_LOOK_SECONDS: Final = 5


def measured(run_dir: Path, kind: str, step: int) -> dict[str, Any]:
    """Annotate a stored step: `{"step": 3, "metrics": {"aha/retried": 0.25, …}}`, or `"error"` instead of metrics."""
    try:
        found = of_step(run_dir, kind, step, LOGGED)
    except Exception as error:  # the run goes on, and is told why
        return {"step": step, "error": f"{type(error).__name__}: {error}"}
    return {"step": step, "metrics": {f"aha/{key}": value for key, value in found.items()}}


def serve(run_dir: Path, requests: IO[str], answers: IO[str]) -> None:
    """Answer requests `{"step": 3}` with what is `measured`, until an empty one or the end."""
    for line in requests:
        request = json.loads(line)
        if not request:
            return
        answers.write(json.dumps(measured(run_dir, "train", int(request["step"]))) + "\n")
        answers.flush()


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
