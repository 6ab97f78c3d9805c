"""Roles, as in Knights and Knaves: does the answer say who everybody is, "(1) Zoey is a knave (2) Leo is a knight"?

Order, numbering and punctuation do not count; everybody must be named once, and nothing else may be said: a text that
says more could hedge ("unless Zoey is a knave").
"""

import re
from typing import Any

from r1rl.verify.verdict import Verdict, clip, quote

MAX_CHARS = 2_000
"""Longest answer and longest gold, in characters."""

_CLAIM = re.compile(r"\b([^\W\d_][\w'’-]{0,60})\s{1,20}is\s{1,20}an?\s{1,20}([^\W\d_]{2,30})\b", re.IGNORECASE)
_SAYS_NOTHING = re.compile(r"[\s\d().,;:#\[\]\-–—]*")


def _roles(text: str) -> dict[str, str] | str:
    """Everybody's role, or why the text does not say it."""
    text = text.replace("*", "")  # bold type
    found: dict[str, str] = {}
    for name, role in _CLAIM.findall(text):
        if found.setdefault(name.casefold(), role.casefold()) != role.casefold():
            return f"{quote(name)} has two roles"
    if not found:
        return "no role"
    rest = re.sub(r"\band\b", " ", _CLAIM.sub(" ", text), flags=re.IGNORECASE)
    if not _SAYS_NOTHING.fullmatch(rest):
        return "says more than who is what"
    return found


def verify(answer: str, gold: str, meta: dict[str, Any]) -> Verdict:
    """Judge one answer; `meta` is not used, `value` is everybody's role by name. Never raises, linear in the text."""
    wanted = _roles(gold) if isinstance(gold, str) and len(gold) <= MAX_CHARS else "need a text of at most 2,000 signs"
    if isinstance(wanted, str):
        return Verdict("bad_gold", None, clip(f"gold: {wanted}"))
    if not isinstance(answer, str) or len(answer) > MAX_CHARS:
        return Verdict("unparseable", None, "no answer" if not isinstance(answer, str) else "too long")
    given = _roles(answer)
    if isinstance(given, str):
        return Verdict("unparseable", None, clip(given))
    value = clip(", ".join(f"{name}: {given[name]}" for name in sorted(given)))
    for name, role in wanted.items():
        if name not in given:
            return Verdict("wrong", value, clip(f"{quote(name)} is left out"))
        if given[name] != role:
            return Verdict("wrong", value, clip(f"{quote(name)} is no {quote(given[name])}"))
    for name in given:
        if name not in wanted:
            return Verdict("wrong", value, clip(f"{quote(name)} is nobody asked for"))
    return Verdict("correct", value, "")
