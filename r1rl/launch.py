"""From a recipe to a running training: in this process, or through `accelerate launch`."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from r1rl import cpu_processes, rank_errors
from r1rl.recipe_values import RecipeError, nearest, read_yaml

SUCCESS, FAILURE, USAGE, INTERRUPTED = 0, 1, 2, 130
EXPECTED_WORLD_SIZE = "R1RL_EXPECTED_WORLD_SIZE"
_STOP_SECONDS = 15
_SHIPPED = Path(__file__).resolve().parent.parent / "recipes" / "accelerate"


@dataclass(frozen=True)
class Launcher:
    """An Accelerate config file and what r1rl needs to know of it.

    Args:
        processes: over all machines; 0: neither said nor to be counted here, see `require_processes`.
        counted: whether the file itself says how many processes; if not, the command line has to.
        kind: the file's `distributed_type`.
    """

    path: Path
    processes: int
    machines: int
    port_given: bool
    counted: bool = True
    kind: str = "NO"


def find(name: str, recipe_folder: Path) -> Launcher:
    """The launcher a recipe names: a path (from here or the recipe's folder), or a file in recipes/accelerate.

    A file that leaves `num_processes` out serves any number: `zero2:4` starts four, `zero2` one for every visible GPU.

    Raises:
        RecipeError: no such launcher (the known ones are named), or a file without a usable number of processes.
    """
    name, _, wanted = name.partition(":")
    if wanted and not (wanted.isdecimal() and int(wanted) >= 1):
        raise RecipeError(f"launcher={name}:{wanted}: after the colon comes the number of processes, as in {name}:2")
    if name.endswith((".yaml", ".yml")):
        places = [Path(name).expanduser(), recipe_folder / name]
    else:
        near_recipe = [folder / "accelerate" for folder in (recipe_folder, *recipe_folder.resolve().parents[:2])]
        places = [folder / f"{name}.yaml" for folder in (*near_recipe, _SHIPPED)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        known = sorted({file.stem for place in (*places, _SHIPPED / "any") for file in place.parent.glob("*.yaml")})
        raise RecipeError(
            f"launcher={name!r}: unknown launcher, known are {', '.join(known)} or a path to an Accelerate "
            f"config{nearest(name, known)}"
        )
    content = read_yaml(path, "launcher")
    counts = {}
    for key in ("num_processes", "num_machines"):
        counts[key] = content.get(key, 1)
        if not isinstance(counts[key], int) or counts[key] < 1:
            raise RecipeError(f"launcher {path}: {key}={counts[key]!r}: need a whole number from 1")
    counted = "num_processes" in content
    kind = str(content.get("distributed_type", "NO"))
    if counted and wanted:
        raise RecipeError(f"launcher={name}:{wanted}: {path} says num_processes itself; leave one of them out")
    if wanted:
        counts["num_processes"] = int(wanted)
    elif not counted and kind != "NO":
        counts["num_processes"] = visible_gpus()
    port_given = bool(content.get("main_process_port"))
    return Launcher(path, counts["num_processes"], counts["num_machines"], port_given, counted, kind)


def require_processes(launcher: Launcher) -> int:
    """The number of processes.

    Raises:
        RecipeError: the file leaves it open, nobody said it, and there is no GPU to count.
    """
    if launcher.processes < 1:
        name = launcher.path.stem
        raise RecipeError(f"launcher={name!r}: no GPU is seen here, so say how many processes: --launcher {name}:2")
    return launcher.processes


def command(launcher: Launcher, recipe: Path, overrides: Sequence[str], port: int | None = None) -> list[str]:
    """The `accelerate launch` command line for a recipe; `port`: where processes meet if the config says not."""
    # Run through this interpreter: the `accelerate` on PATH may belong to another environment.
    words = [sys.executable, "-m", "r1rl.agent", "launch"]
    words += ["--config_file", str(launcher.path)]
    if not launcher.counted:
        words += ["--num_processes", str(require_processes(launcher)), "--num_machines", str(launcher.machines)]
    if port is not None and launcher.processes > 1 and launcher.machines == 1 and not launcher.port_given:
        words += ["--main_process_port", str(port)]
    return [*words, "-m", "r1rl.train", "--config", str(recipe), *overrides]


def train(recipe: Path, overrides: Sequence[str] = ()) -> int:
    """Train a recipe and return the exit code: 0, or 1 for a failure.

    Without a launcher the training runs in this process. With one, the recipe is checked here, for its number
    of processes, before any of them starts.

    Raises:
        RecipeError: the recipe or an override is wrong.
    """
    named = _named_launcher(recipe, overrides)
    if named is None:
        from r1rl import train as training

        return training.main(["--config", str(recipe), *overrides]) or SUCCESS
    launcher = find(named, recipe.parent)
    processes = require_processes(launcher)
    if launcher.kind == "DEEPSPEED" and importlib.util.find_spec("deepspeed") is None:
        raise RecipeError(f"launcher={named!r}: DeepSpeed is not installed; try pip install 'r1rl[deepspeed]'")
    environment = os.environ | {EXPECTED_WORLD_SIZE: str(processes)} | cpu_processes.environment(launcher.kind)

    from r1rl import recipe as recipes
    from r1rl import run_folder

    loaded = recipes.load(recipe, overrides, world_size=processes, check_only=True)
    name = str(loaded.recipe.name)
    run_folder.check_name(name, loaded.recipe.runs_dir, resume=loaded.recipe.resume)
    # The name is settled here, so that all processes write into one folder.
    return run(command(launcher, recipe, [*overrides, "--name", name], free_port()), environment)


def run(words: Sequence[str], environment: dict[str, str]) -> int:
    """Run a command in the foreground and return its exit code; Ctrl-C and SIGTERM end it as well.

    Raises:
        KeyboardInterrupt: after the child has ended.
    """
    with subprocess.Popen(words, env=environment) as process:
        # Left alone, a SIGTERM would end this process and orphan the training.
        previous = signal.signal(signal.SIGTERM, lambda number, _: process.send_signal(number))
        try:
            return _exit_code(process.wait())
        except KeyboardInterrupt:
            # The terminal has signalled the child as well: give it time to write what it holds.
            try:
                process.wait(_STOP_SECONDS)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                process.send_signal(signal.SIGTERM)
            raise
        finally:
            signal.signal(signal.SIGTERM, previous)


class RunFailedError(RuntimeError):
    """A failure whose message says everything: shown as one line, exit code 1."""


def guarded(call: Callable[[], int | None]) -> int:
    """Call and return the exit code: 2 and one line for a user's error, 130 for Ctrl-C, 1 for a failure."""
    first = os.environ.get("RANK", "0") == "0"
    try:
        return call() or SUCCESS
    except RecipeError as error:
        rank_errors.record("usage", str(error))
        if first and not rank_errors.recording():
            sys.stderr.write(f"error: {error}\n")
        return USAGE
    except RunFailedError as error:
        rank_errors.record("failed", str(error))
        if first and not rank_errors.recording():
            sys.stderr.write(f"error: {error}\n")
        return FAILURE
    except KeyboardInterrupt:
        if first:
            sys.stderr.write("\ninterrupted\n")
        return INTERRUPTED
    except Exception as error:
        rank_errors.record("error", f"{type(error).__name__}: {error}"[:2000], error)
        if not rank_errors.recording():
            traceback.print_exc()
        return FAILURE


def free_port() -> int:
    """A TCP port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def visible_gpus() -> int:
    import torch

    return torch.accelerator.device_count() if torch.accelerator.is_available() else 0


def _named_launcher(recipe: Path, overrides: Sequence[str]) -> str | None:
    """The `launcher` key, read without the imports that a full check takes."""
    value = read_yaml(recipe).get("launcher")
    words = list(overrides)
    for position, word in enumerate(words):
        if word == "--launcher" and position + 1 < len(words):
            value = words[position + 1]
        elif word.startswith("--launcher="):
            value = word.partition("=")[2]
    if value is None or str(value).lower() in ("none", "null", ""):
        return None
    return str(value)


def _exit_code(returned: int) -> int:
    """A child's return code as ours: 2 stays 2, a signal or anything else is a failure."""
    return returned if returned in (SUCCESS, USAGE, INTERRUPTED) else FAILURE
