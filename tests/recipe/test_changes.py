"""What a resumed run may say otherwise: what is free, what has to be allowed, what no run can change."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from r1rl.ground.errors import RecipeError
from r1rl.recipe import changes
from r1rl.recipe.load import load

RECIPE: dict[str, Any] = {
    "model_name_or_path": "base:countdown",
    "task_options": {"numbers": 3, "low": 1},
    "prompt_template": "none",
    "prompts_per_step": 4,
    "num_generations": 4,
    "max_steps": 10,
    "save_steps": 5,
    "learning_rate": 1e-4,
}


@pytest.fixture
def resume(tmp_path: Path) -> Any:
    """Check other words against the recipe of a run that is there."""
    source = tmp_path / "mine.yaml"
    source.write_text(yaml.safe_dump(RECIPE))
    common = ["--runs_dir", str(tmp_path / "runs"), "--name", "run"]
    first = load(source, common)
    first.folder.path.mkdir(parents=True)
    first.write(first.folder.recipe)
    return lambda *words: changes.check(load(source, [*common, "--resume", *words]))


FREE = [
    pytest.param([], id="the same"),
    pytest.param(["--logging_steps", "5"], id="logging"),
    pytest.param(["--save_steps", "2", "--save_total_limit", "1"], id="saving"),
    pytest.param(["--report_to", "none"], id="trackers"),
    pytest.param(["--watchdog_seconds", "60"], id="the watchdog"),
    pytest.param(["--eval_steps", "7"], id="how often it is evaluated"),
    pytest.param(["--max_steps", "20"], id="more steps"),
    pytest.param(["--launcher", "cpu_ddp2"], id="other processes"),
    pytest.param(["--beta", "0.0"], id="a default that is said"),
]


@pytest.mark.parametrize("words", FREE)
def test_what_changes_nothing_passes(resume: Any, words: list[str]) -> None:
    assert resume(*words) == {}


REFUSED = [
    pytest.param(["--learning_rate", "1e-3"], "learning_rate: 0.0001 → 0.001", id="the rate"),
    pytest.param(["--task_options.numbers", "4"], "task_options.numbers: 3 → 4", id="other held-out problems"),
    pytest.param(["--heldout_size", "5"], "heldout_size: 128 → 5", id="fewer of them"),
    pytest.param(["--max_steps", "5"], "max_steps: 10 → 5", id="fewer steps"),
    pytest.param(["--seed", "1"], "seed: 42 → 1", id="the seed"),
    pytest.param(["--beta", "0.1"], "beta: 0.0 → 0.1", id="the objective"),
    pytest.param(["--temperature", "{0: 1.0, 5: 0.5}"], "temperature: 1.0 → {0: 1.0, 5: 0.5}", id="a schedule"),
    pytest.param(
        ["--gradient_checkpointing", "--epsilon_high", "0.3"], "epsilon_high: None → 0.3", id="not said before"
    ),
    pytest.param(["--reward_weights", "1.0", "0.2"], "reward_weights: None → [1.0, 0.2]", id="what is paid"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED)
def test_what_changes_the_run_is_shown_and_has_to_be_allowed(resume: Any, words: list[str], said: str) -> None:
    with pytest.raises(RecipeError) as refused:
        resume(*words)
    assert said in str(refused.value)
    assert "--resume_changed true" in str(refused.value)
    key, old = said.split(" → ")[0].split(": ", 1)
    assert repr(resume(*words, "--resume_changed", "true")[key][0]) == old


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["--model_name_or_path", "someone/else"], id="another model"),
        pytest.param(["--use_peft", "true"], id="an adapter"),
        pytest.param(["--optim", "sgd"], id="another optimizer"),
        pytest.param(["--adam_beta2", "0.9"], id="whose state would bring its own value"),
    ],
)
def test_what_no_run_can_change(resume: Any, words: list[str]) -> None:
    with pytest.raises(RecipeError, match="no run can change this"):
        resume(*words, "--resume_changed", "true")


def test_a_run_without_a_recipe_or_not_resumed_is_not_compared(tmp_path: Path) -> None:
    source = tmp_path / "mine.yaml"
    source.write_text(yaml.safe_dump(RECIPE))
    words = ["--runs_dir", str(tmp_path), "--name", "new"]
    assert changes.check(load(source, words)) == {}
    assert changes.check(load(source, [*words, "--resume"])) == {}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param(None, "which run.* are mine, mine-2$", id="no name: those of this recipe"),
        pytest.param("mine-2", None, id="one that is there"),
        pytest.param("mime", "no run 'mime' .* begins; did you mean 'mine'", id="mistyped"),
        pytest.param("else", "it begins$", id="a new one"),
    ],
)
def test_the_name_of_a_run_to_be_resumed(tmp_path: Path, name: str | None, said: str | None) -> None:
    for run in ("mine", "mine-2", "another"):
        (tmp_path / run).mkdir()
        (tmp_path / run / "recipe.yaml").touch()
    if name is None:
        with pytest.raises(RecipeError, match=said):
            changes.check_resumed_name(name, str(tmp_path), "mine")
        return
    found = changes.check_resumed_name(name, str(tmp_path), "mine")
    assert found is None if said is None else re.search(said, found or "")
