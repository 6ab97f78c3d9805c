"""Settings that change at a step, in real runs."""

import json

import pytest
import torch
from tiny_training import metric_lines, run

from r1rl import cli
from r1rl.ground.errors import RecipeError
from r1rl.store import store
from r1rl.train.schedules import set_rate

CHANGES = [
    "--max_completion_length", "{0: 12, 4: 24}",
    "--temperature", "{0: 1.0, 2: 0.5}",
    "--learning_rate", "{0: 1e-3, 3: 1e-4}",
    "--beta", "{0: 0.0, 4: 0.01}",
    "--sync_ref_model", "true", "--ref_model_sync_steps", "3", "--ref_model_mixup_alpha", "1.0",
]  # fmt: skip


def events_of(folder):
    lines = [json.loads(line) for line in folder.events.read_text().splitlines()]
    kept = [line for line in lines if line["event"] != "nothing_earned"]
    return [{key: value for key, value in line.items() if key != "time"} for line in kept]


@pytest.mark.parametrize("share", [[], ["--steps_per_generation", "2"]], ids=["one step", "two steps a sampling"])
def test_settings_change_at_their_steps(small_run, share):
    folder = run(small_run, *CHANGES, *share, "--max_steps", "6", "--eval_steps", "5")
    rows = store.read(folder.path, kind="train").to_pylist()
    caps, temperatures = ({row["step"]: row[key] for row in rows} for key in ("cap", "temperature"))
    assert caps == {step: 12 if step < 4 else 24 for step in caps}
    assert temperatures == {step: 1.0 if step < 2 else 0.5 for step in temperatures}
    assert max(row["n_tokens"] for row in rows if row["step"] >= 4) > 12, "else the cap had not changed"
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    rates = {line["step"]: line["learning_rate"] for line in lines if "learning_rate" in line}
    # Upstream logs the rate that the next step begins with, before `on_step_begin` of that step.
    assert rates == {step: 1e-3 if step <= 3 else 1e-4 for step in rates}
    assert {line["step"] for line in lines if "kl" in line} == {5, 6}
    assert events_of(folder) == [
        {"step": 2, "event": "setting", "key": "temperature", "value": 0.5, "before": 1.0},
        {"step": 3, "event": "reference_refreshed"},
        {"step": 3, "event": "setting", "key": "learning_rate", "value": 1e-4, "before": 1e-3},
        {"step": 4, "event": "setting", "key": "beta", "value": 0.01, "before": 0.0},
        {"step": 4, "event": "setting", "key": "max_completion_length", "value": 24, "before": 12},
        {"step": 6, "event": "reference_refreshed"},
    ]  # fmt: skip
    heldout = store.read(folder.path, kind="eval").to_pylist()
    assert {row["temperature"] for row in heldout} == {0.0, 1.0}, "evaluations keep to one temperature"
    assert {row["cap"] for row in heldout} == {24}, "and to one cap"
    assert len(metric_lines(folder)) == len(caps)


def test_scores_are_those_of_the_temperature_that_sampled(small_run):
    folder = run(small_run, "--temperature", "{0: 1.0, 1: 0.5}", "--max_steps", "2")
    assert all(line["sampling/logp_gap"] < 1e-4 for line in metric_lines(folder))


def test_a_temperature_cannot_change_where_upstream_scores(small_run):
    with pytest.raises(RecipeError, match="cannot change at a step with an entropy bonus"):
        run(small_run, "--temperature", "{0: 1.0, 1: 0.5}", "--max_steps", "2", "--entropy_coef", "0.1")


def test_the_report_shows_the_changes(small_run, capsys):
    folder = run(small_run, *CHANGES, "--max_steps", "6")
    assert cli.main(["inspect", str(folder.path)]) == 0
    page = folder.report.read_text()
    assert "max_completion_length" in page
    assert "reference_refreshed" in page


def test_a_rate_is_set_below_the_schedulers_factor():
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 10)
    for _ in range(5):
        optimizer.step()
        scheduler.step()
    set_rate(scheduler, 0.1)
    assert optimizer.param_groups[0]["lr"] == scheduler.get_last_lr()[0] == pytest.approx(0.05)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.04)
