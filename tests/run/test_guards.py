"""The table of guards: what each rings at, what it does not, and what a recipe may say of it."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest

from r1rl.ground.errors import RecipeError
from r1rl.run import guards
from r1rl.run.guards import Guards, chosen

HEALTHY = {
    "loss": -0.1, "grad_norm": 0.3, "reward": 0.5, "frac_reward_zero_std": 0.2, "task_accuracy": 0.5,
    "completions/clipped_ratio": 0.05, "entropy": 0.05, "completions/repetition": 0.05, "kl": 0.01,
    "sampling/logp_gap": 1e-3, "verdicts/no_answer": 0.1, "verdicts/unparseable": 0.0, "verdicts/truncated": 0.05,
}  # fmt: skip


def lines(*parts: tuple[int, dict[str, Any]]) -> list[dict[str, Any]]:
    return [HEALTHY | changes for count, changes in parts for _ in range(count)]


def evaluations(*values: float) -> list[dict[str, Any]]:
    return [{"heldout/accuracy": value} for value in values]


def rung(
    seen: list[dict[str, Any]], *, prompts: int = 12, heldout: int = 128, **settings: Any
) -> list[tuple[str, int]]:
    watching = Guards(chosen(settings, prompts), prompts=prompts, heldout=heldout)
    return [(alarm.guard.name, i) for i, line in enumerate(seen, 1) for alarm in watching.sees(line)]


RINGS = [
    pytest.param(lines((2, {}), (1, {"loss": math.nan})), [("non_finite", 3)], id="a loss that is no number"),
    pytest.param(lines((1, {"grad_norm": math.inf})), [("non_finite", 1)], id="an infinite gradient"),
    pytest.param([HEALTHY | {"weights": math.nan}], [("non_finite", 1)], id="weights"),
    pytest.param(lines((1, {"reward": math.inf})), [("non_finite", 1)], id="an infinite reward"),
    pytest.param(lines((5, {}), (30, {"frac_reward_zero_std": 1.0})), [("no_variance", 25)], id="nothing to learn"),
    pytest.param(
        lines((10, {}), (5, {"verdicts/no_answer": 1.0, "verdicts/truncated": 0.0})), [("format_lost", 15)], id="format"
    ),
    pytest.param(
        lines((10, {}), (12, {"verdicts/no_answer": 0.0, "verdicts/truncated": 1.0, "task_accuracy": 0.0})),
        [("format_lost", 15), ("accuracy_lost", 19)], id="collapse into endless texts",
    ),
    pytest.param(lines((20, {"completions/clipped_ratio": 0.99})), [("truncation", 10)], id="all cut, said once"),
    pytest.param(
        lines((10, {"completions/clipped_ratio": 1.0}), (10, {}), (10, {"completions/clipped_ratio": 1.0})),
        [("truncation", 10), ("truncation", 29)], id="said again when it comes again",
    ),
    pytest.param(lines((10, {"entropy": 0.001})), [("entropy", 10)], id="one text alone"),
    pytest.param(lines((5, {"completions/repetition": 0.9})), [("repetition", 5)], id="repetition"),
    pytest.param(lines((4, {"kl": 20.0})), [("kl", 3)], id="far from the reference"),
    pytest.param(lines((4, {"sampling/logp_gap": 0.7})), [("sampler_gap", 3)], id="a sampler without the new weights"),
    pytest.param(evaluations(0.3, 0.8, 0.5, 0.5, 0.5), [("heldout_fallen", 4)], id="held-out accuracy, for good"),
]  # fmt: skip


@pytest.mark.parametrize(("seen", "expected"), RINGS)
def test_each_guard_rings(seen: list[dict[str, Any]], expected: list[tuple[str, int]]) -> None:
    assert rung(seen) == expected


SILENT = [
    pytest.param(lines((300, {})), id="healthy"),
    pytest.param(lines((300, {"reward": -3.0, "task_accuracy": 0.0})), id="paid by penalties alone, never right"),
    pytest.param(lines((300, {"reward": None, "task_accuracy": None, "kl": None})), id="rewards that say nothing"),
    pytest.param(lines((2, {"kl": 50.0}), (1, {}), (2, {"kl": 50.0})), id="a spike"),
    pytest.param(evaluations(0.5, 0.45, 0.47, 0.44), id="an evaluation's noise"),
    pytest.param(evaluations(0.8, 0.4, 0.8, 0.4), id="one bad evaluation at a time"),
    pytest.param(lines((40, {"task_accuracy": 0.02, "verdicts/no_answer": 0.9}), (40, {"task_accuracy": 0.0})),
                 id="a base that is hardly ever right"),
    pytest.param(lines((19, {"frac_reward_zero_std": 1.0}), (1, {})), id="groups without signal, not for long"),
    pytest.param([{"train_runtime": 31.0, "total_flos": 0.0}, {}], id="other lines"),
]  # fmt: skip


@pytest.mark.parametrize("seen", SILENT)
def test_no_guard_rings_without_reason(seen: list[dict[str, Any]]) -> None:
    assert rung(seen) == []


@pytest.mark.parametrize("prompts", [2, 8])
def test_chance_rings_nothing(prompts: int) -> None:
    """Accuracy and format of a run that learns nothing, from few prompts a step, over thousands of steps."""
    draws = random.Random(0)

    def share(p: float) -> float:
        return sum(draws.random() < p for _ in range(prompts)) / prompts

    seen = [
        HEALTHY | {"task_accuracy": share(0.15), "verdicts/no_answer": share(0.7), "verdicts/truncated": 0.0,
                   "frac_reward_zero_std": share(0.9)}
        for _ in range(5000)
    ]  # fmt: skip
    assert rung(seen, prompts=prompts) == []


def test_few_prompts_make_a_longer_window() -> None:
    seen = lines((150, {"frac_reward_zero_std": 1.0}))
    assert rung(seen, prompts=2) == [("no_variance", 30)]


def test_a_recipe_sets_actions_limits_and_windows() -> None:
    seen = lines((10, {"kl": 2.0}))
    assert rung(seen, kl={"limit": 1, "window": 5}) == [("kl", 5)]
    by_name = {
        guard.name: guard.action for guard in chosen({"all": "off", "kl": "stop", "entropy": {"action": "warn"}})
    }
    assert by_name == {"kl": "stop", "entropy": "warn"}
    assert chosen({"all": False}) == [], "off is false in YAML"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        pytest.param({"entropie": "stop"}, "did you mean 'entropy'", id="unknown guard"),
        pytest.param({"kl": "halt"}, "guards.kl.action='halt': need one of off, warn", id="unknown action"),
        pytest.param({"kl": {"size": 3}}, "guards.kl.size: unknown key", id="unknown setting"),
        pytest.param({"kl": 3}, "guards.kl=3", id="a number alone"),
        pytest.param({"kl": True}, "guards.kl.action=True", id="on says not what"),
        pytest.param({"kl": {"window": 0}}, "guards.kl.window=0", id="no window"),
        pytest.param({"kl": {"limit": "much"}}, "guards.kl.limit='much'", id="no number"),
    ],
)
def test_a_recipe_that_says_something_else(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as refused:
        chosen(settings)
    assert said in str(refused.value)


def test_every_row_says_what_to_try() -> None:
    for guard in guards.GUARDS:
        assert guard.tries
        assert guard.action in guards.ACTIONS
        guard.says.format(metric="x", value=0.5, best=0.5, mean=0.5, window=guard.window)


def test_the_page_has_the_table() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "safety.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `")]
    rows = [row for row in rows if len(row) == 7 and row[5].strip() in guards.ACTIONS]
    shown = {row[1].strip(" `"): (row[4].split()[0].strip(","), row[5].strip()) for row in rows}
    assert shown == {guard.name: (str(guard.window), guard.action) for guard in guards.GUARDS}
