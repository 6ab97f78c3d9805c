"""Paired cluster bootstrap against a slow loop, and its coverage on simulated runs."""

from __future__ import annotations

import numpy as np
import pytest

from r1rl.aha.figures import statistics
from r1rl.aha.figures.statistics import Comparison, RatioSample, compare


def sample(*counts: tuple[float, float]) -> RatioSample:
    return {f"p{i}": count for i, count in enumerate(counts)}


def slow(first: RatioSample, last: RatioSample, resamples: int, seed: int) -> tuple[float, float]:
    prompts = sorted(set(first) & set(last))
    drawn = np.random.default_rng(seed).integers(len(prompts), size=(resamples, len(prompts)))
    differences = []
    for draw in drawn:
        above = [0.0, 0.0]
        below = [0.0, 0.0]
        for index in draw:
            for side, counts in enumerate((first, last)):
                above[side] += counts[prompts[index]][0]
                below[side] += counts[prompts[index]][1]
        if below[0] and below[1]:
            differences.append(above[1] / below[1] - above[0] / below[0])
    differences.sort()

    def quantile(q: float) -> float:
        position = q * (len(differences) - 1)
        low = int(position)
        high = min(low + 1, len(differences) - 1)
        return differences[low] + (position - low) * (differences[high] - differences[low])

    return quantile(0.025), quantile(0.975)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_a_slow_loop(seed: int) -> None:
    generator = np.random.default_rng(100 + seed)
    sizes = generator.integers(0, 9, size=(2, 25))
    first = sample(*((float(generator.integers(0, n + 1)), float(n)) for n in sizes[0]))
    last = sample(*((float(generator.integers(0, n + 1)), float(n)) for n in sizes[1]))
    result = compare(first, last, resamples=300, seed=seed)
    assert (result.ci_low, result.ci_high) == pytest.approx(slow(first, last, 300, seed), abs=1e-12)
    assert result.first == pytest.approx(sum(a for a, _ in first.values()) / sizes[0].sum())
    assert result.diff == pytest.approx(result.last - result.first)  # type: ignore[operator]


def test_is_reproducible_and_blind_to_order() -> None:
    first, last = sample(*((i % 4, 4 + i) for i in range(12))), sample(*((i % 5, 5) for i in range(12)))
    turned = dict(reversed(list(last.items())))
    assert compare(first, last, seed=3) == compare(first, turned, seed=3)
    assert compare(first, last, seed=3) != compare(first, last, seed=4)


def test_a_constant_gain_has_no_spread() -> None:
    # Paired: prompts differ widely, the gain does not. Unpaired draws would give a wide interval.
    first = sample(*((i, 10) for i in range(9)))
    last = sample(*((i + 1, 10) for i in range(9)))
    result = compare(first, last)
    assert (result.diff, result.ci_low, result.ci_high) == pytest.approx((0.1, 0.1, 0.1))


def test_only_common_prompts_count() -> None:
    first = {"a": (1.0, 2.0), "b": (0.0, 2.0), "only first": (50.0, 50.0)}
    last = {"a": (2.0, 2.0), "b": (1.0, 2.0), "only last": (0.0, 50.0)}
    result = compare(first, last)
    assert (result.first, result.last, result.diff) == (0.25, 0.75, 0.5)


NOTHING = Comparison(None, None, None, None, None)


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        pytest.param({}, {}, NOTHING, id="no prompts"),
        pytest.param({"a": (1, 1)}, {"b": (1, 1)}, NOTHING, id="no common prompt"),
        pytest.param(
            sample((0, 0), (0, 0)), sample((1, 2), (1, 2)), Comparison(None, 0.5, None, None, None), id="first empty"
        ),
        pytest.param(
            sample((1, 2), (1, 2)), sample((0, 0), (0, 0)), Comparison(0.5, None, None, None, None), id="last empty"
        ),
        pytest.param(sample((1, 4)), sample((2, 4)), Comparison(0.25, 0.5, 0.25, None, None), id="one prompt"),
        pytest.param(
            sample((1, 2), *[(0, 0)] * 9),
            sample(*[(0, 0)] * 9, (2, 2)),
            Comparison(0.5, 1.0, 0.5, None, None),
            id="most resamples undefined",
        ),
        pytest.param(sample((0, 3), (0, 3)), sample((0, 3), (0, 3)), Comparison(0, 0, 0, 0, 0), id="never happens"),
    ],
)
def test_undefined_is_none(first: RatioSample, last: RatioSample, expected: Comparison) -> None:
    assert compare(first, last) == expected


@pytest.mark.parametrize(
    ("first", "options", "message"),
    [
        pytest.param(sample((float("nan"), 1)), {}, "finite", id="nan"),
        pytest.param(sample((1, -1)), {}, "denominators >= 0", id="negative"),
        pytest.param(sample((1, 1)), {"resamples": 0}, "resamples=0: need >= 1", id="no resamples"),
        pytest.param(sample((1, 1)), {"level": 95}, "level=95: need between 0 and 1", id="level in percent"),
    ],
)
def test_bad_input_is_refused(first: RatioSample, options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare(first, sample((1, 1)), **options)  # type: ignore[arg-type]


def test_drawing_in_parts_covers_every_resample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_DRAWS_AT_ONCE", 10)
    first = sample(*((i % 3, 3) for i in range(6)))
    last = sample(*((3 - i % 3, 3) for i in range(6)))
    counts = np.array([(*first[p], *last[p]) for p in sorted(first)], dtype=np.float64)
    differences = statistics._resampled_differences(counts, 57, 0)
    assert differences.shape == (57,)
    assert np.isfinite(differences).all()
    assert len(set(differences)) > 5


def test_covers_the_true_difference_in_about_95_of_100_runs() -> None:
    generator = np.random.default_rng(7)
    runs, prompts, samples, gain = 300, 60, 8, 0.15
    covered = excludes_zero = 0
    for run in range(runs):
        ease = generator.beta(1.0, 2.0, size=prompts) * (1 - gain)  # prompts differ widely
        first = generator.binomial(samples, ease)
        last = generator.binomial(samples, ease + gain)
        result = compare(
            sample(*((float(n), samples) for n in first)),
            sample(*((float(n), samples) for n in last)),
            resamples=400,
            seed=run,
        )
        assert result.ci_low is not None
        assert result.ci_high is not None
        covered += result.ci_low <= gain <= result.ci_high
        excludes_zero += result.ci_low > 0
    assert 0.91 <= covered / runs <= 0.985
    assert excludes_zero / runs > 0.95
