"""The result of judging one answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Status = Literal["correct", "wrong", "unparseable", "timeout", "bad_gold"]

MAX_TEXT_CHARS = 200
"""Longest `reason` or `value` that a verdict carries, in characters."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verifier says about one answer.

    `value` is the answer's true value (or normal form) as a short string, None if it has none.
    `reason` is a short phrase for people and for counting, "" when correct. Both are printable ASCII,
    at most `MAX_TEXT_CHARS` long, whatever the model wrote: they go into Parquet, terminals and HTML.
    """

    status: Status
    value: str | None
    reason: str


OUTCOMES = ("correct", "wrong", "truncated", "no_answer", "unparseable", "timeout", "bad_gold")
"""Why a rollout was paid or not; every rollout has exactly one."""


def outcome(status: str, reason: str, finish_reason: str) -> str:
    """One of `OUTCOMES`: the verdict's status, with "unparseable" told apart by what was missing.

    `truncated` was cut at the cap before it had answered; `no_answer` ended by itself without an answer to judge.
    """
    if status != "unparseable":
        return status
    if finish_reason == "length":
        return "truncated"
    return "no_answer" if reason.startswith("no ") else "unparseable"


OUTCOME_SQL = (
    "CASE WHEN verdict <> 'unparseable' THEN verdict WHEN verdict IS NULL THEN NULL "
    "WHEN coalesce(finish_reason, '') = 'length' THEN 'truncated' "
    "WHEN starts_with(coalesce(verdict_reason, ''), 'no ') THEN 'no_answer' ELSE 'unparseable' END"
)
"""`outcome` for DuckDB, null where nobody judged."""

Verifier = Callable[[str, str, dict[str, Any]], Verdict]
"""`verify(answer, gold, meta) -> Verdict`; `gold` is always a string."""


def quote(text: str, max_chars: int = 20) -> str:
    """A short, quoted excerpt of model text in printable ASCII.

    Escapes lone surrogates and control characters: UTF-8 writers refuse the first, terminals obey the second.
    """
    shown = ascii(text[:max_chars])
    return shown if len(text) <= max_chars else f"{shown}..."


def clip(text: str, max_chars: int = MAX_TEXT_CHARS) -> str:
    """`text` as printable ASCII, cut to `max_chars` characters."""
    plain = text[: max_chars + 1]
    if not (plain.isascii() and plain.isprintable()):
        plain = ascii(plain)[1:-1]
    return plain if len(plain) <= max_chars else plain[: max_chars - 3] + "..."
