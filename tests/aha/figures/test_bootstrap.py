"""Draws of prompts for many figures at once: against a slow loop, tables of known values, and coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from r1rl.aha.figures import bootstrap


def drawn_counts(seed: int, prompts: int = 40, steps: int = 3) -> bootstrap.Array:
    generator = np.random.default_rng(seed)
    below = generator.integers(0, 6, size=(prompts, steps)).astype(float)
    return np.stack([generator.binomial(below.astype(int), 0.4).astype(float), below], axis=-1)


def test_every_draw_takes_as_many_prompts_as_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_CELLS_AT_ONCE", 50)
    drawn = bootstrap.draws(9, 101, 0)
    assert drawn.shape == (101, 9)
    assert (drawn.sum(axis=1) == 9).all()
    assert (drawn == bootstrap.draws(9, 101, 0)).all()
    assert not (drawn == bootstrap.draws(9, 101, 1)).all()


@pytest.mark.parametrize(("prompts", "resamples"), [(0, 10), (10, 0)])
def test_nothing_to_draw_is_refused(prompts: int, resamples: int) -> None:
    with pytest.raises(ValueError, match="=0: n"):
        bootstrap.draws(prompts, resamples, 0)


def test_ratios_agree_with_a_loop_over_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, drawn = drawn_counts(1, prompts=7), bootstrap.draws(7, 30, 0)
    counts[:, 1] = 0
    monkeypatch.setattr(bootstrap, "_CELLS_AT_ONCE", 20)
    found = bootstrap.ratios(counts, drawn, least_prompts=1)
    assert np.isnan(found[:, 1]).all()
    for row, times in zip(found, drawn.tolist(), strict=True):
        for step in (0, 2):
            above = sum(n * counts[p, step, 0] for p, n in enumerate(times))
            below = sum(n * counts[p, step, 1] for p, n in enumerate(times))
            assert row[step] == pytest.approx(above / below)


def test_few_prompts_give_no_interval() -> None:
    counts = np.ones((30, 2, 2))
    counts[9:, 1] = 0
    found = bootstrap.ratios(counts, bootstrap.draws(30, 20, 0))
    assert np.isfinite(found[:, 0]).all()
    assert np.isnan(found[:, 1]).all()
    assert bootstrap.estimate(bootstrap.values(counts)[1], found[:, 1]) == bootstrap.Estimate(1.0)


def change(counts: bootstrap.Array, resamples: int, seed: int) -> bootstrap.Estimate:
    """The last step minus the first, as the suite compares them."""
    draws = bootstrap.ratios(counts, bootstrap.draws(len(counts), resamples, seed))
    values = bootstrap.values(counts)
    return bootstrap.estimate(values[-1] - values[0], draws[:, -1] - draws[:, 0])


def slow_interval(counts: bootstrap.Array, resamples: int) -> tuple[float, float]:
    """The same by a loop: prompts drawn one by one, each draw used at both steps."""
    generator = np.random.default_rng(17)
    differences = []
    for _ in range(resamples):
        above, below = [0.0, 0.0], [0.0, 0.0]
        for prompt in generator.integers(len(counts), size=len(counts)):
            for side, step in enumerate((0, -1)):
                above[side] += counts[prompt, step, 0]
                below[side] += counts[prompt, step, 1]
        differences.append(above[1] / below[1] - above[0] / below[0])
    differences.sort()
    return differences[round(0.025 * (resamples - 1))], differences[round(0.975 * (resamples - 1))]


def test_agrees_with_a_slow_loop_over_single_prompts() -> None:
    counts = drawn_counts(2)
    fast = change(counts, 20_000, 5)
    values = [counts[:, step, 0].sum() / counts[:, step, 1].sum() for step in (0, -1)]
    assert fast.value == pytest.approx(values[1] - values[0])
    assert (fast.low, fast.high) == pytest.approx(slow_interval(counts, 4_000), abs=0.015)


def test_a_constant_gain_has_no_spread() -> None:
    # Paired: prompts differ widely, the gain does not. Unpaired draws would give a wide interval.
    counts = np.array([[[i, 10], [i + 1, 10]] for i in range(12)], dtype=float)
    found = change(counts, 500, 0)
    assert (found.value, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))


def test_most_draws_undefined_give_no_interval() -> None:
    counts = np.zeros((40, 2, 2))
    counts[:10, 0], counts[30:, 1] = 1, 1
    draws = bootstrap.ratios(counts, bootstrap.draws(40, 200, 0))
    draws[:120, 0] = np.nan
    assert bootstrap.estimate(1.0, draws[:, 0]) == bootstrap.Estimate(1.0)
    assert bootstrap.estimate(np.nan, draws[:, 1]) == bootstrap.Estimate(None)


def test_covers_the_true_difference_in_about_95_of_100_runs() -> None:
    generator = np.random.default_rng(7)
    runs, prompts, samples, gain = 300, 60, 8, 0.15
    covered = excludes_zero = 0
    for run in range(runs):
        ease = generator.beta(1.0, 2.0, size=prompts) * (1 - gain)  # prompts differ widely
        hits = np.stack([generator.binomial(samples, ease), generator.binomial(samples, ease + gain)], axis=1)
        found = change(np.stack([hits, np.full((prompts, 2), samples)], axis=-1).astype(float), 400, run)
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= gain <= found.high
        excludes_zero += found.low > 0
    assert 0.91 <= covered / runs <= 0.985
    assert excludes_zero / runs > 0.95


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        pytest.param([1.0] * 99, 2 / 100, id="all above"),
        pytest.param([-1.0] * 99, 2 / 100, id="all below"),
        pytest.param([0.0] * 99, 1.0, id="never changes"),
        pytest.param([1.0] * 95 + [-1.0] * 4, 2 * 5 / 100, id="four below"),
        pytest.param([1.0] * 40 + [math.nan] * 60, None, id="mostly not defined"),
        pytest.param([1e-15] * 99, 1.0, id="rounding"),
    ],
)
def test_p_value(differences: list[float], expected: float | None) -> None:
    assert bootstrap.p_value(np.array(differences)) == (None if expected is None else pytest.approx(expected))


def test_p_values_of_no_change_are_not_too_small() -> None:
    generator = np.random.default_rng(11)
    small = 0
    for run in range(300):
        ease = generator.beta(1.0, 2.0, size=60)
        counts = np.stack([generator.binomial(6, ease, size=(2, 60)).T, np.full((60, 2), 6)], axis=-1).astype(float)
        draws = bootstrap.ratios(counts, bootstrap.draws(60, 400, run))
        p = bootstrap.p_value(draws[:, 1] - draws[:, 0])
        assert p is not None
        small += p < 0.05
    assert 0.015 <= small / 300 <= 0.09


def test_holm_by_hand() -> None:
    # Holm (1979): 0.01 * 4, 0.02 * 3, then no less than those before it.
    adjusted = bootstrap.holm({"d": 0.04, "a": 0.01, "none": None, "c": 0.03, "b": 0.02})
    assert adjusted == {"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.06, "none": None}
    assert list(adjusted) == ["d", "a", "none", "c", "b"]
    assert bootstrap.holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}


@pytest.mark.parametrize(
    ("degrees", "quantile"),
    [(1, 12.7062), (2, 4.3027), (3, 3.1824), (4, 2.7764), (5, 2.5706), (10, 2.2281), (29, 2.0452), (400, 1.9659)],
)
def test_t_quantiles_of_the_printed_table(degrees: int, quantile: float) -> None:
    assert bootstrap.t_quantile(0.975, degrees) == pytest.approx(quantile, abs=1e-3)
    assert bootstrap.t_cdf(-quantile, degrees) == pytest.approx(0.025, abs=1e-4)


def test_one_run_says_nothing_about_seeds() -> None:
    estimate, p = bootstrap.over_seeds([0.3], np.array([0.2, 0.4]))
    assert (estimate, p) == (bootstrap.Estimate(0.3), None)


@pytest.mark.parametrize("values", [[0.1, math.nan], [math.nan, math.nan]])
def test_a_run_without_the_figure_leaves_no_interval(values: list[float]) -> None:
    estimate, p = bootstrap.over_seeds(values, np.array([0.1, 0.1]))
    assert (estimate.low, estimate.high, p) == (None, None, None)


def test_seeds_that_differ_widen_the_interval() -> None:
    draws = np.random.default_rng(0).normal(0.3, 0.02, size=4000)
    alike, alike_p = bootstrap.over_seeds([0.30, 0.31, 0.29], draws)
    apart, apart_p = bootstrap.over_seeds([0.02, 0.30, 0.58], draws)
    assert alike.above_zero
    assert not apart.above_zero
    assert alike_p is not None
    assert apart_p is not None
    assert alike_p < 0.001 < 0.05 < apart_p


def test_covers_new_seeds_and_new_prompts() -> None:
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(300):
        prompts = generator.normal(0, 0.05)  # the same prompts in every run: a common error
        runs = 0.2 + prompts + generator.normal(0, 0.05, size=3)
        draws = runs.mean() + generator.normal(0, 0.05, size=300)
        estimate, _ = bootstrap.over_seeds(list(runs), draws)
        assert estimate.low is not None
        assert estimate.high is not None
        covered += estimate.low <= 0.2 <= estimate.high
    assert covered / 300 >= 0.93
