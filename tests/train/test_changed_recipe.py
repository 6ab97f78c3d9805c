"""A resumed run under another recipe: refused with nothing written, or taken, and then really used."""

from __future__ import annotations

import json

import pytest
from tiny_training import TINY, metric_lines, run

from r1rl.ground.errors import RecipeError
from r1rl.train import main as train

HERE = ["--prompts_per_step", "2", "--max_completion_length", "16", "--eval_steps", "0", "--save_steps", "2"]


def test_a_changed_recipe_is_refused_before_anything_is_written(small_run):
    folder = run(small_run, *HERE, "--max_steps", "2")
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    words = [*small_run, *HERE, "--name", "run", "--resume", "--max_steps", "4"]
    for other in (["--learning_rate", "1e-3"], ["--model_name_or_path", "base:countdown", "--resume_changed"]):
        with pytest.raises(RecipeError, match="resume: "):
            train.main(["--config", str(TINY), *words, *other])
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == before


def test_a_change_that_is_allowed_is_used_and_noted(small_run):
    folder = run(small_run, *HERE, "--max_steps", "2", "--learning_rate", "1e-4")
    words = ["--max_steps", "4", "--learning_rate", "1e-3", "--save_steps", "1", "--save_total_limit", "9"]
    run(small_run, *HERE, *words, "--resume", "--resume_changed", "true")
    assert [line["learning_rate"] for line in metric_lines(folder)] == [1e-4, 1e-4, 1e-3, 1e-3]
    assert (folder.checkpoints / "checkpoint-3").is_dir(), "a harmless change is used as well"
    (noted,) = (event for event in folder.read_events() if event["event"] == "recipe_changed")
    assert (noted["step"], noted["changes"]) == (2, {"learning_rate": [1e-4, 1e-3]})
    run(small_run, *HERE, *words, "--resume")  # which is the run's own by now


def test_more_steps_give_the_rate_of_the_longer_run(small_run):
    words = [*HERE, "--lr_scheduler_type", "linear", "--learning_rate", "1e-3"]
    rates = []
    for name, steps in (("short", ("2", "4")), ("long", ("4",))):
        for each in steps:
            folder = run(small_run, *words, "--max_steps", each, "--resume", name=name)
        rates.append([line["learning_rate"] for line in map(json.loads, folder.metrics.open()) if "loss" in line])
    assert rates[0][2:] == rates[1][2:]
