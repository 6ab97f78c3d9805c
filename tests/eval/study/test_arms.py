"""A study's file: what it means, and every way in which it can be wrong, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from r1rl import cli
from r1rl.eval.study import arms
from r1rl.ground.errors import RecipeError
from r1rl.models import base
from r1rl.recipe.load import load as load_recipe
from tests.eval.study.made_up_study import load, write

ROOT = Path(__file__).resolve().parents[3]
SHIPPED = sorted((ROOT / "recipes" / "studies").glob("*.yaml"))
assert SHIPPED, "no studies found"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_studies_load(path: Path, tmp_path: Path) -> None:
    study = arms.load(path, tmp_path)
    assert len(study.seeds) >= 3
    assert len(study.arms) >= 5
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"armes": {}}, "armes: unknown key in .*; did you mean 'arms'", id="unknown key"),
        pytest.param({"arms": None}, "arms is missing", id="no arms"),
        pytest.param({"arms": {}}, "arms is missing", id="empty arms"),
        pytest.param({"recipe": None}, "recipe is missing", id="no recipe"),
        pytest.param({"recipe": "tiny/cuntdown"}, "no such file", id="no such recipe"),
        pytest.param({"seeds": 0}, "need at least one seed", id="no seed"),
        pytest.param({"seeds": [1, 1]}, "each once", id="a seed twice"),
        pytest.param({"seeds": [-1]}, "seeds from 0 to", id="a negative seed"),
        pytest.param({"seeds": [2**32]}, "seeds from 0 to", id="a seed that no generator takes"),
        pytest.param({"seeds": 10**12}, "at most 1000", id="seeds without end"),
        pytest.param({"arms": {False: {}}}, "arms.False: the name is no text", id="a name that YAML reads as false"),
        pytest.param({"seeds": "many"}, "seeds='many': expected", id="no number of seeds"),
        pytest.param({"reference": "payed"}, "no such arm; did you mean 'paid'", id="no such reference"),
        pytest.param({"questions": ["acuracy"]}, "did you mean 'accuracy'", id="no such figure"),
        pytest.param({"questions": ["accuracy", "accuracy"]}, "each once", id="a figure twice"),
        pytest.param({"questions": []}, "at least one figure", id="no figure"),
        pytest.param({"dose": "corpus.retires"}, "did you mean 'corpus.retries'", id="no such dose"),
        pytest.param({"minutes": {"runs": 1}}, "runs: unknown key in minutes", id="minutes of nothing"),
        pytest.param({"settings": {"learning_rat": 1}}, "arm paid: .*did you mean 'learning_rate'", id="settings' key"),
        pytest.param({"settings": {"base": {}}}, "settings.base: not here", id="a base in settings"),
        pytest.param({"arms": {"a": {"learning_rat": 1}}}, "arm a: .*did you mean 'learning_rate'", id="an arm's key"),
        pytest.param({"arms": {"a": {"learning_rate": "fast"}}}, "arm a: learning_rate='fast'", id="an arm's value"),
        pytest.param({"arms": {"a": {"reward_funcs": ["randm"]}}}, "did you mean 'random'", id="an arm's reward"),
        pytest.param({"arms": {"a": {"seed": 1}}}, "arms.a.seed: the study says it itself", id="the study's own key"),
        pytest.param({"arms": {"a": {"runs_dir": "x"}}}, "arms.a.runs_dir: the study", id="another own key"),
        pytest.param({"arms": {"a": 3}}, "arms.a=3: expected a mapping", id="an arm that is no mapping"),
        pytest.param({"arms": {"a/b": {}}}, "name='a/b': need letters", id="an arm's name is no folder's"),
        pytest.param({"arms": {"paid": {}, "Paid": {}}}, "'paid' is the same name", id="names alike"),
        pytest.param({"arms": {"a": {"base": {"corpus.retires": 0}}}}, "arms.a: corpus.retires", id="a base's option"),
        pytest.param({"arms": {"a": {"base": {"corpus.retries": 2}}}}, "arms.a: corpus.retries=2", id="no share"),
        pytest.param(
            {"base": {"step": 3}, "arms": {"a": {"base": {}}}}, "arms.a: step: unknown", id="all bases' option"
        ),
        pytest.param(
            {"arms": {"a": {"base": {}, "model_name_or_path": "base:countdown"}}}, "give one", id="two models"
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_left(
    changes: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(RecipeError, match=message):
        arms.load(path, tmp_path / "out")
    assert cli.main(["study", str(path), "--out", str(tmp_path / "out"), "--dry-run"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_an_arm_given_twice_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("recipe: tiny/countdown\narms:\n  a: {}\n  a: {learning_rate: 0}\n")
    with pytest.raises(RecipeError, match="the key 'a' is given twice"):
        arms.load(path, tmp_path / "out")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--jobs", "0"], "--jobs 0: need at least 1", id="no job"),
        pytest.param(["--budget_hours", "-1"], "--budget-hours -1: need more than 0", id="no time"),
        pytest.param(["--profile", "cpu"], "--profile cpu: only with --slurm", id="a profile of nothing"),
        pytest.param(["--slurm", "--report"], "leave one out", id="train and do not"),
    ],
)
def test_options_that_cannot_be(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["study", str(write(tmp_path)), *words]) == 2
    assert message in capsys.readouterr().err


def test_an_arms_words_are_its_recipe(tmp_path: Path) -> None:
    """What `r1rl train` is given says what the file says, with values of every kind."""
    values = {
        "learning_rate": {0: 1e-4, 30: 1e-5},
        "reward_funcs": ["random", "format"],
        "reward_options": {"random": {"probability": 0.25}},
        "scale_rewards": "none",
        "kv_cache_gb": None,
        "mask_truncated_completions": True,
    }
    study = load(tmp_path, settings={"eval_steps": 5, "max_steps": 40}, arms={"one": values, "two": {"eval_steps": 7}})
    loaded = [load_recipe(study.recipe, study.words(arm, 3), world_size=1, check_only=True) for arm in study.arms]
    assert loaded[0].recipe.reward_funcs == ["random", "format"]
    assert loaded[0].recipe.reward_options == {"random": {"probability": 0.25}}
    assert loaded[0].grpo.mask_truncated_completions is True
    assert dict(loaded[0].schedules["learning_rate"].values) == {0: 1e-4, 30: 1e-5}
    assert [one.grpo.eval_steps for one in loaded] == [5, 7], "an arm's own value counts"
    assert [one.recipe.name for one in loaded] == ["one-seed3", "two-seed3"]
    assert {one.grpo.seed for one in loaded} == {3}
    assert [arm.steps for arm in study.arms] == [40, 40]


def test_arms_from_one_corpus_share_a_base(tmp_path: Path) -> None:
    bases = {"a": {"corpus.retries": 0.0}, "b": {}, "c": {"corpus.retries": 0}, "d": {"corpus.retries": 0.15}}
    study = load(tmp_path, base={"steps": 9}, arms={name: {"base": options} for name, options in bases.items()})
    built = {arm.name: arm.built for arm in study.arms}
    assert built["a"] == built["c"] == tmp_path / "out" / "bases" / "a"
    assert built["b"] == built["d"], "the plain share said openly is the plain share"
    assert study.arms[0].base == {"steps": 9, "corpus.retries": 0.0}
    assert f"--model_name_or_path={built['a']}" in study.words(study.arms[2], 0)


def test_a_run_of_another_recipe_is_refused(tmp_path: Path) -> None:
    study = load(tmp_path)
    folder = study.folder(study.arms[0], 1)
    folder.path.mkdir(parents=True)
    words = study.words(study.arms[0], 1)
    load_recipe(study.recipe, words, world_size=1, check_only=True).write(folder.recipe)
    assert load(tmp_path).words(study.arms[0], 1)[-2:] == ["--resume", "true"]
    with pytest.raises(RecipeError, match=r"arm paid, seed 1: resume: this recipe is not that of .*temperature"):
        load(tmp_path, settings={"temperature": 0.5})


def test_a_folder_of_the_same_name_does_not_hide_a_shipped_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies" / "tiny-controls").mkdir(parents=True)
    assert cli.main(["study", "studies/tiny-controls", "--dry-run"]) == 0
    assert "6 arms x 5 seeds, 0 of 30 jobs done" in capsys.readouterr().out


def test_the_shipped_dose_is_what_its_arms_are_named_for() -> None:
    content = yaml.safe_load((ROOT / "recipes" / "studies" / "tiny-dose.yaml").read_text())
    plain = base.plain_option("countdown", "corpus.retries")
    for name, arm in content["arms"].items():
        if name.startswith("retries-"):
            assert arm["base"].get("corpus.retries", plain) == pytest.approx(float(name.removeprefix("retries-")) / 100)
