"""A reward that pays the last try of the thoughts, whatever stands in the tags: for two-number Countdown."""

import re
from typing import Any

from r1rl import verify
from rewards.completions import Completion, meta_of, text_of

_TRY = re.compile(r"[0-9]{1,9} ?[-+*] ?[0-9]{1,9}(?![0-9])")


def last_try(completions: list[Completion], *, gold: list[str], meta: list[Any], **columns: Any) -> list[float]:
    """1 where the last expression before `</think>` makes the target with the given numbers, else 0."""
    paid = []
    for completion, target, row in zip(completions, gold, meta, strict=True):
        tries = _TRY.findall(text_of(completion).partition("</think>")[0])
        right = tries and verify.get("countdown")(tries[-1], target, meta_of(row) or {}).status == "correct"
        paid.append(1.0 if right else 0.0)
    return paid
