"""Rewards of control arms: what a policy learns from them, it has not learnt from being right.

A claim about a paid run holds only beside runs whose reward lacks what it is said to need (`r1rl study`). Chance here
is a counter: a toss depends on the seed, the optimizer step, the problem and which of its completions is meant, so a
resumed run repeats it, and the number of processes does not matter.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rewards.accuracy import Accuracy, reward_of
from rewards.completions import Completion, column, lengths


def tosses(
    purpose: str, seed: int, completions: Sequence[Completion], columns: dict[str, Any], *, reward: object
) -> list[float]:
    """One number in [0, 1) for each completion, from its counter alone; `columns` are those that TRL passes."""
    state, problems = columns.get("trainer_state"), columns.get("prompt_id")
    names = [""] * len(completions) if problems is None else column("prompt_id", problems, completions, reward=reward)
    step = 0 if state is None else state.global_step
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        text = f"{purpose}|{seed}|{step}|{name}|{seen[name]}"
        seen[name] += 1
        found.append(int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big") / 2**56)
    return found


class Random:
    """A coin toss: 1 with a fixed probability, else 0, whatever the completion says.

    Equation: r = [u < probability], u uniform in [0, 1) from the counter of this module. Range {0, 1}. Source: the
    random reward of Spurious Rewards, arXiv 2506.10947 section 2 (there 0.5).

    Args:
        probability: of 1.
        seed: another one tosses other coins.
    """

    def __init__(self, probability: float = 0.5, seed: int = 0) -> None:
        if not 0 < probability < 1:
            raise ValueError(f"probability={probability}: need more than 0 and less than 1; try 0.5")
        self.probability, self.seed = probability, seed

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        """One reward per completion, never None. Raises `ValueError` for a `prompt_id` of another length."""
        return [float(u < self.probability) for u in tosses("random", self.seed, completions, columns, reward=self)]


class Inverted:
    """1 for a wrong answer that could be read and judged, else 0; None if the gold is unusable.

    Equation: r = [verifier(extract(prefill + completion), gold) = wrong]. Range {0, 1, None}. A completion without an
    answer, one cut off before it, and one that cannot be judged in time earn nothing, so giving up does not pay.
    Source: the incorrect reward of Spurious Rewards, arXiv 2506.10947 section 2, which pays for one wrong label of the
    policy's own; here any answer that the verifier calls wrong is paid.

    Args:
        extraction: where the answer stands, as for `accuracy`.
    """

    def __init__(self, extraction: str = "answer-tag") -> None:
        self.accuracy = Accuracy(extraction)
        self.tags = self.accuracy.tags

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        """One reward per completion. Raises as `accuracy` does."""
        verdicts = self.accuracy.verdicts(completions, **columns)
        return [None if verdict.status == "bad_gold" else float(verdict.status == "wrong") for verdict in verdicts]


class LengthMatched:
    """The accuracy of another completion of the same length: pays for length as accuracy does, and for nothing else.

    Equation: the completions of a batch in order of their length in tokens, equal ones in random order; each two
    neighbours exchange their accuracy rewards (of an odd number the last three pass them round). So rewards and lengths
    are distributed together as under `accuracy`, and given its length a completion's reward does not depend on its own
    answer. One completion alone earns 0. Range {0, 1, None}; None where the gold is unusable. Source: the yoked control
    of learning experiments, as a permutation within strata of length; length is what rewards for correctness are
    confounded with (Demystifying Long CoT, arXiv 2502.03373).

    Args:
        extraction: where the answer stands, as for `accuracy`.
        seed: of the order among equal lengths.
    """

    def __init__(self, extraction: str = "answer-tag", seed: int = 0) -> None:
        self.accuracy, self.seed = Accuracy(extraction), seed
        self.tags = self.accuracy.tags

    def __call__(
        self, completions: Sequence[Completion], *, completion_ids: Any = None, **columns: Any
    ) -> list[float | None]:
        """One reward per completion. Raises `ValueError` without `completion_ids` and as `accuracy` does."""
        sizes = lengths(completion_ids, completions, reward=self)
        marks = [reward_of(verdict) for verdict in self.accuracy.verdicts(completions, **columns)]
        order = tosses("length-matched", self.seed, completions, columns, reward=self)
        ranked = sorted((i for i, mark in enumerate(marks) if mark is not None), key=lambda i: (sizes[i], order[i]))
        rewards: list[float | None] = [None if mark is None else 0.0 for mark in marks]
        for mine, others in exchanged(ranked):
            rewards[mine] = marks[others]
        return rewards


def exchanged(ranked: Sequence[int]) -> list[tuple[int, int]]:
    """(taker, giver): neighbours in pairs, of an odd number the last three in a ring; none for a single one."""
    if len(ranked) < 2:
        return []
    ends = len(ranked) - 3 * (len(ranked) % 2)
    pairs = [pair for i in range(0, ends, 2) for pair in ((ranked[i], ranked[i + 1]), (ranked[i + 1], ranked[i]))]
    ring = ranked[ends:]
    return pairs + [(ring[i], ring[i - 1]) for i in range(len(ring))]
