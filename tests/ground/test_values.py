"""Values and overrides: what is accepted, what is refused, and how the refusal reads."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1rl.ground.errors import RecipeError
from r1rl.ground.values import coerce, merge, parse_overrides, read_yaml


class Strategy(Enum):
    """Stands for transformers' enums."""

    NO = "no"
    STEPS = "steps"


HINTS: dict[str, Any] = {
    "learning_rate": float,
    "max_steps": int,
    "bf16": bool | None,
    "name": str | None,
    "options": dict | str | None,
    "reward_weights": list[float] | None,
    "report_to": None | str | list[str],
    "save_strategy": Strategy | str,
    "engine": Literal["embedded", "generate"],
}


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        pytest.param("1e-6", float, 1e-6, id="PyYAML reads 1e-6 as text"),
        pytest.param(1, float, 1, id="a whole number is a number"),
        pytest.param("1", float, 1, id="and as text"),
        pytest.param("1e3", int, 1000, id="a whole number in scientific notation"),
        pytest.param("-1", int, -1, id="negative text"),
        pytest.param(10**30, int, 10**30, id="big integers keep every digit"),
        pytest.param("no", bool, False, id="word for false"),
        pytest.param(False, Strategy | str, "no", id="YAML reads a bare no as false"),
        pytest.param("none", int | None, None, id="none switches off a number"),
        pytest.param("none", str | None, "none", id="none is a legitimate text"),
        pytest.param('{"a": 1}', dict | str | None, {"a": 1}, id="JSON for a mapping"),
        pytest.param("config.json", dict | str | None, "config.json", id="a path where a mapping may be a file"),
        pytest.param("accuracy", list[str], ["accuracy"], id="one value for a list"),
        pytest.param(["1", 2], list[float] | None, [1.0, 2.0], id="list items are converted"),
        pytest.param("auto", int | str | None, "auto", id="text beside numbers"),
        pytest.param("8", int | str | None, 8, id="numbers before text"),
    ],
)
def test_coerce_accepts(value: Any, hint: Any, expected: Any) -> None:
    result = coerce("key", value, hint)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        pytest.param("fast", float, "key='fast': expected a number", id="word for a number"),
        pytest.param(3.5, int, "key=3.5: expected a whole number", id="fraction for a count"),
        pytest.param(True, int, "key=True: expected a whole number", id="true is not 1"),
        pytest.param(1, bool, "key=1: expected true or false", id="1 is not true"),
        pytest.param(float("nan"), float, "key=nan: expected a number", id="nan"),
        pytest.param("inf", float, "key='inf': expected a number", id="infinity"),
        pytest.param([1], float, "key=[1]: expected a number", id="list for a number"),
        pytest.param(5, str, "key=5: expected a text", id="number for a text"),
        pytest.param(None, int, "key=None: expected a whole number", id="null where a value is needed"),
        pytest.param("stepz", Strategy | str, "expected one of no, steps; did you mean 'steps'?", id="enum"),
        pytest.param("embeded", HINTS["engine"], "did you mean 'embedded'?", id="literal"),
        pytest.param(["a"], list[float], "expected a list, each a number", id="list item"),
        pytest.param("9" * 200, list[float], "…", id="long values are cut"),
    ],
)
def test_coerce_refuses(value: Any, hint: Any, message: str) -> None:
    if isinstance(value, str) and value.startswith("999"):
        value = value * 3  # a float overflow, and far too long to show
    with pytest.raises(RecipeError) as error:
        coerce("key", value, hint)
    assert message in str(error.value)
    assert len(str(error.value)) < 300


@given(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**53), 2**53)))
def test_a_number_survives_its_text(number: float) -> None:
    assert coerce("key", repr(number), float) == number


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["--max_steps", "3"], {"max_steps": "3"}, id="plain"),
        pytest.param(["--max-steps=3"], {"max_steps": "3"}, id="dashes and equals sign"),
        pytest.param(["--max_steps", "-1"], {"max_steps": "-1"}, id="a negative number is a value"),
        pytest.param(["--bf16"], {"bf16": True}, id="flag"),
        pytest.param(["--no_bf16"], {"bf16": False}, id="no_ flag"),
        pytest.param(["--bf16", "false"], {"bf16": "false"}, id="flag with a value"),
        pytest.param(["--reward_weights", "1", "0.5"], {"reward_weights": ["1", "0.5"]}, id="list"),
        pytest.param(["--reward_weights", "[1, 2]"], {"reward_weights": [1, 2]}, id="list as JSON"),
        pytest.param(["--options.path", "a b: {c}.jsonl"], {"options.path": "a b: {c}.jsonl"}, id="dotted, any text"),
        pytest.param(["--options.a.b", "2"], {"options.a.b": 2}, id="dotted, nested number"),
        pytest.param(["--name", "a", "--name", "b"], {"name": "b"}, id="the last one counts"),
        pytest.param(["--name="], {"name": ""}, id="empty text"),
    ],
)
def test_overrides(words: list[str], expected: dict[str, Any]) -> None:
    assert parse_overrides(words, HINTS) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--max_step", "3"], "--max_step: unknown key; did you mean 'max_steps'?", id="typo"),
        pytest.param(["--zzz", "3"], "--zzz: unknown key", id="no near key"),
        pytest.param(["--max_steps"], "needs one value, got no value", id="no value"),
        pytest.param(["--max_steps", "3", "4"], "got 2 values (3 4)", id="two values"),
        pytest.param(["max_steps", "3"], "unexpected argument 'max_steps'", id="no dashes"),
        pytest.param(["--max_steps.a", "3"], "max_steps has no sub-keys", id="dotted into a number"),
        pytest.param(["--no_max_steps"], "unknown key", id="no_ needs a flag"),
    ],
)
def test_override_errors(words: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=r"^--|^unexpected") as error:
        parse_overrides(words, HINTS)
    assert message in str(error.value)


def test_merge_goes_into_mappings_and_leaves_the_recipe_alone() -> None:
    recipe = {"options": {"a": {"b": 1}, "path": "x"}, "max_steps": 1}
    merged = merge(recipe, {"options.a.c": 2, "options.path": "y", "max_steps": 5, "new.key": 1})
    assert merged == {"options": {"a": {"b": 1, "c": 2}, "path": "y"}, "max_steps": 5, "new": {"key": 1}}
    assert recipe == {"options": {"a": {"b": 1}, "path": "x"}, "max_steps": 1}


def test_merge_goes_into_json_text_but_not_into_a_number() -> None:
    assert merge({}, {"options": '{"a": 1}', "options.b": 2})["options"] == {"a": 1, "b": 2}
    with pytest.raises(RecipeError, match="expected a mapping"):
        merge({"options": 3}, {"options.b": 2})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a: [1", "not valid YAML in line", id="syntax"),
        pytest.param("- a\n- b\n", "must be a YAML mapping", id="list"),
        pytest.param("", "must be a YAML mapping", id="empty"),
        pytest.param("1: a\n", "must be a YAML mapping", id="key is no text"),
        pytest.param("a: 1\nb: 2\na: 3\n", "the key 'a' is given twice", id="key twice"),
        pytest.param("a: !!python/object/apply:os.getcwd []\n", "not valid YAML", id="no code in YAML"),
    ],
)
def test_read_yaml_refuses(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as error:
        read_yaml(path)
    assert message in str(error.value)


def test_read_yaml_names_a_near_file(tmp_path: Path) -> None:
    (tmp_path / "countdown.yaml").write_text("a: 1\n")
    with pytest.raises(RecipeError, match=r"no such file; did you mean .*countdown\.yaml"):
        read_yaml(tmp_path / "countdwn.yaml")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_yaml(tmp_path)
