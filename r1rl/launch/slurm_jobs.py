"""Slurm jobs that `r1rl submit` has started: a small file each in RUNS_DIR/slurm, and what Slurm says of them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from r1rl.ground import whole_files
from r1rl.ground.errors import RecipeError, RunFailedError
from r1rl.launch.slurm import Job

_SECONDS = 60  # for any of Slurm's commands


def submit(job: Job) -> dict[str, Any]:
    """Give a job, and its report's, to Slurm; returns what `jobs` will say of it.

    `report` is the number of the job that follows an array with seeds, or None; `report_refused` says why Slurm
    would not have that one.

    Raises:
        RecipeError: there is no Slurm here, or a run's name belongs to a job that has not ended.
        RunFailedError: sbatch refuses the job, in its own words.
    """
    _check_names(job)
    folder = job.runs_dir / "slurm"
    folder.mkdir(parents=True, exist_ok=True)
    found = int(sbatch(job.script, "--parsable").partition(";")[0])
    content: dict[str, Any] = {"job": found, "name": job.name, "runs": [run.name for run in job.runs]}
    content |= {"output": job.output, "report": None}
    (folder / f"{found}.sbatch").write_text(job.script, encoding="utf-8")
    if job.report:
        (folder / f"{found}-report.sbatch").write_text(job.report, encoding="utf-8")
        try:
            # Whatever has become of the runs: the report names those that are missing.
            report = sbatch(job.report, "--parsable", f"--dependency=afterany:{found}")
            content["report"] = int(report.partition(";")[0])
            content["report_output"] = job.report_output.replace("%j", str(content["report"]))
        except RunFailedError as error:
            content["report_refused"] = str(error)
    whole_files.write_json(folder / f"{found}.json", content)
    return content


def _check_names(job: Job) -> None:
    """A job that waits has no folder yet, so `run_folder.check_name` cannot know its names."""
    wanted = {run.name for run in job.runs}
    same = [known["job"] for known in jobs(job.runs_dir) if wanted & set(known["runs"])]
    for number, state in states(same).items():
        if any(word in state for word in ("PENDING", "RUNNING", "COMPLETING", "REQUEUE", "SUSPENDED")):
            raise RecipeError(f"name={job.name!r}: job {number} ({state}) has that name; give another --name")


def sbatch(script: str, *options: str) -> str:
    """What sbatch prints for a script."""
    return _command(["sbatch", *options], script).strip()


def jobs(runs_dir: Path) -> list[dict[str, Any]]:
    """The jobs of a folder of runs, oldest first: what `submit` returned."""
    files = sorted((runs_dir / "slurm").glob("[0-9]*.json"), key=lambda path: int(path.stem))
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


def states(numbers: Sequence[int]) -> dict[int, str]:
    """Slurm's states of jobs it still knows; an array's tasks as `2 RUNNING, 1 PENDING`."""
    if not numbers:
        return {}
    found: dict[int, list[str]] = {}
    for line in _command(["squeue", "--noheader", "--states=all", "--array", "--format=%A %F %T"]).splitlines():
        _, number, state = line.split()
        found.setdefault(int(number), []).append(state)
    texts: dict[int, str] = {}
    for job, all_states in found.items():
        counts = [f"{all_states.count(state)} {state}" for state in dict.fromkeys(all_states)]
        texts[job] = all_states[0] if len(all_states) == 1 else ", ".join(counts)
    return {each: texts[each] for each in numbers if each in texts}


def progress(folder: Path) -> str:
    """How far a run has come, from its own files."""
    result = whole_files.read_json(folder / "result.json") or {}
    if result.get("finished"):
        return f"finished after {result.get('steps')} steps"
    try:
        with (folder / "metrics.jsonl").open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - 65536))
            steps = re.findall(rb'^\{"step": (\d+)', stream.read(), re.MULTILINE)
    except OSError:
        return "not started"
    return f"step {int(steps[-1])}" if steps else "no step yet"


def logs(job: dict[str, Any]) -> list[Path]:
    """The output files of a job that exist."""
    pattern = str(job["output"]).replace("%A", str(job["job"])).replace("%j", str(job["job"])).replace("%a", "*")
    path = Path(pattern)
    return sorted(path.parent.glob(path.name))


def _command(words: list[str], text: str | None = None) -> str:
    try:
        done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except FileNotFoundError:
        raise RecipeError(f"{words[0]}: not found, so this is no Slurm machine; --dry-run prints the script") from None
    except subprocess.TimeoutExpired:
        raise RunFailedError(f"{words[0]} gave no answer within {_SECONDS} s") from None
    if done.returncode:
        raise RunFailedError(f"{words[0]}: {' '.join(done.stderr.split())[:500]}")
    # `sbatch --test-only` answers on stderr
    return done.stdout or done.stderr
