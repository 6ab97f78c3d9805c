"""Recipes: shipped files load, a resolved recipe loads as itself, and a wrong one says what is wrong."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from r1rl.ground import machine
from r1rl.ground.errors import RecipeError
from r1rl.models import resolve as models
from r1rl.recipe import keys as recipe_keys
from r1rl.recipe.load import derive_batch, load, split_arguments

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted(
    path for path in (ROOT / "recipes").rglob("*.yaml") if path.parent.name not in ("accelerate", "studies")
)
assert SHIPPED, "no recipes found"

SMALL: dict[str, Any] = {
    "model_name_or_path": "base:countdown",
    "task": "countdown",
    "prompt_template": "none",
    "reward_funcs": ["accuracy", "format"],
    "prompts_per_step": 4,
    "num_generations": 4,
}


def write(folder: Path, **changes: Any) -> Path:
    """A small recipe with some keys changed; None leaves a key out."""
    content = {key: value for key, value in (SMALL | changes).items() if value is not None}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def data_file(folder: Path, rows: int = 400, *, question: str = "input", answer: str = "target") -> Path:
    path = folder / "problems.jsonl"
    made = ({question: f"What is {n} + 1?", answer: n + 1.0} for n in range(rows))
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.stem}")
@pytest.mark.parametrize("world_size", [1, 2])
def test_shipped_recipe_loads(path: Path, world_size: int, tmp_path: Path) -> None:
    stated = yaml.safe_load(path.read_text())
    changes = []
    if stated.get("task") == "file":  # the data are not here, and a hub data set becomes a file
        options = {key: value for key, value in stated["task_options"].items() if key not in ("dataset", "config")}
        rows = int(2 * stated["heldout_size"] / options.get("heldout_fraction", 0.5)) + options.get("heldout_size", 0)
        options["path"] = str(data_for(options, tmp_path, rows))
        path = tmp_path / path.name
        path.write_text(yaml.safe_dump(stated | {"task_options": options}))
    scheme, _, package = stated["model_name_or_path"].partition(":")
    if scheme == "package":  # an optional package: the recipe is checked without it
        assert package in models.PACKAGES
        changes += ["--model_name_or_path", "base:countdown"]
    if stated.get("use_vllm"):  # so is vLLM
        changes += ["--use_vllm", "false"]
    loaded = load(path, ["--runs_dir", str(tmp_path), *changes], world_size=world_size)
    assert loaded.task.rows("heldout", loaded.recipe.heldout_size)
    assert loaded.batch.rollouts * world_size == loaded.recipe.prompts_per_step * loaded.grpo.num_generations
    for key in ("learning_rate", "num_generations", "max_completion_length"):
        if isinstance(stated.get(key), dict):
            assert loaded.schedules[key].values == stated[key]
        elif key in stated:
            assert getattr(loaded.grpo, key) == float(stated[key])
    if loaded.recipe.prompt_template != "chat":  # that one needs the model's tokenizer
        loaded.prompt()


def data_for(options: dict[str, Any], folder: Path, rows: int) -> Path:
    """Problems in the columns that a recipe's task options name."""
    question, answer = options.get("question_column", "question"), options.get("answer_column", "answer")
    if "numbers_column" not in options:
        path = data_file(folder, rows, question=question, answer=answer)
        if "answer_pattern" in options:  # GSM8K's
            made = (json.loads(line) for line in path.read_text().splitlines())
            path.write_text("".join(json.dumps(row | {answer: f"so #### {row[answer]}"}) + "\n" for row in made))
        return path
    path = folder / "problems.jsonl"
    made = ({options["numbers_column"]: [n, 1, 2], answer: n + 3} for n in range(1, rows + 1))
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


def test_the_three_groups_and_the_defaults(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)
        loaded = load(write(tmp_path, learning_rate="1e-6", dtype="bfloat16"), ["--use_cpu", "--seed", "7"])
    assert loaded.grpo.learning_rate == 1e-6
    assert loaded.grpo.seed == 7
    assert loaded.model.dtype == "bfloat16"
    assert loaded.model.model_name_or_path == "base:countdown"
    # DEFAULTS, spelt out: what r1rl changes in TRL and that it arrives there.
    assert loaded.grpo.beta == 0.0
    assert loaded.grpo.lr_scheduler_type.value == "constant"
    assert loaded.grpo.disable_dropout is True
    assert loaded.grpo.logging_steps == 1
    assert loaded.grpo.report_to == ["tensorboard"]
    assert loaded.grpo.save_strategy.value == "no"
    assert loaded.grpo.remove_unused_columns is False
    assert loaded.grpo.use_cpu is True
    assert loaded.grpo.bf16 is False
    assert loaded.grpo.gradient_checkpointing is False
    assert loaded.grpo.dataloader_pin_memory is False


@pytest.mark.parametrize(
    ("changes", "key", "expected"),
    [
        pytest.param({"save_steps": 10}, "save_strategy", "steps", id="save_steps turns saving on"),
        pytest.param({"save_strategy": False}, "save_strategy", "no", id="a bare no in YAML"),
        pytest.param({"gradient_checkpointing": True}, "gradient_checkpointing", True, id="older name"),
        pytest.param({"activation_checkpointing": True}, "gradient_checkpointing", True, id="newer name"),
        pytest.param({"report_to": "none"}, "report_to", [], id="no tracker"),
        pytest.param({"beta": 0.001}, "beta", 0.001, id="R1-Zero's KL"),
    ],
)
def test_a_stated_value_beats_the_default(tmp_path: Path, changes: dict[str, Any], key: str, expected: Any) -> None:
    value = getattr(load(write(tmp_path, use_cpu=True, **changes)).grpo, key)
    assert getattr(value, "value", value) == expected


@pytest.mark.parametrize("quick", [True, False], ids=["bf16 instructions", "none"])
def test_bf16_on_a_cpu_needs_its_instructions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, quick: bool
) -> None:
    """Without them a product takes some fifty times as long as in float32."""
    monkeypatch.setattr(machine, "has_bf16_kernels", lambda: quick)
    loaded = load(write(tmp_path, use_cpu=True, bf16=True))
    assert loaded.grpo.bf16 is quick
    assert ("no bf16 instructions" in caplog.text) is not quick
    loaded.write(tmp_path / "resolved.yaml")
    assert yaml.safe_load((tmp_path / "resolved.yaml").read_text())["bf16"] is quick
    # A process that only plans or watches says what the recipe says: its own processor will not train.
    assert load(write(tmp_path, use_cpu=True, bf16=True), check_only=True).grpo.bf16 is True


def test_the_batch_reaches_trl(tmp_path: Path) -> None:
    grpo = load(write(tmp_path, per_device_train_batch_size=6)).grpo
    assert grpo.per_device_train_batch_size == 4  # the largest divisor of 16 up to 6
    assert grpo.gradient_accumulation_steps == 4
    assert grpo.steps_per_generation == 4
    assert grpo.generation_batch_size == 16


@pytest.mark.parametrize(
    ("prompts", "generations", "processes", "wanted", "steps", "expected"),
    [
        pytest.param(8, 8, 1, None, 1, (64, 1, 64, 1), id="all at once"),
        pytest.param(8, 8, 2, None, 1, (32, 1, 32, 1), id="two processes"),
        pytest.param(8, 8, 2, 10, 1, (32, 1, 8, 4), id="largest divisor below the wish"),
        pytest.param(7, 3, 1, 20, 1, (21, 1, 7, 3), id="odd numbers"),
        pytest.param(1, 2, 1, 1, 1, (2, 1, 1, 2), id="one at a time"),
        pytest.param(8, 8, 1, 1000, 1, (64, 1, 64, 1), id="the wish is larger than the batch"),
        pytest.param(512, 16, 512, 1, 16, (16, 16, 1, 1), id="R1-Zero"),
        pytest.param(8, 8, 2, 3, 4, (32, 4, 2, 4), id="the wish is cut to a divisor of a step's share"),
    ],
)
def test_derive_batch(
    prompts: int, generations: int, processes: int, wanted: int | None, steps: int, expected: Any
) -> None:
    assert dataclasses.astuple(derive_batch(prompts, generations, processes, wanted, steps)) == expected


@given(st.integers(1, 64), st.integers(2, 32), st.integers(1, 16), st.none() | st.integers(1, 300), st.integers(1, 8))
def test_a_batch_loses_nothing(prompts: int, generations: int, processes: int, wanted: int | None, steps: int) -> None:
    try:
        batch = derive_batch(prompts, generations, processes, wanted, steps)
    except RecipeError:
        assert prompts % processes or prompts // processes * generations % steps
        return
    assert batch.micro_batch * batch.accumulation_steps * batch.steps == batch.rollouts
    assert batch.rollouts * processes == prompts * generations
    assert batch.rollouts % generations == 0
    assert wanted is None or batch.micro_batch <= wanted


@pytest.mark.parametrize(
    ("prompts", "processes", "message"),
    [
        pytest.param(6, 4, "try prompts_per_step=4 or 8, or as many processes as one of 1, 2, 3, 6", id="between two"),
        pytest.param(1, 2, "try prompts_per_step=2, or as many processes as one of 1", id="never zero"),
    ],
)
def test_an_indivisible_batch_says_what_fits(prompts: int, processes: int, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        derive_batch(prompts, 8, processes)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"learning_rat": 1}, "learning_rat: unknown key in ", id="unknown key"),
        pytest.param({"learning_rat": 1}, "; did you mean 'learning_rate'?", id="nearest key"),
        pytest.param({"learning_rate": "fast"}, "learning_rate='fast': expected a number", id="wrong type"),
        pytest.param({"prompts_per_step": 3.5}, "prompts_per_step=3.5: expected a whole number", id="our own type"),
        pytest.param({"task": "countdwn"}, "did you mean 'countdown'?", id="unknown task"),
        pytest.param({"task_options": {"numbrs": 3}}, "did you mean 'numbers'?", id="unknown task option"),
        pytest.param(
            {"task_options": {"numbers": "x"}}, "task_options.numbers='x': expected a whole", id="option type"
        ),
        pytest.param({"task_options": {"numbers": 99}}, "task_options.numbers=99", id="option the task refuses"),
        pytest.param({"task_options": "abc"}, "task_options='abc': expected a mapping", id="options are no mapping"),
        pytest.param({"reward_funcs": ["acuracy"]}, "did you mean 'accuracy'?", id="unknown reward"),
        pytest.param({"reward_funcs": ["no_such_module:f"]}, "no_such_module", id="unknown reward module"),
        pytest.param({"reward_funcs": ["format", "format"]}, "each once", id="the same reward twice"),
        pytest.param({"reward_options": {"acuracy": {}}}, "did you mean 'accuracy'?", id="options of no reward"),
        pytest.param({"reward_options": {"format": {"zz": 1}}}, "zz", id="unknown reward option"),
        pytest.param({"reward_weights": [1.0]}, "1 weights for 2 rewards", id="weights and rewards differ"),
        pytest.param({"prompt_template": "r1zero"}, "did you mean 'r1-zero'?", id="unknown template"),
        pytest.param({"prompt_template": "few-shot"}, "needs a list of worked examples", id="no examples"),
        pytest.param({"prompt_options": {"examples": []}}, "template 'none' does not use it", id="needless option"),
        pytest.param({"launcher": "cpu_dpp2"}, "did you mean 'cpu_ddp2'?", id="unknown launcher"),
        pytest.param({"engine": "vllm"}, "expected one of embedded, generate", id="unknown engine"),
        pytest.param({"num_generations": 1}, "num_generations=1: need at least 2", id="no siblings"),
        pytest.param({"temperature": 0}, "temperature=0: need more than 0", id="greedy training"),
        pytest.param({"temperature": -1}, "temperature=-1: need", id="negative temperature"),
        pytest.param({"top_p": 1.5}, "top_p=1.5", id="impossible nucleus"),
        pytest.param({"max_steps": 0}, "max_steps=0", id="no steps"),
        pytest.param({"loss_type": "drgrpo"}, "did you mean 'dr_grpo'?", id="unknown loss"),
        pytest.param({"lr_scheduler_type": "cosin"}, "did you mean 'cosine'?", id="unknown schedule"),
        pytest.param({"gradient_accumulation_steps": 2}, "derived from", id="derived: accumulation"),
        pytest.param({"generation_batch_size": 2}, "derived: prompts_per_step", id="derived: generation batch"),
        pytest.param({"steps_per_generation": 0}, "at least 1", id="no step per generation"),
        pytest.param({"steps_per_generation": 3}, "rollouts of a process cannot be shared out", id="uneven steps"),
        pytest.param({"output_dir": "x"}, "give runs_dir and name", id="derived: folder"),
        pytest.param({"bad_gold": "skip"}, "bad_gold='skip': expected one of drop, stop", id="unknown policy"),
        pytest.param({"train_size": 3}, "only 3 training problems (train_size=3)", id="less than one step of data"),
        pytest.param({"task_options": {"numbers": 2, "high": 3}}, "admit no heldout problem", id="nothing to hold out"),
        pytest.param({"eval_steps": 2.5}, "eval_steps=2.5: need a whole number", id="half a step"),
        pytest.param({"name": "../x"}, "name='../x'", id="a name that leaves the folder"),
        pytest.param({"model_name_or_path": None}, "model_name_or_path: missing", id="no model"),
        pytest.param({"model_name_or_path": "./nope"}, "no such folder", id="no model folder"),
        pytest.param({"model_name_or_path": "bas:countdown"}, "known are base: and package:", id="unknown model kind"),
        pytest.param({"model_name_or_path": "base:cuntdown"}, "did you mean 'countdown'?", id="unknown base"),
        pytest.param({"model_name_or_path": "package:x"}, "known packages are", id="unknown package"),
        pytest.param({"task": "file", "task_options": {"path": "no.jsonl"}}, "no such file (looked for", id="no data"),
        pytest.param({"task": "file"}, "neither of path and dataset", id="no data named"),
        pytest.param({"fp16": True, "bf16": True}, "TRL refuses these settings", id="TRL's own objection"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as error:
        load(write(tmp_path, **changes))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such file"):
        load(tmp_path / "none.yaml")


def test_an_indivisible_batch_in_a_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="try prompts_per_step=3 or 6"):
        load(write(tmp_path), world_size=3)


def test_the_world_size_is_that_of_the_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "8")
    with pytest.raises(RecipeError, match="by 8 processes"):
        load(write(tmp_path))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="defaults"),
        pytest.param(
            {
                "name": "namely",
                "learning_rate": "3e-7",
                "temperature": 0.7,
                "reward_weights": [1, 0.1],
                "per_device_train_batch_size": 6,
                "save_steps": 5,
                "bf16": True,
                "lr_scheduler_kwargs": {"a": 1},
                "eval_steps": 16,
                "prompt_template": "few-shot",
                "prompt_options": {"examples": [{"question": "1 + 1?", "reasoning": "zwei, “two”", "answer": "2"}]},
            },
            id="many keys",
        ),
    ],
)
def test_a_resolved_recipe_loads_as_itself(tmp_path: Path, changes: dict[str, Any]) -> None:
    first = load(write(tmp_path, **changes), ["--runs_dir", str(tmp_path / "runs"), "--max_steps", "3"])
    written = tmp_path / "resolved.yaml"
    first.write(written)
    second = load(written)
    assert second.recipe == first.recipe
    assert second.grpo.to_dict() == first.grpo.to_dict()
    assert second.model == first.model
    assert second.batch == first.batch
    again = tmp_path / "again.yaml"
    second.write(again)
    assert again.read_text() == written.read_text()


def test_a_resolved_recipe_does_not_resume(tmp_path: Path) -> None:
    load(write(tmp_path), ["--resume", "--name", "x", "--runs_dir", str(tmp_path)]).write(tmp_path / "resolved.yaml")
    assert load(tmp_path / "resolved.yaml").recipe.resume is False


def test_the_resolved_recipe_pins_trl_defaults(tmp_path: Path) -> None:
    loaded = load(write(tmp_path))
    loaded.write(tmp_path / "resolved.yaml")
    written = yaml.safe_load((tmp_path / "resolved.yaml").read_text())
    assert written["loss_type"] == loaded.grpo.loss_type
    assert written["epsilon"] == loaded.grpo.epsilon
    assert "output_dir" not in written


def test_a_data_file_is_found_beside_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, elsewhere = tmp_path / "a b", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    data_file(folder)
    options = {"path": "problems.jsonl", "question_column": "input", "answer_column": "target"}
    path = write(folder, task="file", task_options=options, heldout_size=10)
    monkeypatch.chdir(elsewhere)
    loaded = load(path)
    assert isinstance(loaded.recipe.task_options, dict)
    assert loaded.recipe.task_options["path"] == str(folder / "problems.jsonl")
    assert len(loaded.task.rows("heldout", 10)) == 10
    # The resolved recipe lies in another folder and must still find it.
    loaded.write(elsewhere / "resolved.yaml")
    assert load(elsewhere / "resolved.yaml").recipe == loaded.recipe


def test_runs_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path)
    arguments = ["--runs_dir", str(tmp_path / "runs")]
    assert load(path, arguments).recipe.name == "small-1"
    (tmp_path / "runs" / "small-1").mkdir(parents=True)
    loaded = load(path, arguments)
    assert loaded.recipe.name == "small-2"
    assert loaded.grpo.output_dir == str(tmp_path / "runs" / "small-2" / "checkpoints")


def test_load_makes_nothing_and_keeps_the_environment(tmp_path: Path) -> None:
    path = write(tmp_path)
    before = dict(os.environ)
    load(path, ["--runs_dir", str(tmp_path / "runs")])
    assert not (tmp_path / "runs").exists()
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["--config", "r.yaml", "--seed", "1"], (Path("r.yaml"), ["--seed", "1"]), id="first"),
        pytest.param(["--seed", "1", "--config=r.yaml"], (Path("r.yaml"), ["--seed", "1"]), id="last, equals sign"),
    ],
)
def test_split_arguments(words: list[str], expected: Any) -> None:
    assert split_arguments(words) == expected


@pytest.mark.parametrize("words", [[], ["--config"], ["--config", "a", "--config", "b"]], ids=["none", "empty", "two"])
def test_split_arguments_refuses(words: list[str]) -> None:
    with pytest.raises(RecipeError, match="one recipe"):
        split_arguments(words)


def test_every_own_key_has_a_help_text_and_no_key_is_two_things() -> None:
    own = {item.name for item in dataclasses.fields(recipe_keys.Recipe)}
    assert all(item.metadata["help"] for item in dataclasses.fields(recipe_keys.Recipe))
    from trl import GRPOConfig, ModelConfig

    theirs = {item.name for kind in (GRPOConfig, ModelConfig) for item in dataclasses.fields(kind)}
    assert own & theirs == {"steps_per_generation"}  # optimizer steps here, micro-batches there
    assert {row.key for row in recipe_keys.DEFAULTS} <= theirs
    assert set(recipe_keys.CHOICES) <= theirs | own
    assert set(recipe_keys.DERIVED) <= theirs
    assert set(recipe_keys.LIMITS) <= theirs | own


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["[accuracy, my_rules:short]"], ["accuracy", "FOLDER/my_rules.py:short"], id="YAML's list"),
        pytest.param(['["accuracy", "format"]'], ["accuracy", "format"], id="JSON's list"),
        pytest.param(["accuracy,my_rules.py:short"], ["accuracy", "FOLDER/my_rules.py:short"], id="commas"),
        pytest.param(["accuracy", "my_rules.py:short"], ["accuracy", "FOLDER/my_rules.py:short"], id="words"),
        pytest.param(["FOLDER/my_rules.py:short"], ["FOLDER/my_rules.py:short"], id="a whole path"),
        pytest.param(["inner/more.py:short"], ["FOLDER/inner/more.py:short"], id="a folder below"),
        pytest.param(["inner.more:short"], ["FOLDER/inner/more.py:short"], id="the same as a module"),
        pytest.param(["rewards.format:Format"], ["rewards.format:Format"], id="an installed module"),
    ],
)
def test_rewards_are_found_beside_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: list[str]
) -> None:
    folder, elsewhere = tmp_path / "a b", tmp_path / "elsewhere"
    (folder / "inner").mkdir(parents=True)
    elsewhere.mkdir()
    (folder / "neighbour.py").write_text("VALUE = 0.5\n")
    source = "from neighbour import VALUE\n\ndef short(completions):\n    return [VALUE] * len(completions)\n"
    (folder / "my_rules.py").write_text(source)
    (folder / "inner" / "more.py").write_text("def short(completions, answer=None, **columns):\n    return [1] * 4\n")
    path = write(folder)
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for module in ("my_rules", "neighbour", "inner", "inner.more"):  # of another test
        monkeypatch.delitem(sys.modules, module, raising=False)
    there = [word.replace("FOLDER", str(folder)) for word in words]

    loaded = load(path, ["--reward_funcs", *there], check_only=True)
    assert loaded.recipe.reward_funcs == [name.replace("FOLDER", str(folder)) for name in expected]
    loaded.check_here()
    loaded.write(elsewhere / "resolved.yaml")
    assert load(elsewhere / "resolved.yaml", check_only=True).recipe == loaded.recipe


def test_options_of_a_reward_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mine.py").write_text("def scaled(completions, factor=1.0):\n    return [factor] * len(completions)\n")
    options = {"mine.py:scaled": {"factor": 2.0}}
    loaded = load(write(tmp_path, reward_funcs=["mine.py:scaled"], reward_options=options))
    assert loaded.recipe.reward_options == {f"{tmp_path / 'mine.py'}:scaled": {"factor": 2.0}}


@pytest.mark.parametrize("key", ["task-options.heldout-size", "task_options.heldout_size", "task-options.heldout_size"])
def test_hyphens_and_underscores_are_one(tmp_path: Path, key: str) -> None:
    options = {"path": str(data_file(tmp_path)), "question-column": "input", "answer_column": "target"}
    loaded = load(write(tmp_path, task="file", task_options=options, heldout_size=3), [f"--{key}", "3"])
    assert loaded.task.rows("heldout", 3)
    with pytest.raises(RecipeError, match="holds out 3 rows"):
        loaded.task.rows("heldout", 4)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["q_proj"], ["q_proj"], id="one name, which TRL makes a regular expression"),
        pytest.param(["q_proj", "v_proj"], ["q_proj", "v_proj"], id="names"),
        pytest.param(["all-linear"], "all-linear", id="PEFT's word for every layer"),
        pytest.param([".*[qv]_proj"], ".*[qv]_proj", id="a regular expression"),
    ],
)
def test_lora_targets_mean_what_they_say(tmp_path: Path, words: list[str], expected: Any) -> None:
    loaded = load(write(tmp_path), ["--runs_dir", str(tmp_path), "--use_peft", "true", "--lora_target_modules", *words])
    assert loaded.model.lora_target_modules == expected


def test_gspo_goes_by_its_name(tmp_path: Path) -> None:
    loaded = load(write(tmp_path, loss_type="gspo"), ["--runs_dir", str(tmp_path)])
    assert (loaded.grpo.loss_type, loaded.grpo.importance_sampling_level) == ("grpo", "sequence")
    loaded.write(again := tmp_path / "resolved.yaml")
    assert load(again).grpo.importance_sampling_level == "sequence"
    with pytest.raises(RecipeError, match="cannot be 'token'"):
        load(write(tmp_path, loss_type="gspo", importance_sampling_level="token"))
