"""Chats with an OpenAI-compatible endpoint for the judge; `r1rl.ground.endpoints` does the asking."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from r1rl.aha.judge.labels import visible
from r1rl.ground import api_keys
from r1rl.ground.endpoints import Ledger, Limits, Line
from r1rl.ground.requests import Address, NoReplyError

KEYS: Final = ("R1RL_JUDGE_KEY", "OPENAI_API_KEY")
"""Environment variables; the first that is set counts."""

_WHERE: Final = "see --model, and --url, which mostly ends in /v1"


@dataclass(frozen=True)
class Endpoint:
    """Where to ask whom, and how long.

    Args:
        url: the base, such as http://127.0.0.1:8000/v1.
        timeout_seconds: for one try.
        retries: further tries after overload or a failure, with growing pauses.
        parallel: chats at a time.

    Raises:
        ValueError: no endpoint could be asked with these.
    """

    url: str
    model: str
    max_tokens: int = 1000
    timeout_seconds: float = 120.0
    retries: int = 4
    parallel: int = 4

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens={self.max_tokens}: need >= 1")
        self.limits()
        Address(self.url.rstrip("/"))

    def limits(self) -> Limits:
        """As all endpoints have them."""
        return Limits(self.parallel, self.timeout_seconds, self.retries)


def api_key() -> str | None:
    """The key from the environment. Raises ValueError, without its value, for one that no header can hold."""
    return api_keys.from_environment(KEYS)


def ask_all(
    endpoint: Endpoint,
    chats: Sequence[Sequence[Mapping[str, str]]],
    answered: Callable[[int, str], None],
    unanswered: Callable[[int, str], None],
) -> None:
    """Ask every chat, in their order and `endpoint.parallel` at a time, and report each by its index as it comes.

    A reply that was cut off is none. Ctrl-C, or an exception from a report, ends the requests under way at once.
    Raises RunFailedError where the endpoint refuses key, model or address, or where as many chats in a row as go out
    at a time (at least 3) fail, all tries used up.
    """
    ledger = Ledger(endpoint.limits())
    line = Line(Address(endpoint.url.rstrip("/"), api_key()), endpoint.model, ledger, KEYS[0], where=_WHERE)

    def ask(index: int) -> tuple[str, bool]:
        content = {"messages": list(chats[index]), "temperature": 0, "max_tokens": endpoint.max_tokens}
        return line.send("/chat/completions", content, _read)

    def finished(index: int, reply: tuple[str, bool]) -> None:
        text, whole = reply
        if whole:
            answered(index, text)
        else:
            unanswered(index, f"cut off at {endpoint.max_tokens} tokens")

    line.each(range(len(chats)), ask, finished, lambda index, why: unanswered(index, visible(why)))


def _read(reply: Mapping[str, Any]) -> tuple[str, bool]:
    """The text of a chat completion, of which nothing is certain, and whether it was not cut off."""
    try:
        choice = reply["choices"][0]
        text, finish = choice["message"]["content"], choice.get("finish_reason")
    except (LookupError, TypeError, AttributeError):
        raise NoReplyError("HTTP 200, but no chat completion") from None
    return text if isinstance(text, str) else "", finish != "length"
