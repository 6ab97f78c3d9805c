"""Every figure's SQL against loops over the rows, and what counts as not measured."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest

from r1rl.aha.figures import bootstrap, figures
from r1rl.aha.figures.annotations import connection, views
from r1rl.aha.figures.figures import FIGURES, Selection
from tests.aha.annotated_runs import Annotation, attempts_of, counted, drawn_annotation, write_run


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    generator = random.Random(0)
    return write_run(
        tmp_path / "it's a run", monkeypatch, lambda step, *_: drawn_annotation(generator, 0.3, 0.2 + step / 40)
    )


def rows_of(run_dir: Path, kind: str = "eval") -> dict[int, list[Annotation]]:
    found: dict[int, list[Annotation]] = {}
    with connection(run_dir, kind=kind) as database:
        for row in database.sql("FROM annotations").to_arrow_table().to_pylist():
            found.setdefault(row["step"], []).append(row)
    return found


@pytest.mark.parametrize("clean_only", [False, True], ids=["all", "clean"])
def test_sums_and_sql_agree_with_loops(run_dir: Path, clean_only: bool) -> None:
    wanted = figures.chosen("all")
    assert {figure.key for figure in wanted} == set(FIGURES)
    found = figures.counts(run_dir, Selection(clean_only=clean_only), wanted)
    assert found.steps == [0, 10, 20]
    assert (len(found.prompts), found.rollouts) == (12, 48)
    by_step = rows_of(run_dir)
    with duckdb.connect() as outside:  # any DuckDB, by the statements that --sql prints
        outside.execute(views(run_dir))
        for i, step in enumerate(found.steps):
            rows = [row for row in by_step[step] if row["clean"] or not clean_only]
            expected = counted(rows)
            assert expected.keys() == FIGURES.keys()
            for figure in wanted:
                value = bootstrap.values(found.sums[figure.key])[i]
                assert value == pytest.approx(expected[figure.key], abs=1e-12), figure.key
                line = figures.sql(figure, Selection(clean_only=clean_only))
                assert "\n" not in line
                answer = dict(outside.execute(line).fetchall())
                assert answer[step] == pytest.approx(expected[figure.key], abs=1e-12), line


def test_sums_are_kept_apart_by_prompt(run_dir: Path) -> None:
    found = figures.counts(run_dir, Selection(), [FIGURES["retried"]])
    rows = [row for row in rows_of(run_dir)[20] if row["prompt_id"] == found.prompts[3]]
    assert found.sums["retried"][3, 2].tolist() == [sum(row["n_attempts"] > 1 for row in rows), 4]


def only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[dict[str, Any]]) -> Any:
    """The sums of one step with one prompt whose samples have these columns."""
    run = write_run(tmp_path / "run", monkeypatch, lambda _s, _p, i: rows[i], steps=[0], prompts=1, samples=len(rows))
    return figures.counts(run, Selection(), list(FIGURES.values())).sums


def test_lift_leaves_the_own_first_attempt_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # First attempts: W R W. The retry of the first hits; the others' first attempts hit with 1/2.
    found = only(tmp_path, monkeypatch, [attempts_of("WR"), attempts_of("R"), attempts_of("W")])
    assert found["retry_lift"][0, 0].tolist() == [0.5, 1.0]


def test_lift_needs_another_rollout_of_the_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = only(tmp_path, monkeypatch, [attempts_of("WWR"), attempts_of("")])
    assert found["retry_lift"][0, 0].tolist() == [0.0, 0.0]
    assert found["retry_hits"][0, 0].tolist() == [1.0, 2.0]


def test_lift_of_independent_redraws_is_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Selection must not look like correction: hard prompts are retried more, and a rollout that retries has missed.
    generator = random.Random(1)
    ease = [generator.random() for _ in range(400)]

    def draw(_step: int, prompt: int, _sample: int) -> Annotation:
        path = ""
        while not path.endswith("R") and len(path) < 6:
            path += "R" if generator.random() < ease[prompt] else "W"
        return {**drawn_annotation(generator, 0.3, 0.3), **attempts_of(path)}

    run = write_run(tmp_path / "run", monkeypatch, draw, steps=[0], prompts=400)
    sums = figures.counts(run, Selection(), [FIGURES["retry_lift"], FIGURES["retry_hits"]]).sums
    draws = bootstrap.ratios(sums["retry_lift"], bootstrap.draws(400, 2000, 0))
    lift = bootstrap.estimate(bootstrap.values(sums["retry_lift"])[0], draws[:, 0])
    assert lift.low is not None
    assert lift.high is not None
    assert lift.low < 0 < lift.high
    assert lift.high - lift.low < 0.1


def test_a_task_without_detectors_is_not_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"n_tokens": 10, "marker_strict": 1, "markers": [], "correct": True, "clean": True}
    values = {key: bootstrap.values(sums)[0] for key, sums in only(tmp_path, monkeypatch, [row]).items()}
    measured = {key for key, value in values.items() if not np.isnan(value)}
    assert measured == {"accuracy", "tokens", "marker_strict_rate", "marker_strict_per_1k", "unclean"}


def test_an_evaluation_that_lacks_rollouts_is_left_out(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = random.Random(0)
    write_run(run_dir, monkeypatch, lambda *_: drawn_annotation(generator, 0.3, 0.3), steps=[30], prompts=5)
    found = figures.counts(run_dir, Selection(), [FIGURES["retried"]])
    assert (found.steps, found.left_out) == ([0, 10, 20], [30])


def test_length_bins_are_half_octaves() -> None:
    with duckdb.connect() as database:
        edges = database.execute(
            "SELECT min(n), max(n) FROM range(1, 1000) t(n) GROUP BY floor(2 * log2(greatest(n, 1))) ORDER BY 1"
        ).fetchall()
    assert all(high <= 1.4143 * low for low, high in edges)


@pytest.mark.parametrize(
    ("lexicon", "rates", "densities"),
    [
        pytest.param(None, 5, 1, id="strict in full"),
        pytest.param("all", 5, 5, id="all"),
        pytest.param("oat", 1, 1, id="one"),
    ],
)
def test_lexicons(lexicon: str | None, rates: int, densities: int) -> None:
    keys = [figure.key for figure in figures.chosen(lexicon)]
    assert sum(key.startswith("marker_") and key.endswith("_rate") for key in keys) == rates
    assert sum(key.endswith("_per_1k") for key in keys) == densities


def test_unknown_lexicon_is_refused() -> None:
    with pytest.raises(ValueError, match="lexicon='mine': need one of strict, r1-nature"):
        figures.chosen("mine")
