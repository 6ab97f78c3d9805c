"""pass@k, maj@k and avg@k from n samples a question, their intervals, and two targets set side by side.

Each estimate of a question is the expectation over all subsets of k of its n samples, so it is unbiased for whoever
draws k samples afresh; the plug-in 1 - (1 - c/n)^k is biased low. Over questions it is a plain mean, and intervals draw
questions anew (the cluster bootstrap of `r1rl.aha.figures.bootstrap`).
Sources: Chen et al. 2021 (arXiv 2107.03374), pass@k; Wang et al. 2023 (arXiv 2203.11171), majority votes; Clopper and
Pearson (1934), the bound where every question says the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from r1rl.aha.figures import bootstrap
from r1rl.aha.figures.bootstrap import LEVEL, RESAMPLES, Array, Estimate

VOTE_DRAWS: Final = 20_000
"""Subsets drawn where counting all of them is too much: the standard error of a vote is then below 0.004."""

_MOST_WORK: Final = 5_000_000  # steps of the exact count of votes, about as many microseconds
_EXACT_SIGNS: Final = 14  # up to so many questions that differ, every choice of signs is tried
_SIGN_DRAWS: Final = 20_000


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The chance that k of these n samples, drawn without replacement, hold a correct one."""
    _check(n, k)
    if not 0 <= correct <= n:
        raise ValueError(f"correct={correct}: need 0 to n={n}")
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def naive_pass_at_k(n: int, correct: int, k: int) -> float:
    """The plug-in estimate 1 - (1 - c/n)^k, biased low; to show that it is."""
    _check(n, k)
    return 1.0 - (1.0 - correct / n) ** k


@dataclass(frozen=True, slots=True)
class Votes:
    """A question's samples as votes.

    Args:
        right: samples whose answer is correct; they vote for the same thing.
        wrong: size of each group of wrong answers that are equivalent, in any order.
        none: samples without an answer, which vote for nothing.
    """

    right: int
    wrong: tuple[int, ...] = ()
    none: int = 0

    @property
    def samples(self) -> int:
        """All of them."""
        return self.right + sum(self.wrong) + self.none


def maj_at_k(votes: Votes, k: int, *, seed: int = 0) -> float:
    """The chance that the most frequent answer among k samples, drawn without replacement, is right.

    A tie of m answers is won by each with 1/m; where nobody votes nothing is right. Exact, but for questions with very
    many samples, where VOTE_DRAWS subsets are drawn.
    """
    n = votes.samples
    _check(n, k)
    return _maj_at_k(votes.right, tuple(sorted(size for size in votes.wrong if size)), votes.none, k, seed)


@lru_cache(maxsize=100_000)
def _maj_at_k(right: int, wrong: tuple[int, ...], none: int, k: int, seed: int) -> float:
    n = right + sum(wrong) + none
    if right == 0:
        return 0.0
    if k == n:
        most = max(wrong, default=0)
        return 0.0 if right < most else 1.0 if right > most else 1.0 / (1 + wrong.count(most))
    if _work(right, wrong, k) > _MOST_WORK:
        return _drawn(right, wrong, none, k, seed)
    return float(_counted(right, wrong, none, k))


def _work(right: int, wrong: tuple[int, ...], k: int) -> int:
    """Steps of `_counted`, at most."""
    return sum(sum(size >= top for size in wrong) * (k // top + 1) * k * top for top in range(1, min(right, k) + 1))


def _counted(right: int, wrong: tuple[int, ...], none: int, k: int) -> Fraction:
    """Subsets by how often the right answer is in them: no other may be in more often, and those as often are ties."""
    total = Fraction(0)
    for top in range(1, min(right, k) + 1):
        others = k - top
        rivals = [size for size in wrong if size >= top]
        free = none + sum(size for size in wrong if size < top)  # they cannot reach `top`
        ways = {(0, 0): 1}  # (samples taken of rivals, rivals that tie) -> subsets
        for size in rivals:
            further: dict[tuple[int, int], int] = {}
            for (taken, ties), count in ways.items():
                for more in range(min(top, others - taken) + 1):
                    key = (taken + more, ties + (more == top))
                    further[key] = further.get(key, 0) + count * math.comb(size, more)
            ways = further
        won = sum(
            (Fraction(count * math.comb(free, others - taken), 1 + ties) for (taken, ties), count in ways.items()),
            Fraction(0),
        )
        total += math.comb(right, top) * won
    return total / math.comb(right + sum(wrong) + none, k)


def _drawn(right: int, wrong: tuple[int, ...], none: int, k: int, seed: int) -> float:
    generator = np.random.default_rng(seed)
    sizes = np.array([right, *wrong, none])
    drawn = generator.multivariate_hypergeometric(sizes, k, size=VOTE_DRAWS)[:, :-1]
    most = drawn.max(axis=1)
    wins = (drawn[:, 0] == most) & (most > 0)
    return float((wins / (drawn == most[:, None]).sum(axis=1)).mean())


def avg_at_k(correct: Sequence[bool], k: int) -> float:
    """The mean of the first k samples, as avg@k is published; for k = n the expectation of all smaller k too."""
    _check(len(correct), k)
    return sum(correct[:k]) / k


def powers_of_two(n: int) -> list[int]:
    """1, 2, 4 … up to n, and n itself."""
    return sorted({1 << power for power in range(n.bit_length())} | {n}) if n else []


def mean(values: Sequence[float], *, seed: int = 0, level: float = LEVEL) -> Estimate:
    """The mean over questions, with an interval for new questions of the same kind.

    Where every question has the same value of 0 or 1, drawing them anew says nothing: the interval then ends at the
    largest share of other questions that would still leave all of these alike in one of 40 evaluations.
    """
    if not values:
        return Estimate(None)
    counts = _counts([values])
    found = bootstrap.estimate(float(np.mean(values)), bootstrap.ratios(counts, _draws(len(values), seed))[:, 0], level)
    if found.value in (0.0, 1.0) and found.low is not None:
        reach = _unseen(len(values), level)
        return Estimate(found.value, 0.0, reach) if found.value == 0 else Estimate(found.value, 1 - reach, 1.0)
    return found


def _unseen(questions: int, level: float = LEVEL) -> float:
    """The largest share of questions of which so many would hold none in one of 40 evaluations."""
    return 1.0 - ((1 - level) / 2) ** (1 / questions)


@dataclass(frozen=True, slots=True)
class Difference:
    """Two targets on the same questions, the second less the first; `p` of "they are alike", None without questions."""

    questions: int
    estimate: Estimate
    p: float | None


def paired(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> Difference:
    """The mean difference of two targets' values, question by question.

    The interval draws questions anew; where no question differs it is that of `mean`, both ways. p is that of the
    permutation test, which swaps the targets question by question: the share of all choices of signs whose mean
    difference is as far from zero.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} values: need those of the same questions")
    if not first:
        return Difference(0, Estimate(None), None)
    differences = np.subtract(np.asarray(second, dtype=np.float64), np.asarray(first, dtype=np.float64))
    # Ratios of sums of the two apart: bootstrap's ratios need counts, a difference may be negative.
    drawn = _draws(len(differences), seed)
    both = bootstrap.ratios(_counts([first, second]), drawn)
    found = bootstrap.estimate(float(differences.mean()), both[:, 1] - both[:, 0])
    if found.low is not None and not np.any(np.abs(differences) > 1e-12):
        reach = _unseen(len(differences))
        found = Estimate(0.0, -reach, reach)
    return Difference(len(differences), found, _sign_p(differences, seed))


def _sign_p(differences: Array, seed: int) -> float:
    unlike = differences[np.abs(differences) > 1e-12]
    if len(unlike) == 0:
        return 1.0
    observed = abs(unlike.sum()) - 1e-9  # sums of the same numbers in another order differ by rounding
    if len(unlike) <= _EXACT_SIGNS:
        signs = 1 - 2 * ((np.arange(1 << len(unlike))[:, None] >> np.arange(len(unlike))) & 1)
        return float((np.abs(signs @ unlike) >= observed).mean())
    generator = np.random.default_rng(seed)
    signs = generator.choice(np.array([-1.0, 1.0]), size=(_SIGN_DRAWS, len(unlike)))
    return float((1 + (np.abs(signs @ unlike) >= observed).sum()) / (_SIGN_DRAWS + 1))


@lru_cache(maxsize=4)
def _draws(questions: int, seed: int) -> npt.NDArray[np.uint16]:
    return bootstrap.draws(questions, RESAMPLES, seed)


def _counts(columns: Sequence[Sequence[float]]) -> Array:
    """Values as numerators over ones, [questions, columns, 2], as the bootstrap takes them."""
    values = np.asarray(columns, dtype=np.float64).T
    return np.stack([values, np.ones_like(values)], axis=-1)


def _check(n: int, k: int) -> None:
    if not 1 <= k <= n:
        raise ValueError(f"k={k}: need 1 to n={n}, the samples of a question")
