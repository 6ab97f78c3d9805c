"""Launching: the shipped configs start the processes they promise, and signals end what was started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import types
from pathlib import Path
from typing import Any

import pytest
import yaml

import r1rl.train
from r1rl.commands import train as train_command
from r1rl.ground import machine
from r1rl.ground.errors import RecipeError
from r1rl.launch import start as launch
from r1rl.recipe import launchers
from r1rl.run import exits

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "recipes" / "accelerate").glob("*.yaml"))
assert CONFIGS, "no accelerate configs found"
RECIPE = ROOT / "recipes" / "tiny" / "countdown.yaml"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configs_are_accelerates(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(path))
    launcher = launchers.find(path.stem, RECIPE.parent)
    assert launcher.path.samefile(path)
    assert launcher.counted == (config.num_processes != -1)
    if launcher.counted:
        assert config.num_processes == launcher.processes
    else:
        assert launchers.find(f"{path.stem}:3", RECIPE.parent).processes == 3
    # With these two, accelerate starts a single process whatever num_processes says.
    trap = config.use_cpu or str(config.distributed_type).endswith("MULTI_CPU")
    assert launcher.processes == 1 or not trap


@pytest.mark.parametrize(
    ("name", "message"),
    [
        pytest.param("cpu_dpp2", "did you mean 'cpu_ddp2'?", id="typo"),
        pytest.param("none.yaml", "unknown launcher, known are", id="no such path"),
        pytest.param("zero2:many", "after the colon comes the number", id="no number"),
        pytest.param("zero2:0", "after the colon comes the number", id="no process"),
        pytest.param("cpu_ddp2:2", "leave one of them out", id="said twice"),
    ],
)
def test_unknown_launchers(name: str, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        launchers.find(name, RECIPE.parent)
    assert message in str(error.value)


def test_the_number_of_processes_is_said_or_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "visible_gpus", lambda: 4)
    assert launchers.require_processes(launchers.find("zero3", RECIPE.parent)) == 4
    words = launch.command(launchers.find("zero3:2", RECIPE.parent), RECIPE, [], 4321)
    assert words[words.index("--num_processes") + 1] == "2"
    monkeypatch.setattr(machine, "visible_gpus", lambda: 0)
    with pytest.raises(RecipeError, match="say how many processes: --launcher zero3:2"):
        launchers.require_processes(launchers.find("zero3", RECIPE.parent))


def test_a_launcher_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text("num_processes: 4\nnum_machines: 2\nmain_process_port: 1234\n")
    assert launchers.find("mine.yaml", tmp_path) == launchers.Launcher(tmp_path / "mine.yaml", 4, 2, True, True, "NO")
    monkeypatch.chdir(tmp_path)
    assert launchers.find("mine.yaml", RECIPE.parent).processes == 4


@pytest.mark.parametrize("text", ["num_processes: 0\n", "num_processes: two\n", "num_machines: 1.5\n"])
def test_a_launcher_with_no_usable_count(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(RecipeError, match="need a whole number"):
        launchers.find("mine.yaml", tmp_path)


def test_command() -> None:
    one, two = launchers.find("cpu", RECIPE.parent), launchers.find("cpu_ddp2", RECIPE.parent)
    words = launch.command(two, RECIPE, ["--seed", "1"], 4321)
    start = ["launch", "--config_file", str(two.path), "--main_process_port", "4321"]
    assert words[words.index("launch") :] == [
        *start,
        "-m",
        "r1rl.train",
        "--config",
        str(RECIPE),
        "--seed",
        "1",
    ]
    assert words[0] == sys.executable
    assert "--main_process_port" not in launch.command(one, RECIPE, [], 4321)
    spread = launchers.Launcher(two.path, 2, 2, False)
    assert "--main_process_port" not in launch.command(spread, RECIPE, [], 4321)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `train_command.train` starts: in this process (arguments) or as a command (words, environment)."""
    seen: dict[str, Any] = {}
    stub = types.ModuleType("r1rl.train.main")
    stub.main = lambda arguments: seen.update(arguments=arguments)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "r1rl.train.main", stub)
    monkeypatch.setattr(r1rl.train, "main", stub, raising=False)

    def run(words: list[str], environment: dict[str, str]) -> int:
        seen.update(words=words, environment=environment)
        return 0

    monkeypatch.setattr(launch, "run", run)
    return seen


def small(folder: Path, **changes: Any) -> Path:
    path = folder / "small.yaml"
    content = {"model_name_or_path": "base:countdown", "prompts_per_step": 4, "num_generations": 2}
    path.write_text(yaml.safe_dump(content | changes))
    return path


@pytest.mark.parametrize(
    ("changes", "overrides"),
    [
        pytest.param({}, [], id="none named"),
        pytest.param({"launcher": "cpu_ddp2"}, ["--launcher", "none"], id="switched off"),
        pytest.param({"launcher": "cpu_ddp2"}, ["--launcher=null"], id="switched off, equals sign"),
    ],
)
def test_without_a_launcher_it_trains_here(
    started: dict[str, Any], tmp_path: Path, changes: dict[str, Any], overrides: list[str]
) -> None:
    path = small(tmp_path, **changes)
    assert train_command.train(path, overrides) == 0
    assert started == {"arguments": ["--config", str(path), *overrides]}


def test_with_a_launcher_the_name_and_world_size_are_settled(started: dict[str, Any], tmp_path: Path) -> None:
    path = small(tmp_path)
    assert train_command.train(path, ["--launcher", "cpu_ddp2", "--runs_dir", str(tmp_path / "runs")]) == 0
    assert started["words"][-2:] == ["--name", "small-1"]
    assert started["environment"][launchers.EXPECTED_WORLD_SIZE] == "2"
    assert launchers.EXPECTED_WORLD_SIZE not in os.environ


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        pytest.param(["--prompts_per_step", "3"], "cannot be shared by 2 processes", id="indivisible batch"),
        pytest.param(["--max_step", "3"], "did you mean 'max_steps'", id="unknown key"),
        pytest.param(["--name", "taken"], "exists; give another --name", id="taken name"),
    ],
)
def test_a_wrong_recipe_starts_no_process(
    started: dict[str, Any], tmp_path: Path, overrides: list[str], message: str
) -> None:
    (tmp_path / "taken" / "rollouts").mkdir(parents=True)
    path = small(tmp_path, launcher="cpu_ddp2", runs_dir=str(tmp_path))
    with pytest.raises(RecipeError, match=message):
        train_command.train(path, overrides)
    assert started == {}


def test_two_real_processes_share_one_run(tmp_path: Path) -> None:
    """The shipped two-process config: world size 2 over gloo, one agreed run name, half of the batch each."""
    path = small(tmp_path, runs_dir=str(tmp_path / "runs"), use_cpu=True)
    script = tmp_path / "two.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import json, os, pathlib, time
            from r1rl.recipe import load as recipe
            from r1rl.run import folder as run_folder
            rank = int(os.environ["RANK"])
            assert os.environ["WORLD_SIZE"] == "2"
            if rank == 1:
                time.sleep(1)
            loaded = recipe.load({str(path)!r})
            if rank == 0:
                run_folder.create(loaded.recipe.name, loaded.recipe.runs_dir)
            import torch.distributed as distributed
            seen = [rank, distributed.get_world_size(), distributed.get_backend(), loaded.recipe.name,
                    loaded.world_size, loaded.batch.rollouts, loaded.grpo.generation_batch_size]
            pathlib.Path({str(tmp_path)!r}, f"rank{{rank}}.json").write_text(json.dumps(seen))
            distributed.barrier()
            distributed.destroy_process_group()  # else the backend's threads may outlive the interpreter
            """
        )
    )
    words = launch.command(launchers.find("cpu_ddp2", RECIPE.parent), path, [], launch.free_port())
    words = [*words[: words.index("-m", 3)], str(script)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    assert launch.run(words, environment) == 0
    seen = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert seen == [[rank, 2, "gloo", "small-1", 2, 4, 8] for rank in (0, 1)]


@pytest.mark.parametrize(
    ("code", "expected"),
    [(0, 0), (2, 2), (130, 130), (1, 1), (7, 1)],
    ids=["success", "usage", "interrupted", "failure", "anything else"],
)
def test_run_keeps_exit_codes(code: int, expected: int) -> None:
    assert launch.run([sys.executable, "-c", f"raise SystemExit({code})"], dict(os.environ)) == expected


def test_a_killed_child_is_a_failure() -> None:
    assert launch.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], dict(os.environ)) == exits.FAILURE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_a_signal_ends_the_training_too(tmp_path: Path, number: signal.Signals) -> None:
    """A signal to `r1rl train` alone, or to the whole terminal, leaves no child behind."""
    pid_file = tmp_path / "pid"
    child = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(300)"
    parent = (
        "import os, sys; from r1rl.launch import start as launch; from r1rl.run import exits; "
        f"sys.exit(exits.guarded(lambda: launch.run([sys.executable, '-c', {child!r}], dict(os.environ))))"
    )
    with subprocess.Popen([sys.executable, "-c", parent], cwd=ROOT, start_new_session=True) as process:
        deadline = time.monotonic() + 300
        while not (pid_file.exists() and pid_file.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # a terminal signals the whole foreground group
        else:
            os.kill(process.pid, number)
        code = process.wait(240)
    assert code == (exits.INTERRUPTED if number == signal.SIGINT else exits.FAILURE)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)
