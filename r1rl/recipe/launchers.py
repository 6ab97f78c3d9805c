"""The launcher that a recipe names: an Accelerate config file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from r1rl.ground import machine, shipped
from r1rl.ground.errors import RecipeError, nearest
from r1rl.ground.values import read_yaml

EXPECTED_WORLD_SIZE = "R1RL_EXPECTED_WORLD_SIZE"
SHIPPED = shipped.folder("recipes") / "accelerate"


@dataclass(frozen=True)
class Launcher:
    """An Accelerate config file and what r1rl needs to know of it."""

    path: Path
    processes: int  # over all machines; 0: neither said nor to be counted here, see `require_processes`
    machines: int
    port_given: bool
    counted: bool = True  # whether the file itself says how many processes; if not, the command line has to
    kind: str = "NO"  # the file's `distributed_type`


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
        places = [folder / f"{name}.yaml" for folder in (*near_recipe, SHIPPED)]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        known = sorted({file.stem for place in (*places, SHIPPED / "any") for file in place.parent.glob("*.yaml")})
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
        counts["num_processes"] = machine.visible_gpus()
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
