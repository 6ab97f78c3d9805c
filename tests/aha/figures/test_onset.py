"""Onsets on simulated runs: how often one is seen where nothing changes, and where it is put where something does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from r1rl.aha.figures import bootstrap, onset
from r1rl.aha.figures.onset import Onset

DRAWS = 500


def simulate(
    rates: Sequence[float], seed: int, *, prompts: int = 64, samples: int = 4, spread: float = 1.5
) -> Onset | None:
    """A run evaluated every 20 steps; prompts differ in difficulty by `spread` logits."""
    generator = np.random.default_rng((seed, len(rates)))
    share = np.clip(np.array(rates), 1e-6, 1 - 1e-6)
    ease = np.log(share / (1 - share)) + generator.normal(0, spread, size=(prompts, 1))
    hits = generator.binomial(samples, 1 / (1 + np.exp(-ease)))
    counts = np.stack([hits, np.full_like(hits, samples)], axis=-1).astype(np.float64)
    steps = [20 * i for i in range(len(rates))]
    draws = bootstrap.ratios(counts, bootstrap.draws(prompts, DRAWS, seed))
    return onset.find(steps, bootstrap.values(counts), draws)


@pytest.mark.parametrize("spread", [0.0, 2.0], ids=["prompts alike", "prompts differ"])
@pytest.mark.parametrize("evaluations", [6, 21])
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5])
def test_no_change_seldom_has_an_onset(rate: float, evaluations: int, spread: float) -> None:
    found = [simulate([rate] * evaluations, seed, spread=spread) for seed in range(200)]
    assert sum(one is not None for one in found) <= 0.05 * len(found)


def test_decline_never_is_an_onset() -> None:
    assert all(simulate(np.linspace(0.6, 0.1, 9).tolist(), seed) is None for seed in range(100))
    assert all(simulate([0.5, 0.3, 0.2, 0.2, 0.3, 0.4, 0.5], seed) is None for seed in range(100))


def test_step() -> None:
    found = [simulate([0.1] * 4 + [0.4] * 7, seed) for seed in range(40)]
    assert all(found)
    kept = [one for one in found if one is not None]
    assert Counter(one.step for one in kept)[80] >= 34
    assert sum(one.shape == "step" for one in kept) >= 34
    assert sum(one.after < 80 <= one.high for one in kept) >= 38
    assert all(one.lasting for one in kept)


def test_ramp() -> None:
    # Level up to step 60, the first evaluation above it is at 80.
    found = [simulate([0.1] * 3 + np.linspace(0.1, 0.7, 8).tolist(), seed) for seed in range(40)]
    kept = [one for one in found if one is not None]
    assert len(kept) == 40
    assert sum(one.shape == "ramp" for one in kept) >= 38
    assert sum(abs(one.step - 80) <= 20 for one in kept) >= 38
    assert sum(one.after < 80 <= one.high for one in kept) >= 36


def test_rise_and_fall_is_dated_by_its_rise() -> None:
    # A published run: verifications 0.62 a response at step 0, 11.6 at step 60, 0.18 at step 200.
    rates = [0.10, 0.10, 0.25, 0.60, 0.65, 0.50, 0.20, 0.05, 0.03, 0.03, 0.03]
    kept = [one for seed in range(40) if (one := simulate(rates, seed)) is not None]
    assert len(kept) == 40
    assert all(20 <= one.step <= 60 for one in kept)
    assert all(one.peak in (60, 80) for one in kept)
    assert not any(one.lasting for one in kept)


def test_published_rise_and_fall_in_counts() -> None:
    # The same run's own numbers, verifications per response, with evaluations between.
    means = [0.62, 0.7, 4.0, 11.6, 9.0, 4.0, 1.0, 0.5, 0.3, 0.2, 0.18]
    generator = np.random.default_rng(0)
    counts = np.stack([generator.poisson(means, size=(80, 11)), np.ones((80, 11))], axis=-1).astype(np.float64)
    draws = bootstrap.ratios(counts, bootstrap.draws(80, DRAWS, 0))
    found = onset.find([20 * i for i in range(11)], bootstrap.values(counts), draws)
    assert found is not None
    assert (found.step, found.peak, found.lasting) == (40, 60, False)


def exact(values: Sequence[float], noise: float = 1e-4, **options: float) -> Onset | None:
    series = np.array(values)
    draws = series + np.random.default_rng(0).normal(0, noise, size=(400, len(series)))
    return onset.find([10 * i for i in range(len(series))], series, draws, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([0, 0, 1, 1, 1], (20, 10, 20, "step", True), id="step"),
        pytest.param([0, 0, 1, 2, 3], (20, 10, 20, "ramp", True), id="ramp"),
        pytest.param([0, 0, 1, 2, 2, 2], (20, 10, 20, "ramp", True), id="ramp to a level"),
        pytest.param([0, 1, 1], (10, 0, 10, "step", True), id="at once"),
        pytest.param([0, 0, 1, 1, 0, 0], (20, 10, 20, "step", False), id="gone again"),
        pytest.param([0, 0, 1, 0, 0], None, id="one evaluation is not sustained"),
        pytest.param([0, 0, 0, 0, 1], None, id="the last evaluation is not sustained"),
        pytest.param([0, 1], None, id="two evaluations"),
        pytest.param([1, 0, 0, 0], None, id="fall"),
        pytest.param([1, 0, 0, 1, 1], None, id="back to where it was"),
        pytest.param([np.nan, 1, 1, 1], None, id="step 0 not defined"),
        pytest.param([0, np.nan, 1, 1], (20, 0, 20, "step", True), id="an evaluation not defined"),
        pytest.param([0, 0, 0], None, id="never"),
    ],
)
def test_clear_series(values: list[float], expected: tuple[object, ...] | None) -> None:
    found = exact(values)
    assert (found and (found.step, found.after, found.high, found.shape, found.lasting)) == expected


def test_no_spread_at_all() -> None:
    # Every prompt the same: no draw differs, and the bands have no width.
    series = np.array([0.0, 0.0, 0.5, 0.5])
    found = onset.find([0, 1, 2, 3], series, np.tile(series, (50, 1)))
    assert found is not None
    assert found.step == 2


def test_alpha_is_for_the_whole_series() -> None:
    # 2.2 errors above step 0 at two evaluations: enough for one evaluation at 5 %, not for ten.
    values = [0.0] * 5 + [3.1, 3.1] + [0.0] * 4
    draws = np.random.default_rng(1).normal(0, 1, size=(4000, 11)) + np.array(values)
    steps = list(range(11))
    assert onset.find(steps, np.array(values), draws, alpha=0.3) is not None
    assert onset.find(steps, np.array(values), draws, alpha=0.05) is None
