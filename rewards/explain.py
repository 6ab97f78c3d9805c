"""One completion under one reward: what it is paid, and why. What `r1rl rewards try` prints."""

import asyncio
import inspect
import json
from dataclasses import dataclass
from typing import Any

import rewards
from r1rl.verify import extraction
from r1rl.verify.verdict import clip
from rewards import returned
from rewards.completions import with_prefill


@dataclass(frozen=True)
class Explanation:
    """`value` is the reward, None where the row is left out; `facts` are (what, text) pairs in printable ASCII."""

    value: float | None
    facts: list[tuple[str, str]]


def explain(
    name: str,
    completion: str,
    *,
    gold: str = "",
    verifier: str = "math",
    meta: dict[str, Any] | None = None,
    prefill: str = "",
    question: str = "",
    tokens: int | None = None,
    options: dict[str, Any] | None = None,
) -> Explanation:
    """Pay `completion` by the reward `name` and say what it saw.

    Args:
        tokens: the completion's length in tokens, for rewards that need it; its words are counted if None.

    Raises:
        ValueError: an unknown reward or verifier, or options that do not fit.
    """
    reward = rewards.get(name, **(options or {}))
    columns: dict[str, list[Any]] = {
        "gold": [gold],
        "meta": [json.dumps(meta or {})],
        "verifier": [verifier],
        "prefill": [prefill],
        "question": [question],
        "completion_ids": [[0] * (len(completion.split()) if tokens is None else tokens)],
    }
    paid = asyncio.run(_finished(reward([completion], prompts=[question], **columns)))
    facts = []
    if policy := getattr(reward, "extraction", None):
        (text,) = with_prefill([completion], [prefill], reward=reward)
        answer, reason = extraction.get(policy)(text)
        facts.append(("extracted", reason if answer is None else clip(answer)))
    if verdicts := getattr(reward, "verdicts", None):
        (verdict,) = verdicts([completion], **columns)
        facts.append(("verdict", verdict.status))
        facts += [("read as", verdict.value)] if verdict.value is not None else []
        facts += [("reason", verdict.reason)] if verdict.reason else []
    if reasons := getattr(reward, "reasons", None):
        (reason,) = reasons([completion], **columns)
        facts.append(("reason", clip(reason) or "keeps the format"))
    (value,) = returned.values(reward.__name__, paid, 1)
    return Explanation(value, facts)


async def _finished(paid: Any) -> Any:
    """What a reward returned, awaited where it is a coroutine."""
    return await paid if inspect.isawaitable(paid) else paid
