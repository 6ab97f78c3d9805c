"""1 for a right answer: the content of the completion's only <answer> pair, judged by the row's verifier."""

import json
from collections.abc import Sequence
from typing import Any

from r1rl import verify
from r1rl.verify import Verdict
from r1rl.verify.extraction import extract
from rewards.completions import Completion, column, with_prefill


def reward_of(verdict: Verdict) -> float | None:
    """1.0 if correct, None if the gold cannot be used (the row is left out), else 0.0."""
    if verdict.status == "bad_gold":
        return None
    return 1.0 if verdict.status == "correct" else 0.0


class Accuracy:
    """1 if the row's verifier finds the content of <answer> correct, else 0; None if the gold is unusable."""

    __name__ = "accuracy"

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        """One reward per completion; columns and failures as in `verdicts`."""
        return [reward_of(verdict) for verdict in self.verdicts(completions, **columns)]

    def verdicts(
        self,
        completions: Sequence[Completion],
        *,
        gold: Sequence[str] | None = None,
        meta: Sequence[str | dict[str, Any]] | None = None,
        verifier: Sequence[str] | None = None,
        prefill: Sequence[str | None] | None = None,
        **columns: Any,
    ) -> list[Verdict]:
        """One verdict per completion, in order; `meta` holds JSON strings or dicts.

        Raises `ValueError` for a missing or uneven column and for an unknown verifier. A row whose `meta` is
        no JSON object is `bad_gold`.
        """
        golds = column("gold", gold, completions, reward=self.__name__)
        metas = column("meta", meta, completions, reward=self.__name__)
        verifiers = column("verifier", verifier, completions, reward=self.__name__)
        texts = with_prefill(completions, prefill, reward=self.__name__)
        verdicts: dict[int, Verdict] = {}
        batches: dict[str, dict[int, tuple[str, str, dict[str, Any]]]] = {name: {} for name in verifiers}
        for name in batches:
            verify.get(name)  # an unknown verifier raises even where no completion reaches it
        for index, text in enumerate(texts):
            row_meta = _as_dict(metas[index])
            answer, reason = extract(text)
            if row_meta is None:
                verdicts[index] = Verdict("bad_gold", None, "meta is not a JSON object")
            elif answer is None:
                verdicts[index] = _unanswered(verifiers[index], golds[index], row_meta, reason)
            else:
                batches[verifiers[index]][index] = (answer, golds[index], row_meta)
        for name, batch in batches.items():
            verdicts.update(zip(batch, verify.verify_many(name, list(batch.values())), strict=True))
        return [verdicts[index] for index in range(len(texts))]


def _unanswered(verifier: str, gold: str, meta: dict[str, Any], reason: str) -> Verdict:
    """The verdict without an answer: a row with unusable gold is `bad_gold` whatever the completion."""
    verdict = verify.get(verifier)("", gold, meta)
    return verdict if verdict.status == "bad_gold" else Verdict("unparseable", None, reason)


def _as_dict(meta: str | dict[str, Any]) -> dict[str, Any] | None:
    if isinstance(meta, str):
        try:
            meta = json.loads(meta)
        except ValueError:
            return None
    return meta if isinstance(meta, dict) else None
