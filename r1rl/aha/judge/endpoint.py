"""Chats with an OpenAI-compatible endpoint, several at a time, by the package `openai`: its retries, its errors.

A wrong key, model or address ends everything at once. The key comes from the environment and leaves it only in the
header of a request.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from r1rl.aha.judge.cache import Answer
from r1rl.aha.judge.labels import MAX_REPLY_CHARACTERS, visible

if TYPE_CHECKING:
    import openai

KEYS: Final = ("R1RL_JUDGE_KEY", "OPENAI_API_KEY")
"""Environment variables; the first that is set counts."""

_SHOWN_CHARACTERS: Final = 300
_LONGEST_PAUSE_SECONDS: Final = 60.0  # of the client between two tries
_REFUSED: Final = {
    401: f"it wants another key; set {KEYS[0]}",
    403: f"the key may not do this; set {KEYS[0]}",
    404: "no such model or address; see --model, and --url, which mostly ends in /v1",
    405: "this address takes no chats; see --url, which mostly ends in /v1",
}


class EndpointError(Exception):
    """The endpoint will answer nothing."""


class _NoCompletionError(Exception):
    """A reply is something else."""


@dataclass(frozen=True)
class Endpoint:
    """Where to ask whom, and how long.

    Args:
        url: the base, such as http://127.0.0.1:8000/v1.
        timeout_seconds: for one try.
        retries: further tries after overload or a failure, with growing pauses.
        parallel: chats at a time.

    Raises:
        ValueError: no endpoint could be asked with these, or the package `openai` is missing.
    """

    url: str
    model: str
    max_tokens: int = 1000
    timeout_seconds: float = 120.0
    retries: int = 4
    parallel: int = 4

    def __post_init__(self) -> None:
        try:
            import openai  # noqa: F401
        except ImportError:
            raise ValueError("the judge needs the package openai; install it with pip install 'r1rl[judge]'") from None
        parts = urlsplit(self.url)
        if "@" in parts.netloc:  # said without the url, which holds a password
            raise ValueError(f"url: holds a user or password; leave it out and set {KEYS[0]} to the key")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url={visible(self.url)!r}: need an address as in http://127.0.0.1:8000/v1")
        if parts.query or parts.fragment or parts.path.rstrip("/").endswith("/completions"):
            raise ValueError(f"url={visible(self.url)!r}: need the base alone, as in http://127.0.0.1:8000/v1")
        for name, least in (("max_tokens", 1), ("retries", 0), ("parallel", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: need >= {least}")
        if not 0 < self.timeout_seconds <= 86_400:
            raise ValueError(f"timeout={self.timeout_seconds}: need seconds above 0; try 120")


def api_key() -> str | None:
    """The key from the environment. Raises ValueError, without its value, for one that no header can hold."""
    for name in KEYS:
        if value := os.environ.get(name, "").strip():
            if not re.fullmatch(r"[!-~]+", value):
                raise ValueError(f"{name}: holds a blank or a character that no key has; set it anew")
            return value
    return None


def ask_all(
    endpoint: Endpoint,
    chats: Sequence[Sequence[Mapping[str, str]]],
    answered: Callable[[int, Answer], None],
    unanswered: Callable[[int, str], None],
) -> None:
    """Ask every chat, in their order and `endpoint.parallel` at a time, and report each by its index as it comes.

    Ctrl-C, or an exception from a report, ends the requests under way at once.
    Raises EndpointError where the endpoint refuses key, model or address, or where as many chats in a row as go out at
    a time (at least 3) fail, all tries used up.
    """
    import openai

    waiting = iter(enumerate(chats))
    in_a_row = 0
    key = api_key()
    # The client's limit is between two pieces of a reply: a server that drips would never be late.
    longest = endpoint.timeout_seconds + (endpoint.timeout_seconds + _LONGEST_PAUSE_SECONDS) * endpoint.retries

    async def worker(client: openai.AsyncOpenAI) -> None:
        nonlocal in_a_row
        for index, chat in waiting:
            asked = client.chat.completions.create(
                model=endpoint.model,
                messages=list(chat),  # type: ignore[arg-type]
                temperature=0,
                max_tokens=endpoint.max_tokens,
                extra_headers={"Authorization": openai.Omit()} if key is None else {},
            )
            try:
                answer = _answer(await asyncio.wait_for(asked, longest), endpoint.max_tokens)
            except (openai.APIError, asyncio.TimeoutError, TimeoutError, _NoCompletionError) as error:
                status = getattr(error, "status_code", None)
                said = _said(error, endpoint.timeout_seconds)
                unanswered(index, said)
                if status in _REFUSED:
                    raise EndpointError(f"{said} ({_REFUSED[status]})") from None
                # What is refused for itself, as too long, says nothing of the next one.
                in_a_row += status is None or status in (408, 409, 429) or status >= 500
                if in_a_row >= max(3, endpoint.parallel):
                    raise EndpointError(f"{in_a_row} chats in a row got no answer, the last one: {said}") from None
            else:
                in_a_row = 0
                answered(index, answer)

    async def work() -> None:
        async with openai.AsyncOpenAI(
            base_url=endpoint.url,
            api_key=key or "none",
            timeout=endpoint.timeout_seconds,
            max_retries=endpoint.retries,
        ) as client:
            await asyncio.gather(*(worker(client) for _ in range(endpoint.parallel)))

    asyncio.run(work())  # where one worker fails, it cancels the others


def _answer(reply: Any, max_tokens: int) -> Answer:
    """The first choice of a chat completion, of which the client has checked nothing."""
    try:
        choice = reply.choices[0]
        text, finish = choice.message.content, choice.finish_reason
    except (LookupError, TypeError, AttributeError):
        raise _NoCompletionError("HTTP 200, but no chat completion") from None
    # A longer text is of no use, and one character more says that it is.
    shortened = text[: MAX_REPLY_CHARACTERS + 1] if isinstance(text, str) else ""
    return Answer(shortened, max_tokens if finish == "length" else 0)


def _said(error: Exception, timeout_seconds: float) -> str:
    """Why a chat got no answer."""
    import openai

    if isinstance(error, openai.APITimeoutError | asyncio.TimeoutError | TimeoutError):
        return f"no reply within {timeout_seconds:g} s"
    if isinstance(error, openai.APIStatusError):
        message = error.body.get("message") if isinstance(error.body, dict) else error.body
        return f"HTTP {error.status_code}: {_shown(message)}"
    return _shown(error.__cause__ or error)


def _shown(said: object) -> str:
    """A stranger's text, short, in one line and without the key, should it be repeated there."""
    text = "" if said is None else str(said)
    if (key := api_key()) is not None:
        text = text.replace(key, "…")
    return visible(text[:_SHOWN_CHARACTERS]).strip() or "nothing said"
