"""Two texts, token by token: what stayed, what went, what came."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Final, Literal, NamedTuple

LONGEST: Final = 3_000
"""Tokens of a text; comparing takes the product of both lengths at worst."""


class Change(NamedTuple):
    """A stretch of tokens."""

    kind: Literal["same", "gone", "new"]
    text: str


def changes(before: Sequence[str], after: Sequence[str]) -> list[Change] | None:
    """From one text to the next; None where they are too long to be compared while a reader waits.

    What both begin and end with is cut off first. White space before a token does not tell it from another.
    """
    start = 0
    while start < min(len(before), len(after)) and before[start] == after[start]:
        start += 1
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    old, new = before[start : len(before) - end], after[start : len(after) - end]
    if max(len(old), len(new)) > LONGEST:
        return None
    found = [Change("same", "".join(after[:start]))]
    matcher = SequenceMatcher(None, [one.strip() for one in old], [one.strip() for one in new], autojunk=False)
    for tag, i, j, k, m in matcher.get_opcodes():
        if tag == "equal":
            found.append(Change("same", "".join(new[k:m])))
            continue
        found += [Change("gone", "".join(old[i:j])), Change("new", "".join(new[k:m]))]
    found.append(Change("same", "".join(after[len(after) - end :])))
    return [change for change in found if change.text]
