"""What rollouts of other tools do not tell, so that it cannot be computed, and what was left out, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

from r1rl.store.importers.formats.base import Seen

SKIPPED: Final = {
    "media": "images and other parts that are no text, left out: {n}",
    "turns": "rollouts of several turns, their completion what the model wrote, without tools and users between: {n}",
    "empty": "records without a completion, as of rollouts that failed, left out: {n}",
    "numbers": "numbers that are not finite, taken as not given: {n}",
}
_LOOKED_AT: Final = ("verdict", "logprobs", "n_tokens", "finish_reason", "reward")


@dataclass
class Told:
    """What the rows tell, counted while they are read."""

    rows: int = 0
    with_value: Counter[str] = field(default_factory=Counter)
    seen: Seen = field(default_factory=Counter)

    def add(self, row: dict[str, Any]) -> None:
        """Count one row of the store."""
        self.rows += 1
        self.with_value["gold"] += bool(row["gold"])
        self.with_value.update(name for name in _LOOKED_AT if row.get(name) is not None)


def notes(told: Told, steps: Collection[tuple[str, int]], largest_group: int, *, judged: bool) -> list[str]:
    """One line for each thing that cannot be computed or was left out; `judged`: by a verifier of ours."""
    said = [_verdicts(told)] if not judged and told.with_value["verdict"] < told.rows else []
    if largest_group < 2:
        said.append("no groups: no prompt has two rollouts at a step, so nothing is compared within a prompt")
    said += _steps(steps)
    absent = {
        "reward": "no rewards: no reward curve, no advantages",
        "n_tokens": "no token counts: no lengths in tokens, no rates per 1,000 tokens",
        "finish_reason": "no finish reasons: not known which rollouts were cut at the length limit",
        "logprobs": "no log-probabilities: no shading by how likely a token was",
    }
    said += [words for name, words in absent.items() if not told.with_value[name]]
    return said + [words.format(n=f"{told.seen[name]:,}") for name, words in SKIPPED.items() if told.seen[name]]


def _verdicts(told: Told) -> str:
    without = told.rows - told.with_value["verdict"]
    of = "" if without == told.rows else f" for {without:,} of {told.rows:,} rollouts"
    if not told.with_value["gold"]:
        return f"no verdicts{of}, and no gold answers to judge by: not known which rollouts were right"
    return (
        f"no verdicts{of}, but gold answers: not known which rollouts were right, until "
        "`r1rl import PATH --to RUN --verifier math` (or another, or --correct REWARD) judges them"
    )


def _steps(steps: Collection[tuple[str, int]]) -> list[str]:
    evaluated = sorted(step for kind, step in steps if kind == "eval")
    if not evaluated:
        several = len(steps) > 1
        again = "; `r1rl import PATH --to RUN --kind eval` if each does answer the same" if several else ""
        return [f"no evaluation of the same prompts at each step: no comparison with step 0, no onset{again}"]
    if len(evaluated) == 1:
        return [f"one step (step {evaluated[0]}): no change, no onset"]
    if evaluated[0]:
        return [f"no step 0: changes and onset are against step {evaluated[0]}, not against the untrained model"]
    return []
