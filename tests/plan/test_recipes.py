"""The recipes that ship: each is planned on the machines that its head names, and the figures shown are plan's."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from r1rl import cli
from r1rl.ground.errors import MissingDataError
from r1rl.recipe import checks

ROOT = Path(__file__).resolve().parents[2]
PLANNED = {
    path: found[1]
    for path in sorted((ROOT / "recipes").glob("*/*.yaml"))
    if (found := re.search(r"^#   (r1rl plan recipes/.*)$", path.read_text(), re.MULTILINE))
}
NO_GPUS = {
    "tiny/countdown.yaml",
    "gemma3-270m/countdown-check.yaml",
    "smollm2-135m/addition.yaml",
    "smollm2-135m/countdown-check.yaml",
    "smollm2-135m/countdown-last-try.yaml",
    "smollm2-135m/mawps-calculation.yaml",
    "smollm2-135m/mawps.yaml",
}
ROW = re.compile(r"^\| \[.*?\]\((.*?)\) \|(.*)\|$", re.MULTILINE)


def planned(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What plan says of a recipe by the command in its head, whether or not the data are here."""
    here = checks.tasks.get

    def without_data(name: str, **options: Any) -> Any:
        if name == "file":
            raise MissingDataError("not here")
        return here(name, **options)

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(checks.tasks, "get", without_data)
    assert cli.main([*shlex.split(PLANNED[path])[1:], "--no-gold", "--json"]) == 0
    content: dict[str, Any] = json.loads(capsys.readouterr().out)
    return content


def test_every_recipe_for_gpus_names_its_machines() -> None:
    others = {
        path.relative_to(ROOT / "recipes").as_posix()
        for path in (ROOT / "recipes").glob("*/*.yaml")
        if path.parent.name not in ("accelerate", "studies") and path not in PLANNED
    }
    assert others == NO_GPUS


@pytest.mark.parametrize("path", PLANNED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_figures_shown_are_those_of_plan(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = path.relative_to(ROOT / "recipes").as_posix()
    assert PLANNED[path].split()[2] == f"recipes/{name}"
    content = planned(path, monkeypatch, capsys)
    chosen = content["chosen"]
    held = content["memory"][chosen]
    verdict = "fits" if held["fits"] else "does not fit"
    memory, each = f"{held['peak'] / 1e9:.1f} GB", f"{content['memory_each'] / 1e9:.1f} GB"
    hours = f"{content['work']['gpu_hours']:,.3g} GPU-hours" if content["work"]["gpu_hours"] < 1000 else ""
    hours = hours or f"{round(content['work']['gpu_hours'], -2):,.0f} GPU-hours"
    assert f"\n#   -> {verdict}: {chosen} needs {memory} of {each}; {hours}\n" in path.read_text()
    rows = dict(ROW.findall((ROOT / "recipes" / "README.md").read_text()))
    cells = [cell.strip() for cell in rows[name].split("|")]
    assert cells[3:6] == [verdict, memory, hours.removesuffix(" GPU-hours")]
    assert held["fits"] or "does not fit because" in path.read_text()  # then the head says why


@pytest.mark.parametrize(
    ("name", "sampled", "updates", "each"),
    [
        pytest.param("deepseek-v3/r1-zero", 8192, 16, 512, id="R1-Zero: 32 questions x 16 an update"),
        pytest.param("qwen2.5-32b/dapo", 8192, 16, 512, id="DAPO: train_prompt_mini_bsz 32, 16 each"),
        pytest.param("qwen2.5-7b/simplerl-zoo", 8192, 4, 2048, id="SimpleRL-Zoo: ppo_mini_batch_size 256, 8 each"),
        pytest.param("qwen2.5-math-7b/dr-grpo", 1024, 8, 128, id="Dr. GRPO: train_batch_size 128 counts rollouts"),
        pytest.param("qwen2.5-7b/logic-rl", 1024, 2, 512, id="Logic-RL: ppo_mini_batch_size 32, 16 each"),
        pytest.param("qwen2.5-7b/open-reasoner-zero", 8192, 1, 8192, id="ORZ: policy_update_steps 1"),
        pytest.param("qwen2.5-3b/tinyzero", 256, 4, 64, id="TinyZero: ppo_mini_batch_size 64, one rollout a question"),
        pytest.param("qwen2.5-3b/nano-aha", 64, 1, 64, id="nanoAhaMoment: 64 episodes an iteration"),
    ],
)
def test_updates_are_as_large_and_as_many_as_published(
    name: str,
    sampled: int,
    updates: int,
    each: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = planned(ROOT / "recipes" / f"{name}.yaml", monkeypatch, capsys)
    batch, processes = content["batch"], content["processes"]
    assert (batch["rollouts"] * processes, batch["steps"]) == (sampled, updates)
    assert batch["micro_batch"] * batch["accumulation_steps"] * processes == each
