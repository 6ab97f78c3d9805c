"""The JSON Schema of a recipe: it takes what ships, refuses what `load` refuses, and is a schema itself."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import rewards
from r1rl import cli, tasks
from r1rl.ground import values
from r1rl.ground.errors import RecipeError
from r1rl.recipe import schema
from r1rl.recipe.keys import DERIVED, LIMITS
from r1rl.recipe.load import known_keys, load

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted(
    path for path in (ROOT / "recipes").rglob("*.yaml") if path.parent.name not in ("accelerate", "studies")
)
SMALL: dict[str, Any] = {"model_name_or_path": "base:countdown", "prompt_template": "none"}


@pytest.fixture(scope="module")
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schema.schema())


def as_json(content: Any) -> Any:
    """What a YAML language server sees: steps are texts as all keys are."""
    return json.loads(json.dumps(content))


def test_it_is_a_schema_of_its_draft(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["recipe", "schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    jsonschema.Draft202012Validator.check_schema(printed)
    assert set(printed["properties"]) == set(known_keys()) - set(DERIVED)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_it_takes_what_ships(path: Path, validator: jsonschema.Draft202012Validator) -> None:
    found = [error.message for error in validator.iter_errors(as_json(yaml.safe_load(path.read_text())))]
    assert found == []


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param("learning_rate: 1e-6", id="PyYAML reads a text"),
        pytest.param("temperature: {0: 1.0, 20: 0.8}", id="a value by step"),
        pytest.param("reward_funcs: [accuracy, my_rewards.py:short]", id="a reward of one's own"),
        pytest.param("reward_funcs: accuracy", id="one reward without a list"),
        pytest.param("report_to: none", id="no tracker"),
        pytest.param("save_strategy: no", id="YAML 1.1 reads false"),
        pytest.param("guards: {all: warn, no_variance: {action: off, window: 30}}", id="guards, off read as false"),
        pytest.param("max_steps: -1", id="epochs are counted"),
        pytest.param("bf16: yes", id="YAML 1.1 reads true"),
        pytest.param("task_options: {target-low: 3}", id="a hyphen in an option"),
        pytest.param("{task: gsm8k, task_options: {path: rows.jsonl}}", id="a data set by name"),
    ],
)
def test_it_takes_other_spellings(lines: str, validator: jsonschema.Draft202012Validator) -> None:
    assert [error.message for error in validator.iter_errors(as_json(SMALL | yaml.safe_load(lines)))] == []


WRONG = [
    pytest.param("learnig_rate: 1.0e-6", "learnig_rate", id="a key that is misspelt"),
    pytest.param("gradient_accumulation_steps: 4", "gradient_accumulation_steps", id="a key that r1rl derives"),
    pytest.param("learning_rate: fast", "learning_rate", id="a word where a number belongs"),
    pytest.param("num_generations: 1", "num_generations", id="nothing to compare an advantage with"),
    pytest.param("temperature: 0", "temperature", id="a limit that is itself out"),
    pytest.param("loss_type: gpro", "loss_type", id="a choice that is misspelt"),
    pytest.param("temperature: {5: 1.0}", "temperature", id="nothing said of step 0"),
    pytest.param("beta: {0: 0.0, soon: 0.1}", "beta", id="no step"),
    pytest.param("num_generations: {0: 8, 20: 16}", "num_generations", id="a key that cannot change"),
    pytest.param("task: count-down", "task", id="an unknown task"),
    pytest.param("task_options: {number: 4}", "task_options", id="an option of no task"),
    pytest.param("{task: gym, task_options: {seed: 1}}", "task_options", id="an option that must be given"),
    pytest.param("task: mix", "task_options", id="a task without the option that it needs"),
    pytest.param("reward_funcs: [acuracy]", "reward_funcs", id="an unknown reward"),
    pytest.param(
        "{reward_funcs: [accuracy], reward_options: {accuracy: {extract: boxed}}}",
        "reward_options",
        id="an option of no reward",
    ),
    pytest.param("prompt_template: r1zero", "prompt_template", id="an unknown template"),
    pytest.param("{guards: {entropi: warn}}", "guards", id="an unknown guard"),
    pytest.param("use_vllm: maybe", "use_vllm", id="neither true nor false"),
    pytest.param("model_name_or_path:", "model_name_or_path", id="no model"),
]


@pytest.mark.parametrize(("lines", "key"), WRONG)
def test_it_refuses_what_load_refuses(
    lines: str, key: str, validator: jsonschema.Draft202012Validator, tmp_path: Path
) -> None:
    content = SMALL | yaml.safe_load(lines)
    errors = list(validator.iter_errors(as_json(content)))
    assert any(key in (str(error.message), *map(str, error.absolute_path)) or key in error.message for error in errors)
    path = tmp_path / "wrong.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(RecipeError):
        load(path, check_only=True)


@pytest.mark.parametrize("name", sorted(LIMITS))
def test_bounds_are_those_of_the_table(name: str, validator: jsonschema.Draft202012Validator) -> None:
    """Around every limit the schema says what the table says."""
    limit, hint = LIMITS[name], known_keys()[name]
    if limit.only is not None:
        tried: list[Any] = [True, False]
    else:
        ends = [end for end in (limit.minimum, limit.exclusive_minimum, limit.maximum, limit.beside) if end is not None]
        tried = [end + off for end in ends for off in (-2, -1, -0.5, 0, 0.5, 1)]
    for value in tried:
        try:
            typed = values.coerce(name, value, hint)
        except RecipeError:
            continue  # half a step of a whole number
        assert validator.is_valid(as_json(SMALL | {name: value})) is limit.allows(typed), value


@pytest.mark.parametrize("name", tasks.names())
def test_every_option_of_a_task_is_explained(name: str) -> None:
    kind = tasks.task_class(name)
    explained = schema.option_texts(inspect.getdoc(kind))
    stated = {item.name for item in kind.__dataclass_fields__.values() if item.init}
    assert stated == set(explained) & stated


@pytest.mark.parametrize("name", rewards.names())
def test_every_option_of_a_reward_is_explained(name: str) -> None:
    _, defaults = schema.reward_options(name)
    assert set(defaults) <= set(schema.option_texts(inspect.getdoc(rewards.target_of(name))))
