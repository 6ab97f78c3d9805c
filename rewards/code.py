"""1 for a program that passes the row's tests, or the share it passes; run in a sandbox, never outside one."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from r1rl.verify import Verdict, code
from r1rl.verify.extraction import extract
from r1rl.verify.sandbox import Limits
from rewards.completions import Completion, column, meta_of, with_prefill


class Code:
    """1 if the Python program inside <answer> passes all of the row's tests (or the share it passes); else 0.

    Range [0, 1]; None where the row's tests are unusable.

    Args:
        partial: pay passed / all tests, which can pay for guessing where few answers are possible; without it is R1's
            rule, all or nothing.
        timeout_seconds, cpu_seconds, memory_mib: the limits of one test.
        workers: programs that run at a time (default: this rank's share of the cores).

    Source: DeepSeek-R1, arXiv 2501.12948, section 2.2.2. What is run how, and what a program cannot forge, is in
    `r1rl.verify.code`. Raises `ValueError` for an option out of range and `SandboxError`, a `RuntimeError`, where
    there is no sandbox.
    """

    def __init__(
        self,
        *,
        partial: bool = False,
        timeout_seconds: float = code.LIMITS.wall_seconds,
        cpu_seconds: float = code.LIMITS.cpu_seconds,
        memory_mib: int = code.LIMITS.memory_bytes >> 20,
        workers: int | None = None,
    ) -> None:
        needed = {"timeout_seconds": (timeout_seconds, 0.1), "cpu_seconds": (cpu_seconds, 0.1)}
        needed |= {"memory_mib": (memory_mib, 64), "workers": (1 if workers is None else workers, 1)}
        for name, (value, least) in needed.items():
            if not least <= value <= 1e6:
                raise ValueError(f"{name}={value!r}: need a number of at least {least:g}; try leaving it out")
        code.require()
        self.partial = partial
        self.workers = workers
        self.limits = Limits(wall_seconds=timeout_seconds, cpu_seconds=cpu_seconds, memory_bytes=memory_mib << 20)

    def __call__(self, completions: Sequence[Completion], **columns: Any) -> list[float | None]:
        """One reward per completion; columns and failures as in `verdicts`."""
        return [self.reward_of(verdict) for verdict in self.verdicts(completions, **columns)]

    def reward_of(self, verdict: Verdict) -> float | None:
        """What a verdict of `verdicts` is worth."""
        if verdict.status == "bad_gold":
            return None
        if self.partial and verdict.value:
            return float(Fraction(verdict.value))
        return 1.0 if verdict.status == "correct" else 0.0

    def verdicts(
        self,
        completions: Sequence[Completion],
        *,
        meta: Sequence[str | dict[str, Any]] | None = None,
        prefill: Sequence[str | None] | None = None,
        **columns: Any,
    ) -> list[Verdict]:
        """One verdict per completion, in order; `meta` holds JSON strings or dicts with "tests".

        Raises `ValueError` for a missing or uneven column, `SandboxError` where there is no sandbox.
        """
        metas = column("meta", meta, completions, reward=self)
        texts = with_prefill(completions, prefill, reward=self)
        extracted = [extract(text) for text in texts]
        items = [(answer or "", "", meta_of(row) or {}) for (answer, _), row in zip(extracted, metas, strict=True)]
        verdicts = code.verify_many(items, limits=self.limits, workers=self.workers)
        return [
            Verdict("unparseable", None, reason) if reason and verdict.status != "bad_gold" else verdict
            for (_, reason), verdict in zip(extracted, verdicts, strict=True)
        ]
