"""Runs as they were last read: measured once, again where something was evaluated, put together over seeds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest

from r1rl.aha.figures.figures import FIGURES, MATCHED, Selection
from r1rl.aha.figures.suite import measure
from r1rl.inspect.reader import charts, queries
from r1rl.inspect.reader import state as states
from r1rl.inspect.reader.filters import Filters
from r1rl.inspect.reader.pages import overview
from r1rl.inspect.reader.state import State
from r1rl.store.store import write_shard


def test_a_step_that_was_trained_measures_nothing_again(
    tmp_path: Path, make_run: Callable[..., Path], make_sampled: Callable[..., Any], make_rollout: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    run = make_run(tmp_path / "toy", steps=2)
    followed = State([run])
    assert followed.refresh()
    assert not followed.refresh()
    measured = followed.runs[0].data.measured
    write_shard(run, [make_rollout("WR")], kind="train", step=2, rank=0)
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write(json.dumps({"step": 3, "reward": 0.5}) + "\n")
    assert followed.refresh()
    assert followed.runs[0].data.measured is measured
    assert followed.runs[0].data.metrics[-1] == {"step": 3, "reward": 0.5}
    write_shard(run, make_sampled(20), kind="eval", step=30, rank=0)
    followed.refresh()
    assert followed.runs[0].data.measured.steps == (0, 10, 20, 30)
    followed.index.close()


def test_a_run_without_an_evaluation_says_so_and_shows_its_rollouts(
    tmp_path: Path, make_run: Callable[..., Path]
) -> None:
    followed = State([make_run(tmp_path / "early", steps=2, evaluations=False)])
    followed.refresh()
    assert followed.ready
    assert "no complete evaluation" in followed.runs[0].problem
    found = overview.context(followed, [])
    assert found["sections"] == {}
    assert followed.index.ask("SELECT count(*) AS n FROM rollouts") == [{"n": 8}]
    followed.index.close()


def test_seeds_of_one_recipe_are_put_together_and_a_control_is_marked(wide_run: Path, tmp_path: Path) -> None:
    runs = [wide_run, tmp_path / "seed4", tmp_path / "other"]
    for run, changed in zip(runs[1:], ("seed: 4", "seed: 3\nbeta: 0.1"), strict=True):
        shutil.copytree(wide_run, run)
        recipe = (run / "recipe.yaml").read_text()
        (run / "recipe.yaml").write_text(recipe.replace("seed: 3", changed))
    followed = State(runs, controls=["other"])
    followed.refresh()
    (together,) = followed.together
    assert together.runs == ("wide", "seed4")
    assert together.rows["accuracy"].series == measure(runs[:2])[-1].rows["accuracy"].series
    drawn = overview.drawn(followed, [])
    accuracy = next(chart for chart in drawn["charts"] if chart["key"] == "accuracy")
    names = [one["name"] for one in accuracy["series"] if one["style"] != "faint"]
    assert names[:4] == ["wide", "seed4", "other (control)", "mean of 2 seeds"]
    assert [run["control"] for run in overview.context(followed, [])["runs"]] == [False, False, True]
    assert len(overview.context(followed, ["wide"])["runs"]) == 1
    followed.index.close()


def test_a_run_that_was_killed_is_no_longer_running(
    tmp_path: Path, make_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = ["running"]
    monkeypatch.setattr(states, "overview", lambda _: type("Come", (), {"state": told[0], "steps": 9}))
    followed = State([make_run(tmp_path / "killed", steps=1, evaluations=False)])
    followed.refresh()
    assert followed.runs[0].progress == "running"
    version = followed.version
    assert not followed.refresh()
    told[0] = "stopped"
    assert followed.refresh()
    assert (followed.runs[0].progress, followed.version) == ("stopped", version + 1)
    followed.index.close()


def test_an_unknown_control_is_refused(wide_run: Path) -> None:
    with pytest.raises(ValueError, match="control='coin': no run here; need one of wide"):
        State([wide_run], ["coin"])


def test_charts_show_the_figures_of_the_suite_and_nothing_else(state: State, wide_run: Path) -> None:
    (result,) = measure([wide_run])
    for found in charts.overview(state.shown()).values():
        for chart in found:
            for one in chart.series:
                if one["style"] == "measured" and chart.key in result.rows:
                    row = result.rows[chart.key]
                    assert one["y"] == [e.value for e in row.series if e.value is not None]
                    assert one["low"] == [e.low for e in row.series if e.value is not None]


@pytest.mark.parametrize("key", charts.COUNTED)
def test_a_click_leads_to_the_rollouts_that_a_figure_counts(state: State, wide_run: Path, key: str) -> None:
    (result,) = measure([wide_run])
    chart = charts.figure_chart(state.shown(), FIGURES[key])
    query = next(one["query"] for one in chart.series if one["style"] == "measured")
    everything = Filters.measured("wide", result.selection)
    for step, estimate in zip(result.steps, result.rows[key].series, strict=True):
        counted = queries.count(state.index, Filters.read(parse_qsl(f"{query}&step={step}")))
        total = queries.count(state.index, replace(everything, step=str(step)))
        assert estimate.value == pytest.approx(counted / total)


def test_both_sides_of_the_matched_gap_differ_by_it(
    tmp_path: Path, make_run: Callable[..., Path], make_rollout: Callable[..., Any]
) -> None:
    run = make_run(tmp_path / "matched", evaluations=False)
    for step, paths in ((0, ("R", "W", "WW", "WR", "W")), (10, ("R", "W", "WR", "WR", "R"))):
        rows = [
            make_rollout(path, sample_idx=i, n_tokens=30 + i % 2) | {"prompt_id": str(prompt)}
            for prompt in range(12)
            for i, path in enumerate(paths[: 3 + prompt % 3])
        ]
        write_shard(run, rows, kind="eval", step=step, rank=0)
    State([run]).refresh()
    (result,) = measure([run])
    (sides,) = measure([run], Selection(), figures=MATCHED)
    gap = [one.value for one in result.rows["reflection_gap_matched"].series]
    with_marker, without = ([one.value for one in row.series] for row in sides.rows.values())
    assert gap == pytest.approx([a - b for a, b in zip(with_marker, without, strict=True)])
    # At step 0 four prompts each have samples R W WW; and WR; and W: of weight 2/3, 1 and 6/5, with 0, 1/2, 1/2 right.
    assert with_marker[0] == pytest.approx((0 + 1 / 2 + 6 / 5 / 2) / (2 / 3 + 1 + 6 / 5))


def test_followed_in_a_thread(wide_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "EVERY_SECONDS", 0.01)
    followed = State([wide_run])
    followed.follow()
    for _ in range(15_000):
        if followed.ready and not followed.busy and followed.version > 1:
            break
        followed._stop.wait(0.02)
    assert followed.runs[0].data is not None
    followed.close()
