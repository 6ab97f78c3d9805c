"""Gains between arms and the fate of falsified values, against numbers worked by hand."""

from __future__ import annotations

import random
from typing import Any

import pytest

from r1rl.aha import counterfactual_figures as figures
from r1rl.aha.counterfactual import ARMS


def rows_of(rates: dict[str, float], prompts: int = 40, samples: int = 4, seed: int = 0) -> list[dict[str, Any]]:
    """Continuations whose arms are right at the given rates, exactly, whatever the prompt."""
    generator = random.Random(seed)
    found = []
    for arm, rate in rates.items():
        right = [i < round(rate * prompts * samples) for i in range(prompts * samples)]
        generator.shuffle(right)
        found += [
            {"arm": arm, "point": i // samples, "prompt_id": f"p{i // samples}", "marked": False, "n_tokens": 10,
             "stretch_tokens": 5, "verdict": "correct" if hit else "wrong"}
            for i, hit in enumerate(right)
        ]  # fmt: skip
    return found


def claims_of(arm: str, outcomes: list[tuple[bool, bool | None, bool]]) -> list[dict[str, Any]]:
    """(hits, said, recomputed) a prompt."""
    return [
        {"arm": arm, "point": i, "prompt_id": f"p{i}", "marked": False, "n_tokens": 10, "stretch_tokens": 0,
         "verdict": "wrong", "hits": hits, "said": said, "recomputed": recomputed}
        for i, (hits, said, recomputed) in enumerate(outcomes)
    ]  # fmt: skip


EFFECT = {"answer_before": 0.2, "answer_after": 0.7, "banned": 0.3, "free": 0.6, "inject": 0.5, "no_inject": 0.5,
          "placebo_answer_before": 0.2, "placebo_answer_after": 0.3, "placebo_banned": 0.5,
          "placebo_free": 0.5}  # fmt: skip


def test_gains() -> None:
    result = figures.measure("run", 20, rows_of(EFFECT))
    assert (result.points, result.prompts) == (40, 40)
    expected = {"reflection": 0.5, "reflection_placebo": 0.1, "reflection_beyond_placebo": 0.4, "freedom": 0.3,
                "freedom_placebo": 0.0, "freedom_beyond_placebo": 0.3, "injection": 0.0}  # fmt: skip
    assert {name: gain.change.value for name, gain in result.gains.items()} == pytest.approx(expected, abs=1e-9)
    clear = {name for name, gain in result.gains.items() if gain.p is not None and gain.p < 0.05}
    assert clear == {"reflection", "reflection_beyond_placebo", "freedom", "freedom_beyond_placebo"}
    for name, gain in result.gains.items():
        assert gain.change.low is not None
        assert gain.change.high is not None
        assert gain.change.low < expected[name] < gain.change.high
    words = " ".join(figures.words(result))
    assert "The text of a reflection is worth +50 (" in words
    assert "An injected word changes accuracy by +0 (" in words
    assert words.count("not clearly different from 0") == 1


def test_nothing_at_all_is_found_where_nothing_is() -> None:
    claimed = 0
    for seed in range(20):
        generator = random.Random(seed)
        rows = [{**row, "verdict": generator.choice(["correct", "wrong"])}
                for row in rows_of(dict.fromkeys(ARMS, 0.5), seed=seed)]  # fmt: skip
        gains = figures.measure("run", 0, rows, seed=seed).gains
        claimed += any(gain.p is not None and gain.p < 0.05 for gain in gains.values())
    assert claimed <= 4  # at most 5 % of the probes, after the correction: 5 or more have a chance of 0.3 %


def test_arms_of_other_boundaries_may_be_missing_and_unusable_gold_counts_nowhere() -> None:
    rows = rows_of({"free": 0.5, "banned": 0.25})
    rows += [{**rows[0], "verdict": "bad_gold"}] * 50
    result = figures.measure("run", 0, rows)
    assert set(result.arms) == {"free", "banned"}
    assert set(result.gains) == {"freedom"}
    assert result.gains["freedom"].change.value == pytest.approx(0.25)


def test_text_that_falls_apart_is_said_so() -> None:
    rows = rows_of({"free": 0.5, "banned": 0.25})
    for row in rows:
        if row["arm"] == "banned" and row["verdict"] == "wrong":
            row["verdict"] = "unparseable"
    words = " ".join(figures.words(figures.measure("run", 0, rows)))
    assert "Only 25% of the continuations with markers banned (100% of the others)" in words


def test_few_prompts_have_no_interval() -> None:
    result = figures.measure("run", 0, rows_of({"inject": 1.0, "no_inject": 0.5}, prompts=4))
    assert result.gains["injection"].change.low is None
    assert "of too few prompts for an interval" in figures.words(result)[-1]


def test_falsified_values() -> None:
    rows = claims_of("intact", [(True, True, False)] * 12 + [(False, False, False)] * 12)
    rows += claims_of("corrupted", [(True, False, False)] * 6 + [(True, False, True)] * 6  # computed again: noticed
                      + [(False, True, False)] * 6 + [(False, None, False)] * 6)  # fmt: skip
    found = figures.measure("run", 0, rows).corruption
    assert found["intact", None].noticed.value == 1.0
    assert found["corrupted", True].noticed.value == 0.5
    assert found["corrupted", False].noticed.value == 0.0
    assert found["corrupted", False].silent == 0.5
    assert found["corrupted", None].noticed.value == pytest.approx(6 / 18)


def test_nothing_to_probe() -> None:
    with pytest.raises(ValueError, match="step=40: no marker and no claimed value"):
        figures.measure("run", 40, [])
