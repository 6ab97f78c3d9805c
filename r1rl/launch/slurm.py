"""A recipe and a cluster profile as a Slurm job script. Nothing of a cluster is known here: the profile says it."""

from __future__ import annotations

import argparse
import itertools
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_type_hints

from r1rl.ground import shipped
from r1rl.ground.errors import RecipeError, check_known, nearest
from r1rl.ground.values import coerce, parse_overrides, read_yaml
from r1rl.recipe import launchers
from r1rl.recipe import load as recipe
from r1rl.run import cpu_processes
from r1rl.run import folder as run_folder

TEMPLATE = shipped.folder("slurm") / "train.sbatch.j2"
REPORT_TEMPLATE = TEMPLATE.with_name("report.sbatch.j2")
PROFILES = shipped.folder("slurm") / "profiles"
VLLM_PORT = 8000
VLLM_WAIT_SECONDS = 900


@dataclass(frozen=True)
class Profile:
    """What is particular to a cluster; slurm/profiles/example.yaml explains each key."""

    partition: str | None = None
    cpu_partition: str | None = None
    account: str | None = None
    qos: str | None = None
    gpus_per_node: int = 0
    cpus_per_node: int | None = None
    memory: str | None = None
    time: str | None = None
    modules: list[str] = field(default_factory=list)
    setup: list[str] = field(default_factory=list)
    python: str = "python3"
    container: str | None = None
    binds: list[str] = field(default_factory=list)
    network_interface: str | None = None
    scratch: str | None = None
    signal_seconds: int = 300
    timeout_seconds: int = 1800
    directives: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """One training of a job; an array has several. `setting`: the name without the seed."""

    name: str
    words: list[str]
    setting: str = ""


@dataclass(frozen=True)
class Job:
    """A rendered job: the script, the runs it makes, and where its output goes (`%` as in sbatch).

    `report`: the script of the job after an array with seeds, whose output is the report; empty without seeds.
    """

    name: str
    script: str
    runs: list[Run]
    runs_dir: Path
    output: str
    report: str = ""
    report_output: str = ""


def profile(name: str) -> Profile:
    """A profile by path, or by name from slurm/profiles.

    Raises:
        RecipeError: no such profile, an unknown key or a value of another type.
    """
    path = Path(name).expanduser() if name.endswith((".yaml", ".yml")) else PROFILES / f"{name}.yaml"
    if not path.is_file():
        known = sorted(each.stem for each in PROFILES.glob("*.yaml"))
        raise RecipeError(
            f"profile={name!r}: unknown profile, known are {', '.join(known)} or a path{nearest(name, known)}"
        )
    content, hints = read_yaml(path, "profile"), get_type_hints(Profile)
    check_known(content, hints, f" in {path}")
    values = {key: coerce(key, value, hints[key]) for key, value in content.items()}
    for key, value in values.items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str) and ("\n" in text or "\0" in text):
                raise RecipeError(f"profile {path}: {key} has a line break; give one line each")
    made = Profile(**values)
    if made.gpus_per_node < 0 or made.signal_seconds < 1 or made.timeout_seconds < 1:
        raise RecipeError(f"profile {path}: gpus_per_node, signal_seconds and timeout_seconds need positive numbers")
    return made


def runs(base: str, overrides: Sequence[str], seeds: int | None, sweeps: Sequence[str]) -> list[Run]:
    """The trainings of a job: every combination of the seeds (0 to seeds - 1) and of each sweep's values.

    Args:
        base: the name they begin with.
        sweeps: `key=value,value` each.

    Raises:
        RecipeError: an unknown key, no value, or a key or value twice.
    """
    hints = recipe.known_keys()
    axes: dict[str, list[str]] = {}
    if seeds is not None:
        if seeds < 1:
            raise RecipeError(f"seeds={seeds}: need at least 1")
        axes["seed"] = [str(seed) for seed in range(seeds)]
    for sweep in sweeps:
        key, equals, values = sweep.partition("=")
        key = key.replace("-", "_")
        if not equals or not values or key not in hints:
            raise RecipeError(f"sweep={sweep!r}: expected KEY=VALUE,VALUE with a recipe's key{nearest(key, hints)}")
        if key in axes:
            raise RecipeError(f"sweep={sweep!r}: {key} varies already")
        axes[key] = [value.strip() for value in values.split(",")]
        if len(set(axes[key])) < len(axes[key]) or "" in axes[key]:
            raise RecipeError(f"sweep={sweep!r}: every value needs a run of its own; give each once")
    made = []
    for chosen in itertools.product(*axes.values()):
        pairs = list(zip(axes, chosen, strict=True))
        words = [word for key, value in pairs for word in (f"--{key}", value)]
        name = base + "".join(f"-{key}{value}" for key, value in pairs)
        setting = base + "".join(f"-{key}{value}" for key, value in pairs if key != "seed")
        made.append(Run(name, [*overrides, *words], setting))
    return made


def render(
    path: Path,
    overrides: Sequence[str],
    cluster: Profile,
    *,
    nodes: int = 1,
    vllm: str | None = None,
    seeds: int | None = None,
    sweeps: Sequence[str] = (),
    max_requeues: int = 10,
    folder: Path | None = None,
) -> Job:
    """The job of a recipe on a cluster, every run of it checked.

    Args:
        nodes: all of them; a dedicated vLLM server takes the last one.
        vllm: `none`, `colocate` or `server`; None: as the recipe says.
        folder: the job's working folder; default: this one.

    Raises:
        RecipeError: the recipe, the profile or the number of nodes cannot work.
    """
    if max_requeues < 0:
        raise RecipeError(f"max_requeues={max_requeues}: need 0 or more")
    stated = read_yaml(path) | parse_overrides(list(overrides), recipe.known_keys())
    if vllm is None:
        wanted = coerce("use_vllm", stated.get("use_vllm", False), bool)
        vllm = str(stated.get("vllm_mode") or "colocate") if wanted else "none"
    train_nodes = _train_nodes(nodes, vllm, cluster)
    place = str(folder or Path.cwd())
    if "\n" in place:
        raise RecipeError(f"folder={place!r}: has a line break, which a job script cannot name; submit from another")
    processes = train_nodes * max(1, cluster.gpus_per_node)
    # This machine need not have a GPU; the nodes have.
    elsewhere = [] if "use_cpu" in stated else ["--use_cpu", str(not cluster.gpus_per_node)]
    loaded = recipe.load(path, [*overrides, *elsewhere], world_size=processes, check_only=True)
    name, runs_dir = str(loaded.recipe.name), Path(loaded.recipe.runs_dir)
    made = runs(name, _without(overrides, ("name", "use_vllm", "vllm_mode")), seeds, sweeps)
    for run in made:
        run_folder.check_name(run.name, runs_dir)
        if seeds is not None or sweeps:
            recipe.load(path, [*run.words, "--name", run.name, *elsewhere], world_size=processes, check_only=True)
    more = ["--use_vllm", "true", "--vllm_mode", "colocate"] if vllm == "colocate" else []
    more += [] if "ddp_timeout" in stated else ["--ddp_timeout", str(cluster.timeout_seconds)]
    made = [replace(run, words=[*run.words, *more]) for run in made]
    common = {"name": name, "profile": cluster, "folder": place, "runs_dir": str(runs_dir)}
    job = _array(common, loaded, path, made, nodes=nodes, train_nodes=train_nodes, vllm=vllm, max_requeues=max_requeues)
    settings = [[run.name for run in made if run.setting == one] for one in dict.fromkeys(run.setting for run in made)]
    if all(len(names) < 2 for names in settings):
        return job
    return _reported(job, common, groups=settings, after=[])


def render_runs(
    path: Path,
    given: Sequence[Run],
    cluster: Profile,
    *,
    name: str,
    runs_dir: Path,
    checks: Sequence[Sequence[str]],
    after: Sequence[str],
    max_requeues: int = 10,
    folder: Path | None = None,
) -> Job:
    """An array of runs of one recipe that are listed, each on one node, and a job behind them.

    Args:
        checks: the recipe's words that stand for all of `given`; each is loaded for a node's processes.
        after: the words behind `r1rl` of the job that follows, whatever has become of the runs.

    Raises:
        RecipeError: a recipe or the profile cannot work, or the runs want different launchers.
    """
    place = str(folder or Path.cwd())
    if "\n" in place:
        raise RecipeError(f"folder={place!r}: has a line break, which a job script cannot name; submit from another")
    processes = max(1, cluster.gpus_per_node)
    elsewhere = ["--use_cpu", str(not cluster.gpus_per_node)]
    every = [recipe.load(path, [*words, *elsewhere], world_size=processes, check_only=True) for words in checks]
    if any(loaded.grpo.use_vllm and loaded.grpo.vllm_mode == "server" for loaded in every):
        raise RecipeError("vllm_mode='server': an array of runs has no node for a server; try colocate")
    if len({loaded.recipe.launcher for loaded in every}) > 1:
        raise RecipeError("launcher: the runs of an array share one; give each arm the same")
    common = {"name": name, "profile": cluster, "folder": place, "runs_dir": str(runs_dir)}
    made = [replace(run, words=_without(run.words, ("name",))) for run in given]
    made = [replace(run, words=[*run.words, "--ddp_timeout", str(cluster.timeout_seconds)]) for run in made]
    job = _array(common, every[0], path, made, nodes=1, train_nodes=1, vllm="none", max_requeues=max_requeues)
    return _reported(job, common, groups=[], after=after)


def _array(
    common: Mapping[str, Any],
    loaded: recipe.LoadedRecipe,
    path: Path,
    made: list[Run],
    *,
    nodes: int,
    train_nodes: int,
    vllm: str,
    max_requeues: int,
) -> Job:
    """The job's script. `common`: what it shares with the report's."""
    name, runs_dir, cluster = common["name"], common["runs_dir"], common["profile"]
    processes = train_nodes * max(1, cluster.gpus_per_node)
    launcher, start = _start(loaded, path, processes, train_nodes)
    output = f"{runs_dir}/slurm/{name}-%{'A_%a' if len(made) > 1 else 'j'}.out"
    script = _template(TEMPLATE).render(
        common,
        nodes=nodes,
        train_nodes=train_nodes,
        processes=processes,
        runs=made,
        output=output,
        recipe=str(path),
        model=str(loaded.model.model_name_or_path),
        vllm=vllm,
        vllm_port=VLLM_PORT,
        vllm_dtype=_server_dtype(loaded),
        vllm_wait_seconds=VLLM_WAIT_SECONDS,
        max_requeues=max_requeues,
        expected_world_size=launchers.EXPECTED_WORLD_SIZE,
        environment=cpu_processes.environment_for(launcher.kind) if launcher and not cluster.gpus_per_node else {},
        start=start,
    )
    return Job(name, script, made, Path(runs_dir), output)


def _reported(job: Job, common: Mapping[str, Any], *, groups: Sequence[Sequence[str]], after: Sequence[str]) -> Job:
    """The job with the one that follows it: `r1rl aha` on each group of runs, or the words of `after`."""
    output = f"{common['runs_dir']}/slurm/{job.name}-report-%j.txt"
    report = _template(REPORT_TEMPLATE).render(common, groups=groups, after=after, output=output)
    return replace(job, report=report, report_output=output)


def _server_dtype(loaded: recipe.LoadedRecipe) -> str:
    """What a vLLM server computes in, as colocated vLLM does: what the recipe says, or what the update computes in."""
    wanted = loaded.recipe.sampling_dtype
    return wanted if wanted != "auto" else "bfloat16" if loaded.grpo.bf16 else "auto"


def _train_nodes(nodes: int, vllm: str, cluster: Profile) -> int:
    """The nodes that train: all of them, or all but the server's."""
    problems = {
        f"nodes={nodes}: need at least 1": nodes < 1,
        f"vllm={vllm!r}: expected none, colocate or server": vllm not in ("none", "colocate", "server"),
        f"vllm={vllm!r}: needs GPUs, and the profile says gpus_per_node=0": vllm != "none"
        and not cluster.gpus_per_node,
        "nodes=1: a dedicated vLLM server takes a node of its own, so none is left to train on; try --nodes 2, or "
        "--vllm colocate": vllm == "server" and nodes < 2,
    }
    for message, applies in problems.items():
        if applies:
            raise RecipeError(message)
    return nodes - 1 if vllm == "server" else nodes


def _start(
    loaded: recipe.LoadedRecipe, path: Path, processes: int, train_nodes: int
) -> tuple[launchers.Launcher | None, str]:
    """The launcher, and what a node's shell runs: $1 is the interpreter, the rest the training's arguments."""
    head = 'python=$1; shift; exec "$python" '
    named = loaded.recipe.launcher
    if processes == 1 and (named is None or launchers.find(named, path.parent).kind == "NO"):
        return None, head + '-m r1rl.train "$@"'
    launcher = launchers.find(named or "ddp", path.parent)
    if launcher.counted and (launcher.processes, launcher.machines) != (processes, train_nodes):
        raise RecipeError(
            f"launcher={named!r}: {launcher.path} says {launcher.processes} processes on {launcher.machines} machines, "
            f"the job has {processes} on {train_nodes}; take a launcher that leaves num_processes out, as ddp or zero3"
        )
    words = ["-m", "r1rl.launch.agent", "launch", "--config_file", str(launcher.path)]
    words += ["--num_processes", str(processes), "--num_machines", str(train_nodes)]
    words += ["--rdzv_backend", "static", "--same_network"]
    if launcher.kind == "DEEPSPEED" and train_nodes > 1:
        words += ["--deepspeed_multinode_launcher", "standard"]  # without it one process trains, silently
    place = '--machine_rank "$SLURM_PROCID" --main_process_ip "$MASTER_ADDR" --main_process_port "$MASTER_PORT"'
    return launcher, f'{head}{shlex.join(words)} {place} -m r1rl.train "$@"'


def _without(words: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Recipe words without some keys and their values."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for key in keys:
        parser.add_argument(f"--{key}", f"--{key.replace('_', '-')}", nargs="*")
    return parser.parse_known_args(list(words))[1]


def _template(path: Path) -> Any:
    """A job template whose values are quoted for the shell by its own filters."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(path.parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # a shell script; shlex quotes
    )
    environment.filters["directive"] = _directive
    environment.filters["quote"] = lambda text: shlex.quote(str(text))
    # A folder may name a variable of the node's, as $USER; nothing else is left to the shell.
    environment.filters["shell_text"] = lambda text: (
        '"' + str(text).replace("\\", "\\\\").replace('"', '\\"').replace("`", "\\`").replace("$(", "\\$(") + '"'
    )
    return environment.get_template(path.name)


def _directive(text: object) -> str:
    """A value for an #SBATCH line, where Slurm reads quotes and backslashes and ends a value at a space or a `#`."""
    plain = str(text)
    if re.fullmatch(r"[\w@%+=:,./-]*", plain):
        return plain
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'
