"""What a long run of the tiny base holds: resident memory, open files, threads and processes, of all its processes.

`python -m benchmarks.leaks FOLDER [--steps 2000]` trains into FOLDER and prints a line for each quarter of the steps.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.safety import RECIPE, say
from r1rl.run.folder import RunFolder

SMALL = [
    "--train_size", "64", "--heldout_size", "4", "--prompts_per_step", "2", "--num_generations", "4",
    "--eval_steps", "100", "--save_steps", "100", "--guards.all", "off",
]  # fmt: skip
SECONDS_BETWEEN = 2.0


@dataclass
class Held:
    """What a command and all that it started hold at one moment: bytes, and counts."""

    step: int
    memory: int
    files: int
    threads: int
    processes: int


def looked_at(command: psutil.Process, step: int) -> tuple[Held, list[psutil.Process]]:
    """What is held now, and by whom."""
    family = [command, *command.children(recursive=True)]
    held = Held(step, 0, 0, 0, 0)
    for process in family:
        with suppress(psutil.Error), process.oneshot():  # one that ends now holds nothing
            held.memory += process.memory_info().rss
            held.files += process.num_fds()
            held.threads += process.num_threads()
            held.processes += 1
    return held, family


def main() -> None:
    """One run, looked at every two seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    parsed = parser.parse_args()
    run = RunFolder(parsed.folder.resolve() / "leaks")
    command = [sys.executable, "-m", "r1rl.cli", "train", str(RECIPE), "--runs_dir", str(run.path.parent)]
    command += ["--name", run.name, "--max_steps", str(parsed.steps), *SMALL]
    seen: list[Held] = []
    known: set[psutil.Process] = set()
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as started:
        while started.poll() is None:
            lines = run.read_metrics()
            with suppress(psutil.Error):
                held, family = looked_at(psutil.Process(started.pid), lines[-1]["step"] if lines else 0)
                seen.append(held)
                known.update(family)
            time.sleep(SECONDS_BETWEEN)
    say("| steps | memory, MB: median (least to greatest) | open files | threads | processes |")
    say("|---|---|---|---|---|")
    for quarter in range(4):
        first, last = parsed.steps * quarter // 4, parsed.steps * (quarter + 1) // 4
        part = [held for held in seen if first < held.step <= last]
        memory = [held.memory / 1e6 for held in part]
        cells = [f"{first + 1} to {last}", f"{statistics.median(memory):.0f} ({min(memory):.0f} to {max(memory):.0f})"]
        for counts in ([h.files for h in part], [h.threads for h in part], [h.processes for h in part]):
            cells.append(f"{statistics.median(counts):.0f} ({min(counts)} to {max(counts)})")
        say(f"| {' | '.join(cells)} |")
    _, alive = psutil.wait_procs(known, 15)
    say(f"exit code {started.returncode}; {len(alive)} of {len(known)} processes left")


if __name__ == "__main__":
    main()
