"""What is installed: the wheel carries recipes and job templates, the containers name what exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from tiny_training import folder_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("r1rl", "rewards", "recipes", "slurm")
DOCKERFILE = (ROOT / "containers" / "Dockerfile").read_text()
APPTAINER = (ROOT / "containers" / "r1rl.def").read_text()


def files_of(part: str) -> set[str]:
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / part).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def built(folder: Path) -> Path:
    """A wheel, built in a copy of the source, and unpacked."""
    for part in PARTS:
        shutil.copytree(ROOT / part, folder / "source" / part, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=folder / "source", check=True, capture_output=True, timeout=600,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    site = folder / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    return site


def test_the_wheel_is_whole_and_finds_its_files(tmp_path: Path) -> None:
    site = built(tmp_path)
    assert {path.name for path in site.iterdir() if path.suffix != ".dist-info"} == {"r1rl", "rewards"}
    for part in PARTS:
        place = site / part if part in ("r1rl", "rewards") else site / "r1rl" / part
        missing = files_of(part) - {str(Path(part) / path.relative_to(place)) for path in place.rglob("*")}
        assert not missing, f"not in the wheel: {sorted(missing)}"
    look = (
        "from pathlib import Path; from r1rl.launch import slurm; from r1rl.recipe import launchers; "
        "print(launchers.find('zero2:2', Path('.')).path); print(slurm.TEMPLATE, slurm.TEMPLATE.is_file())"
    )
    # -I: neither the folder nor PYTHONPATH leads to the clone.
    found = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(site)!r}); {look}"],
        cwd=tmp_path, check=True, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    launcher, template = found.stdout.splitlines()
    assert launcher == str(site / "r1rl" / "recipes" / "accelerate" / "zero2.yaml")
    assert template == f"{site / 'r1rl' / 'slurm' / 'train.sbatch.j2'} True"


@pytest.mark.processes
def test_an_installed_wheel_trains_plans_and_renders_a_job(tmp_path: Path, small_run: list[str]) -> None:
    built(tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    fresh = tmp_path / "fresh"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", fresh], check=True, timeout=300)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(fresh), "platbase": str(fresh)}))
    # The dependencies of this environment, but not the clone: the path files inside a folder named here are not read.
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        fresh / "bin" / "python",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
    ]
    subprocess.run([*pip, wheel], check=True, timeout=300)
    assert (site / "r1rl" / "recipes").is_dir()

    def r1rl(*words: str) -> str:
        done = subprocess.run(
            [fresh / "bin" / "r1rl", *words],
            cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False,
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    r1rl("train", "tiny/countdown", *small_run, "--name", "run")
    assert (folder_of(small_run) / "result.json").is_file()
    assert "prompts" in r1rl("plan", "tiny/countdown")
    job = r1rl("submit", "tiny/countdown", "--profile", "cpu", "--nodes", "2", "--launcher", "ddp", "--dry-run")
    assert "#SBATCH --nodes=2" in job
    assert str(site / "r1rl" / "recipes") in job


def test_containers_copy_what_exists() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE)
    in_docker = {name for names in copied for name in names.split()}
    files = APPTAINER.partition("%files")[2].partition("%post")[0]
    in_apptainer = {line.split()[0] for line in files.splitlines() if line.strip()}
    assert in_docker == in_apptainer
    assert in_docker >= {*PARTS, "pyproject.toml", "containers/constraints.txt"}
    for name in in_docker:
        assert (ROOT / name).exists(), name


def test_containers_install_extras_that_exist() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for text in (DOCKERFILE, APPTAINER):
        (extras,) = re.findall(r"/opt/src\[([a-z,]+)\]", text)
        assert {"vllm", "deepspeed"} <= set(extras.split(",")) <= set(known)


def test_containers_are_pinned_alike() -> None:
    (base,) = re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert re.findall(r"^From: (\S+)$", APPTAINER, re.MULTILINE) == [base]
    assert re.fullmatch(r"nvidia/cuda:\d+\.\d+\.\d+-devel-ubuntu\d\d\.\d\d", base)
    pinned, locked = (
        dict(re.findall(r"^([a-z-]+)==(\S+)$", (ROOT / name).read_text(), re.MULTILINE))
        for name in ("containers/constraints.txt", "requirements.lock")
    )
    assert {"vllm", "torch", "trl", "transformers", "deepspeed"} <= set(pinned)
    for package in set(pinned) & set(locked):
        assert pinned[package] == locked[package]


def test_shell_of_the_container_parses() -> None:
    post = APPTAINER.partition("%post")[2].partition("%environment")[0]
    steps = re.findall(r"^RUN ((?:.*\\\n)*.*)$", DOCKERFILE, re.MULTILINE)
    assert len(steps) == 3
    for script in (post, *steps):
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
