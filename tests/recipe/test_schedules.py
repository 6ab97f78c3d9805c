"""Settings that change at a step: what a recipe may say, and what it means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from r1rl.ground.errors import RecipeError
from r1rl.recipe.load import load
from r1rl.recipe.schedules import Schedule, at_most

SMALL: dict[str, Any] = {
    "model_name_or_path": "base:countdown",
    "prompt_template": "none",
    "prompts_per_step": 4,
    "num_generations": 4,
    "max_steps": 20,
    "use_cpu": True,
}


def loaded(folder: Path, *words: str, **changes: Any) -> Any:
    (path := folder / "small.yaml").write_text(yaml.safe_dump(SMALL | changes))
    return load(path, ["--runs_dir", str(folder / "runs"), *words])


def test_the_value_of_a_step_is_that_of_the_largest_key_up_to_it() -> None:
    schedule = Schedule("max_completion_length", {0: 160, 8: 320, 12: 80})
    assert [schedule.at(step) for step in (0, 7, 8, 11, 12, 999)] == [160, 160, 320, 320, 80, 80]
    assert schedule.largest == 320
    assert schedule.parts(20) == [(8, 160), (4, 320), (8, 80)]
    assert str(schedule) == "160, 320 from step 8 on, 80 from step 12 on"


@pytest.mark.parametrize(
    ("key", "values", "trl"),
    [
        pytest.param("max_completion_length", {0: 32, 8: 64}, 64, id="room for the longest"),
        pytest.param("temperature", {8: 0.6, 0: 1.0}, 1.0, id="in any order; the first one's"),
        pytest.param("learning_rate", {0: "1e-6", 5: "5e-7"}, 1e-6, id="numbers that are text to YAML"),
        pytest.param("beta", {0: 0.0, 8: 0.01}, 0.01, id="a reference model from the start"),
    ],
)
def test_a_schedule_is_read_and_written_and_read_again(
    tmp_path: Path, key: str, values: dict[int, Any], trl: float
) -> None:
    first = loaded(tmp_path, **{key: values})
    assert first.schedules[key].values == {step: float(value) for step, value in sorted(values.items())}
    assert getattr(first.grpo, key) == trl
    first.write(written := tmp_path / "resolved.yaml")
    assert load(written).schedules == first.schedules
    on_command_line = loaded(tmp_path, f"--{key}", yaml.safe_dump(values, default_flow_style=True).strip())
    assert on_command_line.schedules == first.schedules
    assert loaded(tmp_path, f"--{key}", "1", **{key: values}).schedules == {}, "a number takes the mapping's place"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        pytest.param("temperature", {5: 0.6}, "nothing is said of step 0", id="no beginning"),
        pytest.param("temperature", {0: 1.0, -1: 0.6}, "-1 is no optimizer step", id="a negative step"),
        pytest.param("temperature", {0: 1.0, "late": 0.6}, "'late' is no optimizer step", id="a word for a step"),
        pytest.param("temperature", {0: 1.0, 2.5: 0.6}, "2.5 is no optimizer step", id="half a step"),
        pytest.param("temperature", {0: 1.0, 5: 0.0}, r"temperature\.5=0\.0: need more than 0", id="out of range"),
        pytest.param("temperature", {0: 1.0, 5: "hot"}, r"temperature\.5='hot': expected a number", id="no number"),
        pytest.param("temperature", {0: 1.0, 20: 0.6}, "step 20 is never reached", id="behind the end"),
        pytest.param("temperature", {0: 1.0, "00": 2.0}, "step 0 is given twice", id="a step twice"),
        pytest.param("temperature", {}, "nothing is said of step 0", id="empty"),
        pytest.param("max_completion_length", {0: 8, 3: 9.5}, r"max_completion_length\.3=9\.5", id="half a token"),
        pytest.param("num_generations", {0: 8, 3: 9}, "num_generations=", id="a key that cannot change"),
    ],
)
def test_what_is_no_schedule_is_refused(tmp_path: Path, key: str, value: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        loaded(tmp_path, **{key: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"beta": {0: 0.1, 19: 1}, "num_iterations": 9}, "last time at step 18", id="no sampling is left"),
        pytest.param({"sync_ref_model": True}, "beta is 0, so there is no reference", id="no reference to refresh"),
        pytest.param({"sync_ref_model": True, "beta": 0.1, "use_peft": True}, "without its adapter", id="LoRA's"),
        pytest.param({"ref_model_sync_steps": 0}, "ref_model_sync_steps=0: need at least 1", id="never refreshed"),
        pytest.param({"ref_model_mixup_alpha": 1.5}, "ref_model_mixup_alpha=1.5: need more", id="more than all of it"),
    ],
)
def test_what_would_do_nothing_or_harm_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        loaded(tmp_path, **changes)


def test_the_rate_may_change_after_the_last_sampling(tmp_path: Path) -> None:
    assert loaded(tmp_path, learning_rate={0: 1.0, 19: 0.1}, num_iterations=9).schedules


@pytest.mark.parametrize(
    ("key", "value", "one"),
    [
        ("temperature", 0.7, 0.7),
        ("temperature", {0: 1.0, 5: 1.2}, 1.0),
        ("max_completion_length", {0: 32, 5: 64, 9: 16}, 64),
    ],
)
def test_one_number_for_what_runs_after_the_training(key: str, value: Any, one: float) -> None:
    assert at_most(key, value) == one
