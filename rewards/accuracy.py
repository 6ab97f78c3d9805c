"""1 for a right answer: what the extraction policy finds in the completion, judged by the row's verifier."""

from collections.abc import Sequence
from typing import Any

from r1rl import verify
from r1rl.verify import Verdict
from r1rl.verify import extraction as policies
from rewards.completions import Completion, column, meta_of, with_prefill


def reward_of(verdict: Verdict) -> float | None:
    """1.0 if correct, None if the gold cannot be used (the row is left out), else 0.0."""
    if verdict.status == "bad_gold":
        return None
    return 1.0 if verdict.status == "correct" else 0.0


class Accuracy:
    """1 if the row's verifier finds the extracted answer correct, else 0; None if the gold is unusable.

    Equation: r = [verifier(extract(prefill + completion), gold) = correct]. Range {0, 1, None}.
    Source: the accuracy reward of R1-Zero, arXiv 2501.12948 section 2.2.2.

    Args:
        extraction: where the answer stands, a policy of `r1rl.verify.extraction`: `answer-tag`, `boxed`,
            `boxed-in-answer` or `last-number`.
    """

    def __init__(self, extraction: str = "answer-tag") -> None:
        policies.get(extraction)  # a wrong name raises at once
        self.extraction = extraction
        self.tags = (policies.OPEN, policies.CLOSE) if "answer" in extraction else ()

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
        golds = column("gold", gold, completions, reward=self)
        metas = column("meta", meta, completions, reward=self)
        verifiers = column("verifier", verifier, completions, reward=self)
        texts = with_prefill(completions, prefill, reward=self)
        extract = policies.get(self.extraction)
        verdicts: dict[int, Verdict] = {}
        batches: dict[str, dict[int, tuple[str, str, dict[str, Any]]]] = {name: {} for name in verifiers}
        for name in batches:
            verify.get(name)  # an unknown verifier raises even where no row reaches it
        unanswered: dict[int, str] = {}  # row -> why there is no answer
        for index, text in enumerate(texts):
            row_meta = meta_of(metas[index])
            if row_meta is None:
                verdicts[index] = Verdict("bad_gold", None, "meta is not a JSON object")
                continue
            answer, reason = extract(text)
            if answer is None:
                unanswered[index] = reason
            batches[verifiers[index]][index] = (answer or "", golds[index], row_meta)
        for name, batch in batches.items():
            verdicts.update(zip(batch, verify.verify_many(name, list(batch.values())), strict=True))
        for index, reason in unanswered.items():
            # the verifier was asked all the same: a row with unusable gold is `bad_gold` whatever the completion
            if verdicts[index].status != "bad_gold":
                verdicts[index] = Verdict("unparseable", None, reason)
        return [verdicts[index] for index in range(len(texts))]
