"""The samples of one target and step in its run folder: graded and stored as they come, none twice.

A row is one of the rollout store with `kind = eval`. Shards are numbered by `rank`, one each time that samples are put
away, so that a process killed at any moment loses only what came since.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from r1rl.eval.protocol import Answerer, Ask, Reply
from r1rl.ground.errors import RecipeError
from r1rl.rollout.engine import Completion
from r1rl.rollout.sampling import Sampling, row_key
from r1rl.store import records, store
from rewards.accuracy import Accuracy

PUT_AWAY_SECONDS: Final = 15.0
PUT_AWAY_SAMPLES: Final = 512


@dataclass
class Samples:
    """What is stored of one target's step, and what is on its way there.

    Args:
        path: the target's run folder.
        step: updates that the policy had; 0 where the target is no run.
        rows: the questions as `tasks.dataset` makes them, in the target's prompts.
        answerer: who is asked.
        count: samples per question.
        seed: of their draws.
    """

    path: Path
    step: int
    rows: Sequence[Mapping[str, Any]]
    answerer: Answerer
    count: int
    seed: int
    _waiting: list[tuple[Ask, Reply]] = field(default_factory=list, init=False)
    _since: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._accuracy = Accuracy(self.answerer.extraction)
        self._next = 1 + max((shard.rank for shard in self._shards()), default=-1)

    def missing(self) -> list[Ask]:
        """Samples that are not stored yet, a question's together.

        Raises:
            RecipeError: what is stored answers other questions, or other prompts.
        """
        there = self._stored()
        return [
            Ask(row, number, sample, row_key(self.seed, "eval", row["prompt_id"], sample))
            for number, row in enumerate(self.rows)
            for sample in range(self.count)
            if (row["prompt_id"], sample) not in there
        ]

    def add(self, ask: Ask, reply: Reply) -> None:
        """Take a sample; put all of them away where there are many, or the first has waited for some seconds."""
        self._since = self._since if self._waiting else time.monotonic()
        self._waiting.append((ask, reply))
        if len(self._waiting) >= PUT_AWAY_SAMPLES or time.monotonic() - self._since > PUT_AWAY_SECONDS:
            self.put_away()

    def put_away(self) -> None:
        """Grade and store what has come."""
        if not self._waiting:
            return
        asks, replies = zip(*self._waiting, strict=True)
        inputs = [dict(ask.row) for ask in asks]
        texts = [reply.text for reply in replies]
        columns = {key: [row[key] for row in inputs] for key in ("gold", "meta", "verifier", "prefill")}
        who = self.answerer
        rows = records.rows(
            records.Origin(self.path.name, "eval", self.step, policy_step=self.step, rank=self._next),
            inputs,
            [Completion(reply.token_ids or [], reply.logprobs or [], reply.finish_reason) for reply in replies],
            texts,
            self._accuracy.verdicts(texts, **columns),
            Sampling(who.temperature, who.top_p, max_completion_length=who.length),
            samples_per_prompt=1,
        )
        for row, ask, reply in zip(rows, asks, replies, strict=True):
            row |= {"sample_idx": ask.sample, "group_id": f"eval-{self.step}-{ask.number}", "n_tokens": reply.n_tokens}
            row |= {"token_ids": reply.token_ids, "logprobs": reply.logprobs}
        # An endpoint need not say how many tokens it wrote.
        store.write_shard(self.path, rows, kind="eval", step=self.step, rank=self._next, imported=True)
        self._next += 1
        self._waiting.clear()

    def _shards(self) -> list[Any]:
        return store.shards(self.path, kind="eval", steps=[self.step]) if (self.path / "rollouts").is_dir() else []

    def _stored(self) -> set[tuple[str, int]]:
        if not self._shards():
            return set()
        columns = ["prompt_id", "sample_idx", "prompt", "gold"]
        table = store.read(self.path, kind="eval", steps=[self.step], columns=columns)
        asked = {row["prompt_id"]: (row["prompt"], row["gold"]) for row in self.rows}
        found = set()
        for prompt_id, sample, prompt, gold in zip(*(table.column(name).to_pylist() for name in columns), strict=True):
            if prompt_id in asked and asked[prompt_id] != (prompt, gold):
                raise RecipeError(
                    f"{self.path}: question {prompt_id!r} was asked in other words, or has another gold answer; the "
                    "data or the prompt has changed since, so give another --name"
                )
            found.add((prompt_id, sample))
        return found
