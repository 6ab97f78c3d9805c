"""From annotations to a conclusion: what is planted is found, and what is not is not claimed."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from r1rl.aha.figures import suite, terminal
from r1rl.aha.figures.conclusion import conclude
from r1rl.aha.figures.figures import Selection
from tests.aha.annotated_runs import Annotation, attempts_of, write_run

STEPS = (0, 10, 20, 30, 40)
RESAMPLES = 4000  # fewer, and no p-value survives the correction

Path_ = Callable[[random.Random, int], str]


def draw(path: Path_, seed: int = 0, *, loops: float = 0.0) -> Callable[[int, int, int], Annotation]:
    """Rollouts whose attempts are `path(generator, step)`; `loops`: share of those with a retry that end in a loop."""
    generator = random.Random(seed)

    def one(step: int, _prompt: int, _sample: int) -> Annotation:
        moves = path(generator, step)
        looping = len(moves) > 1 and generator.random() < loops
        return {
            "n_tokens": 40, "correct": moves.endswith("R"), "marker_strict": int(len(moves) > 1), "markers": [],
            "goal_tests": [
                {"start": i, "end": i + 1, "attempt": i, "says": move == "R", "truth": move == "R"}
                for i, move in enumerate(moves)
            ],
            "repetition_loop": looping, "clean": not looping, "guess": False,
            **attempts_of(moves),
        }  # fmt: skip

    return one


def retrying(rate: Callable[[int], float], hit: float = 0.8) -> Path_:
    """A first attempt that hits with 20 %; after a miss a second one at the step's rate, which hits with `hit`."""

    def path(generator: random.Random, step: int) -> str:
        if generator.random() < 0.2:
            return "R"
        if generator.random() >= rate(step):
            return "W"
        return "WR" if generator.random() < hit else "WW"

    return path


CASES = [
    pytest.param(retrying(lambda s: 0.7 * (s >= 20)), 0.0, True, "Self-correction emerged", id="emerges"),
    pytest.param(retrying(lambda s: 0.2 + 0.5 * (s >= 20)), 0.0, True, "was there at step 0 and grew", id="grows"),
    pytest.param(retrying(lambda s: 0.0), 0.0, False, "No emergence", id="never"),
    pytest.param(retrying(lambda s: 0.4), 0.0, False, "It was there at step 0", id="always"),
    pytest.param(retrying(lambda s: 0.6 - s / 80), 0.0, False, "was there at step 0 and fell", id="falls"),
    pytest.param(retrying(lambda s: 0.7 * (s >= 20), 0.2), 0.0, False, "no more often than an independent redraw",
                 id="more draws, no correction"),
    pytest.param(retrying(lambda s: 0.7 * (s >= 20)), 1.0, False, "not among clean rollouts", id="only in loops"),
    pytest.param(retrying(lambda s: 0.7 * (s in (10, 20))), 0.0, False, "came and went", id="comes and goes"),
    pytest.param(retrying(lambda s: 0.7 * (s == 40)), 0.0, False, "not sustained", id="at the last evaluation alone"),
]  # fmt: skip


@pytest.mark.parametrize(("path", "loops", "emerged", "words"), CASES)
def test_conclusions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Path_, loops: float, emerged: bool, words: str
) -> None:
    run = write_run(tmp_path / "run", monkeypatch, draw(path, loops=loops), steps=STEPS, prompts=60)
    (result,) = suite.measure([run], resamples=RESAMPLES)
    conclusion = conclude(result)
    assert conclusion.emerged is emerged, conclusion
    assert words in conclusion.words[0]
    assert "One run" in conclusion.words[-1]


def test_the_line_of_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run", monkeypatch, draw(retrying(lambda s: 1.0 * (s >= 20))), steps=STEPS, prompts=60)
    (result,) = suite.measure([run], resamples=RESAMPLES)
    line = conclude(result).figures
    assert re.match(
        r"retries: from 0 % to 8\d % of rollouts, onset at step 20 \(10–20\); wrong→right lift \+0\.[56]", line
    )
    assert line.endswith("verification precision 1.00, recall 1.00")


def seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: list[Path_]) -> list[Path]:
    return [
        write_run(tmp_path / f"seed{i}", monkeypatch, draw(path, seed=i), steps=STEPS, prompts=40)
        for i, path in enumerate(paths)
    ]


def test_seeds_are_shown_each_and_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = seeds(tmp_path, monkeypatch, [retrying(lambda s: 0.7 * (s >= 20))] * 3)
    results = suite.measure(runs, resamples=RESAMPLES)
    assert [result.runs for result in results[:3]] == [("seed0",), ("seed1",), ("seed2",)]
    together = results[3]
    assert together.rollouts == 3 * 160
    assert len(together.rows["retried"].onsets) == 3
    mean = sum(result.rows["retried"].last.value or 0 for result in results[:3]) / 3
    assert together.rows["retried"].last.value == pytest.approx(mean)
    assert conclude(together).emerged
    assert "in 3 of 3 runs, at step 20" in conclude(together).figures


def test_one_seed_that_drifts_is_no_emergence_of_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = seeds(tmp_path, monkeypatch, [retrying(lambda s: 0.7 * (s >= 20)), retrying(lambda s: 0.0),
                                         retrying(lambda s: 0.0)])  # fmt: skip
    results = suite.measure(runs, resamples=RESAMPLES)
    assert [conclude(result).emerged for result in results] == [True, False, False, False]


@pytest.mark.parametrize(
    ("steps", "kind", "words"),
    [
        pytest.param((0,), "eval", "nothing to compare it with yet", id="one evaluation"),
        pytest.param((0, 10, 20), "train", "nothing is compared with step 0", id="training rollouts"),
    ],
)
def test_what_cannot_be_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: tuple[int, ...], kind: str, words: str
) -> None:
    run = write_run(tmp_path / "run", monkeypatch, draw(retrying(lambda s: 0.5)), steps=steps, kind=kind)
    (result,) = suite.measure([run], Selection(kind), resamples=100)
    conclusion = conclude(result)
    assert conclusion.emerged is None
    assert words in " ".join(conclusion.words)
    assert all(row.change.value is None for row in result.rows.values())


def test_a_task_without_attempts_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(
        tmp_path / "run", monkeypatch, lambda s, *_: {"n_tokens": 9, "marker_strict": int(s > 0), "clean": True}
    )
    (result,) = suite.measure([run], resamples=RESAMPLES)
    conclusion = conclude(result)
    assert conclusion.emerged is None
    assert conclusion.figures == "retries: not measured"
    assert "words alone are not self-verification" in " ".join(conclusion.words)


@pytest.mark.parametrize(
    ("second", "match"),
    [
        pytest.param("same", "given twice", id="twice"),
        pytest.param("other steps", "no evaluated step in common", id="no common step"),
    ],
)
def test_runs_that_cannot_be_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str, match: str
) -> None:
    first = write_run(tmp_path / "a", monkeypatch, draw(retrying(lambda s: 0.5)), steps=(0, 10))
    other = first
    if second != "same":
        other = write_run(tmp_path / "b", monkeypatch, draw(retrying(lambda s: 0.5)), steps=(5, 15))
    with pytest.raises(ValueError, match=match):
        suite.measure([first, other], resamples=100)


@pytest.mark.parametrize(
    ("width", "shown", "hidden"),
    [
        pytest.param(160, ["detector P / R", "onset", "adj. p"], [], id="wide"),
        pytest.param(110, ["onset", "adj. p"], ["detector P / R"], id="medium"),
        pytest.param(80, ["adj. p", "retried after a miss"], ["detector P / R"], id="narrow"),
        pytest.param(72, ["change (95 %)", "retried after a miss"], ["adj. p"], id="very narrow"),
    ],
)
def test_the_table_fits_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int, shown: list[str], hidden: list[str]
) -> None:
    run = write_run(tmp_path / "run", monkeypatch, draw(retrying(lambda s: 0.7 * (s >= 20))), steps=STEPS)
    (result,) = suite.measure([run], resamples=200)
    console = Console(width=width)
    with console.capture() as captured:
        terminal.print_result(result, console)
    table = captured.get().partition("retries:")[0]
    assert all(text in table for text in shown)
    assert not any(text in table for text in hidden)


def test_json_of_chosen_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run", monkeypatch, draw(retrying(lambda s: 0.7 * (s >= 20))), steps=STEPS)
    (result,) = suite.measure([run], resamples=200)
    whole: dict[str, Any] = terminal.as_json(result)
    chosen = terminal.as_json(result, ["retried"])
    assert chosen["figures"] == {"retried": whole["figures"]["retried"]}
    assert len(whole["figures"]["retried"]["series"]) == len(STEPS)
