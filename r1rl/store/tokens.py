"""Where a rollout's stored tokens lie in its text, by the tokenizer that the run's checkpoints carry."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LARGEST: Final = 64 * 2**20  # bytes of a tokenizer


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a completion: its span in characters, and its log-probability where that was kept."""

    start: int
    end: int
    logprob: float | None = None


def tokens_of(run: Path, row: dict[str, Any]) -> list[Token] | None:
    """The stored tokens of a rollout with their log-probabilities; None where they or their texts are not known."""
    ids, logprobs = row.get("token_ids"), row.get("logprobs")
    if not ids or (tokenizer := tokenizer_of(run)) is None:
        return None
    return aligned(tokenizer, row["completion"] or "", ids, logprobs)


def aligned(
    tokenizer: Tokenizer, text: str, ids: Sequence[int], logprobs: Sequence[float] | None
) -> list[Token] | None:
    """The spans of tokens in a text, None where they do not spell it.

    Special tokens are left out of a completion, and what follows a stop string is cut off. A token that ends inside a
    character belongs to the one that completes it.
    """
    from tokenizers.decoders import DecodeStream

    stream = DecodeStream(skip_special_tokens=True)
    found: list[Token] = []
    at, waiting = 0, 0.0
    known = bool(logprobs) and len(logprobs or ()) == len(ids)
    for i, number in enumerate(ids):
        try:
            piece = stream.step(tokenizer, number)
        except Exception:
            return None
        waiting += logprobs[i] if known and logprobs is not None else 0.0
        if not piece:
            continue
        if not text.startswith(piece, at):
            piece = piece.lstrip() if at == 0 and text.startswith(piece.lstrip()) else ""
        if not piece:
            break
        found.append(Token(at, at + len(piece), waiting if known else None))
        at, waiting = at + len(piece), 0.0
    return found if len(text) - at <= 0 or text[at:].isspace() else None


def tokenizer_of(run: Path) -> Tokenizer | None:
    """The tokenizer of the run's newest checkpoint; None where there is none, or none that can be read."""
    found = [path for path in run.glob("checkpoints/*/tokenizer.json") if path.stat().st_size <= _LARGEST]
    path = max(found, key=lambda path: path.stat().st_mtime_ns, default=None)
    return None if path is None else _loaded(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _loaded(path: Path, _time: int) -> Tokenizer | None:
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_file(str(path))
    except Exception:
        return None
