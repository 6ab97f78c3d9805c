"""pass@k, maj@k and avg@k against brute force over all subsets and closed forms; intervals and paired tests."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from r1rl.eval import estimates
from r1rl.eval.estimates import Votes

RANDOM = np.random.default_rng(20240607)


def subsets(n, k):
    return list(itertools.combinations(range(n), k))


def vote(labels):
    """What the majority of these samples earns: 0 is right, None no answer; ties are split."""
    counts = Counter(label for label in labels if label is not None)
    if not counts:
        return 0.0
    most = max(counts.values())
    winners = [label for label, count in counts.items() if count == most]
    return (0 in winners) / len(winners)


def votes_of(labels):
    counts = Counter(label for label in labels if label not in (0, None))
    return Votes(sum(label == 0 for label in labels), tuple(counts.values()), sum(label is None for label in labels))


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_pass_at_k_is_the_mean_over_all_subsets(n) -> None:
    for row in RANDOM.integers(0, 2, size=(12, n)).astype(bool):
        for k in range(1, n + 1):
            brute = np.mean([row[list(chosen)].any() for chosen in subsets(n, k)])
            assert estimates.pass_at_k(n, int(row.sum()), k) == pytest.approx(brute, abs=1e-12)


@pytest.mark.parametrize(
    ("n", "correct", "k", "expected"),
    [
        pytest.param(10, 0, 10, 0.0, id="nothing is right"),
        pytest.param(10, 10, 1, 1.0, id="everything is right"),
        pytest.param(10, 1, 4, 0.4, id="one right sample is in k of n subsets"),
        pytest.param(10, 8, 3, 1.0, id="fewer wrong ones than k"),
        pytest.param(16, 5, 1, 5 / 16, id="pass@1 is the mean"),
        pytest.param(1000, 1, 999, 0.999, id="large n stays exact"),
    ],
)
def test_closed_forms_of_pass_at_k(n, correct, k, expected) -> None:
    assert estimates.pass_at_k(n, correct, k) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [3, 6, 9])
def test_maj_at_k_is_the_mean_over_all_subsets(n) -> None:
    for _ in range(15):
        labels = [None if label == 4 else int(label) for label in RANDOM.integers(0, 5, size=n)]
        for k in range(1, n + 1):
            brute = np.mean([vote([labels[i] for i in chosen]) for chosen in subsets(n, k)])
            assert estimates.maj_at_k(votes_of(labels), k) == pytest.approx(brute, abs=1e-12), (labels, k)


@pytest.mark.parametrize(
    ("votes", "k", "expected"),
    [
        pytest.param(Votes(2, (2,)), 4, 0.5, id="a tie of two is split"),
        pytest.param(Votes(1, (1, 1)), 3, 1 / 3, id="a tie of three is split"),
        pytest.param(Votes(1, (), 3), 4, 1.0, id="who gives no answer does not vote"),
        pytest.param(Votes(1, (), 3), 1, 0.25, id="but may be drawn"),
        pytest.param(Votes(0, (3,), 1), 2, 0.0, id="nobody is right"),
        pytest.param(Votes(3, (2, 2), 0), 1, 3 / 7, id="maj@1 is pass@1"),
        pytest.param(Votes(5, (1, 1, 1, 1)), 9, 1.0, id="the largest group wins at k = n"),
    ],
)
def test_closed_forms_of_maj_at_k(votes, k, expected) -> None:
    assert estimates.maj_at_k(votes, k) == pytest.approx(expected, abs=1e-12)


def test_two_answers_vote_as_the_hypergeometric_says() -> None:
    right, wrong, k = 30, 34, 15
    total = math.comb(right + wrong, k)
    expected = sum(math.comb(right, i) * math.comb(wrong, k - i) for i in range(8, k + 1)) / total
    assert estimates.maj_at_k(Votes(right, (wrong,)), k) == pytest.approx(expected, abs=1e-12)


def test_very_many_samples_are_drawn_near_the_exact_value_and_always_the_same(monkeypatch) -> None:
    votes = Votes(20, (18, 9, 5), 12)
    exact = estimates.maj_at_k(votes, 16)
    monkeypatch.setattr(estimates, "_MOST_WORK", 0)
    estimates._maj_at_k.cache_clear()
    first = estimates.maj_at_k(votes, 16)
    estimates._maj_at_k.cache_clear()
    assert first == estimates.maj_at_k(votes, 16) != exact
    assert first == pytest.approx(exact, abs=4 * 0.5 / math.sqrt(estimates.VOTE_DRAWS))
    estimates._maj_at_k.cache_clear()


def test_the_plug_in_estimate_is_biased_low_and_ours_is_not() -> None:
    """Over every possible number of right samples, weighted by its chance: expectations, not a simulation."""
    n, k, p = 16, 8, 0.1
    truth = 1 - (1 - p) ** k
    chances = [math.comb(n, c) * p**c * (1 - p) ** (n - c) for c in range(n + 1)]
    ours = sum(chance * estimates.pass_at_k(n, c, k) for c, chance in enumerate(chances))
    naive = sum(chance * estimates.naive_pass_at_k(n, c, k) for c, chance in enumerate(chances))
    assert ours == pytest.approx(truth, abs=1e-12)
    assert naive < truth - 0.02


def test_avg_at_k_is_the_mean_of_the_first() -> None:
    row = [True, False, False, True]
    assert [estimates.avg_at_k(row, k) for k in (1, 2, 4)] == [1.0, 0.5, 0.5]
    every = [estimates.avg_at_k([row[i] for i in chosen], 2) for chosen in subsets(4, 2)]
    assert np.mean(every) == estimates.avg_at_k(row, 4)


@pytest.mark.parametrize("k", [0, 5, -1])
def test_more_samples_than_there_are_is_an_error(k) -> None:
    with pytest.raises(ValueError, match=f"k={k}: need 1 to n=4"):
        estimates.pass_at_k(4, 2, k)
    with pytest.raises(ValueError, match=f"k={k}: need 1 to n=4"):
        estimates.maj_at_k(Votes(2, (2,)), k)


def test_powers_of_two() -> None:
    assert [estimates.powers_of_two(n) for n in (0, 1, 6, 8)] == [[], [1], [1, 2, 4, 6], [1, 2, 4, 8]]


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    """Questions of many difficulties, few samples each: clusters matter, and 95 % is what comes out."""
    generator = np.random.default_rng(5)
    inside, trials = 0, 200
    for trial in range(trials):
        skill = generator.beta(0.7, 0.9, size=60)
        values = generator.binomial(4, skill) / 4
        found = estimates.mean(values.tolist(), seed=trial % 3)
        inside += found.low <= 0.7 / 1.6 <= found.high
    assert inside / trials == pytest.approx(0.94, abs=0.045)


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        pytest.param(0.0, 0.0, 1 - 0.025 ** (1 / 50), id="no question: at most seven in a hundred"),
        pytest.param(1.0, 0.025 ** (1 / 50), 1.0, id="every question"),
    ],
)
def test_where_every_question_says_the_same_there_is_an_interval_all_the_same(value, low, high) -> None:
    found = estimates.mean([value] * 50)
    assert (found.value, found.low, found.high) == pytest.approx((value, low, high))


def test_few_questions_have_no_interval() -> None:
    found = estimates.mean([0.0, 1.0, 0.5])
    assert (found.value, found.low) == (0.5, None)
    assert estimates.mean([]).value is None


def test_the_permutation_test_is_exact_for_few_questions() -> None:
    """Five questions, all better by the same: only two of the 32 choices of signs are as extreme."""
    found = estimates.paired([0.0] * 5, [0.5] * 5)
    assert (found.p, found.estimate.value) == (2 / 32, 0.5)
    assert estimates.paired([0.25] * 8, [0.25] * 8).p == 1.0


def test_the_permutation_test_rejects_as_often_as_it_says_under_no_difference() -> None:
    generator = np.random.default_rng(3)
    p_values = []
    for trial in range(200):
        skill = generator.beta(1, 1, size=40)
        first, second = (generator.binomial(4, skill) / 4 for _ in range(2))
        p_values.append(estimates.paired(first.tolist(), second.tolist(), seed=trial % 2).p)
    assert np.mean(np.array(p_values) < 0.1) == pytest.approx(0.1, abs=0.05)


def test_pairing_sees_what_apart_is_noise() -> None:
    """Hard and easy questions differ by far more than the targets do, on each by a little."""
    generator = np.random.default_rng(8)
    first = generator.choice([0.0, 0.25, 0.5, 0.75], size=60)
    second = first + 0.25 * generator.integers(0, 2, size=60)
    apart = estimates.mean(first.tolist()), estimates.mean(second.tolist())
    found = estimates.paired(first.tolist(), second.tolist())
    assert apart[0].high > apart[1].low, "the intervals overlap"
    assert found.estimate.low > 0
    assert found.p < 0.001


def test_where_no_question_differs_others_might() -> None:
    found = estimates.paired([1.0] * 50, [1.0] * 50)
    reach = 1 - 0.025 ** (1 / 50)
    assert (found.estimate.low, found.estimate.high) == pytest.approx((-reach, reach))


def test_pairs_need_the_same_questions() -> None:
    with pytest.raises(ValueError, match="3 and 2 values"):
        estimates.paired([1.0, 0.0, 1.0], [1.0, 0.0])
