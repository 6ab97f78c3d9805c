"""Gains between arms and the fate of falsified values, against numbers worked by hand."""

from __future__ import annotations

import random
from typing import Any

import pytest

from r1rl.aha.counterfactual import figures
from r1rl.aha.counterfactual.arms import ARMS


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


def measure(run: str, step: int, rows: list[dict[str, Any]], **options: Any) -> figures.Result:
    return figures.measure([run], step, [rows], **options)


EFFECT = {"answer_before": 0.2, "answer_after": 0.7, "banned": 0.3, "free": 0.6, "inject": 0.5, "no_inject": 0.5,
          "placebo_answer_before": 0.2, "placebo_answer_after": 0.3, "placebo_banned": 0.5,
          "placebo_free": 0.5}  # fmt: skip


def test_gains() -> None:
    result = measure("run", 20, rows_of(EFFECT))
    assert (result.markers, result.prompts) == (40, 40)
    expected = {"reflection": 0.5, "reflection_placebo": 0.1, "reflection_beyond_placebo": 0.4, "freedom": 0.3,
                "freedom_placebo": 0.0, "freedom_beyond_placebo": 0.3, "injection": 0.0}  # fmt: skip
    assert {name: gain.change.value for name, gain in result.gains.items()} == pytest.approx(expected, abs=1e-9)
    clear = {name for name, gain in result.gains.items() if gain.p is not None and gain.p < 0.05}
    assert clear == {"reflection", "reflection_beyond_placebo", "freedom", "freedom_beyond_placebo"}
    for name, gain in result.gains.items():
        assert gain.change.low is not None
        assert gain.change.high is not None
        assert gain.change.low < expected[name] < gain.change.high


def test_nothing_at_all_is_found_where_nothing_is() -> None:
    claimed = 0
    for seed in range(20):
        generator = random.Random(seed)
        rows = [{**row, "verdict": generator.choice(["correct", "wrong"])}
                for row in rows_of(dict.fromkeys(ARMS, 0.5), seed=seed)]  # fmt: skip
        gains = measure("run", 0, rows, seed=seed).gains
        claimed += any(gain.p is not None and gain.p < 0.05 for gain in gains.values())
    assert claimed <= 4  # at most 5 % of the measurements, after the correction: 5 or more have a chance of 0.3 %


def test_arms_of_other_boundaries_may_be_missing_and_unusable_gold_counts_nowhere() -> None:
    rows = rows_of({"free": 0.5, "banned": 0.25})
    rows += [{**rows[0], "verdict": "bad_gold"}] * 50
    result = measure("run", 0, rows)
    assert set(result.arms) == {"free", "banned"}
    assert set(result.gains) == {"freedom"}
    assert result.gains["freedom"].change.value == pytest.approx(0.25)


def test_text_that_falls_apart_is_counted() -> None:
    rows = rows_of({"free": 0.5, "banned": 0.25})
    for row in rows:
        if row["arm"] == "banned" and row["verdict"] == "wrong":
            row["verdict"] = "unparseable"
    result = measure("run", 0, rows)
    assert (result.arms["banned"].parsed, result.arms["free"].parsed) == (0.25, 1.0)


def test_few_prompts_have_no_interval() -> None:
    result = measure("run", 0, rows_of({"inject": 1.0, "no_inject": 0.5}, prompts=4))
    assert result.gains["injection"].change.low is None


def test_falsified_values() -> None:
    rows = claims_of("intact", [(True, True, False)] * 12 + [(False, False, False)] * 12)
    rows += claims_of("corrupted", [(True, False, False)] * 6 + [(True, False, True)] * 6  # computed again: noticed
                      + [(False, True, False)] * 6 + [(False, None, False)] * 6)  # fmt: skip
    found = measure("run", 0, rows).corruption
    assert found["intact"].noticed.value == 1.0
    assert found["corrupted_hits"].noticed.value == 0.5
    assert found["corrupted_misses"].noticed.value == 0.0
    assert found["corrupted_misses"].silent == 0.5
    assert found["corrupted"].noticed.value == pytest.approx(6 / 18)


def test_nothing_to_go_on_from() -> None:
    with pytest.raises(ValueError, match="run='run', step=40: no marker and no claimed value"):
        measure("run", 40, [])


def test_several_runs_are_put_together() -> None:
    """Gains of 0.2, 0.3 and 0.4: mean 0.3, and a variance of 0.1 ** 2 / 3 between runs in the interval."""
    every = [rows_of({"free": 0.5 + gain, "banned": 0.5}, seed=i) for i, gain in enumerate((0.2, 0.3, 0.4))]
    result = figures.measure(["a", "b", "c"], 20, every)
    assert (result.runs, result.prompts, result.markers) == (("a", "b", "c"), 40, 120)
    assert result.arms["free"].right.value == pytest.approx(0.8)
    assert result.arms["free"].count == 480
    change = result.gains["freedom"].change
    assert change.value == pytest.approx(0.3)
    assert change.low is not None
    assert change.high is not None
    singles = [measure("x", 20, rows).gains["freedom"].change for rows in every]
    assert [single.value for single in singles] == pytest.approx([0.2, 0.3, 0.4])
    # Two degrees of freedom, or a few more for the share of the prompts: t from 4.30 down to 1.96.
    assert 2 * 1.96 * 0.1 / 3**0.5 < change.high - change.low < 2 * 4.31 * (0.01 / 3 + 0.05**2 / 3) ** 0.5


def test_runs_that_do_not_agree_make_no_claim() -> None:
    every = [rows_of({"free": 0.5 + gain, "banned": 0.5}, seed=i) for i, gain in enumerate((0.3, 0.3, -0.3))]
    assert all(measure("x", 0, rows).gains["freedom"].p < 0.05 for rows in every)  # type: ignore[operator]
    gain = figures.measure(["a", "b", "c"], 0, every).gains["freedom"]
    assert gain.p is not None
    assert gain.p > 0.05


def test_an_arm_that_one_of_two_runs_lacks_has_no_interval() -> None:
    both = rows_of({"free": 0.5, "banned": 0.25, "inject": 0.75, "no_inject": 0.5})
    result = figures.measure(["a", "b"], 0, [both, rows_of({"free": 0.5, "banned": 0.25})])
    assert result.gains["freedom"].change.low is not None
    injection = result.gains["injection"]
    assert injection.change.value == pytest.approx(0.25)
    assert (injection.change.low, injection.p) == (None, None)
    assert result.arms["inject"].count == 160


def test_runs_may_have_other_prompts() -> None:
    mine = rows_of({"free": 0.5, "banned": 0.25})
    other = [{**row, "prompt_id": f"q{row['prompt_id']}"} for row in mine]
    result = figures.measure(["a", "b"], 0, [mine, other])
    assert result.prompts == 80
    assert result.gains["freedom"].change.value == pytest.approx(0.25)
    assert result.gains["freedom"].change.low is not None


def test_falsified_values_of_several_runs() -> None:
    every = [
        claims_of("corrupted", [(True, False, hit) for hit in [True] * share + [False] * (20 - share)])
        + claims_of("corrupted", [(True, None, False)] * 5)
        for share in (10, 14)
    ]
    found = figures.measure(["a", "b"], 0, every).corruption["corrupted"]
    assert found.noticed.value == pytest.approx(0.6)
    assert found.noticed.low is not None
    assert (found.silent, found.count) == (pytest.approx(0.2), 50)


def test_a_run_without_anything_is_named() -> None:
    with pytest.raises(ValueError, match="run='b', step=20: no marker"):
        figures.measure(["a", "b"], 20, [rows_of({"free": 0.5, "banned": 0.5}), []])
