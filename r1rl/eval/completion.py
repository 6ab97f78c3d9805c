"""Does a model know a benchmark's questions by heart? It is given the beginning of each, and its rest is compared.

The partial-prompt completion test of Wu et al. 2025 (arXiv 2507.10532): greedy, from a share of the question's tokens
and no template. A model that has not seen a question seldom goes on with the very words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from r1rl.eval.local import LocalModel
from r1rl.rollout.sampling import Sampling
from r1rl.tasks import Row
from r1rl.tasks.overlap import words


@dataclass(frozen=True)
class Completed:
    """One question: whether the rest was written word by word, and how much of it in order (ROUGE-L, F1)."""

    prompt_id: str
    exact: bool
    rouge_l: float
    rest: str
    written: str


def complete(model: LocalModel, rows: Sequence[Row], share: float = 0.6) -> list[Completed]:
    """Every question of at least five tokens, completed from the first `share` of them.

    Raises ValueError for a share that leaves nothing to give or to compare.
    """
    if not 0 < share < 1:
        raise ValueError(f"share={share}: need more than 0, less than 1; the paper takes 0.4, 0.6 and 0.8")
    parts = []
    for row in rows:
        ids = list(model.tokenizer(row.question)["input_ids"])
        cut = round(share * len(ids))
        if len(ids) >= 5 and 0 < cut < len(ids):
            parts.append((row, ids[:cut], ids[cut:]))
    if not parts:
        return []
    longest = max(len(rest) for _, _, rest in parts)
    sampling = Sampling(temperature=0.0, max_completion_length=longest + longest // 4 + 1)
    written = {}
    model.engine.generate(
        model.model,
        [given for _, given, _ in parts],
        [0] * len(parts),
        sampling,
        lambda index, done: written.update({index: model.engine.text(done.token_ids)}),
    )
    return [_compared(row, model.engine.text(rest), written[index]) for index, (row, _, rest) in enumerate(parts)]


def _compared(row: Row, rest: str, written: str) -> Completed:
    wanted = words(rest)
    got = words(written)[: len(wanted)]  # it may go on for as long as it likes
    common = _longest_common(wanted, got)
    rouge = 2 * common / (len(wanted) + len(got)) if wanted and got else 0.0
    return Completed(row.prompt_id, bool(wanted) and got == wanted, rouge, rest, written)


def _longest_common(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest sequence of words that both hold in order."""
    row = [0] * (len(second) + 1)
    for word in first:
        before = 0
        for place, other in enumerate(second, 1):
            before, row[place] = row[place], before + 1 if word == other else max(row[place], row[place - 1])
    return row[-1]
