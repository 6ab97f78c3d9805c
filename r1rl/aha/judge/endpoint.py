"""Chats with an OpenAI-compatible endpoint, several at a time, by the package `openai`: its retries, its errors.

A wrong key, model or address ends everything at once. The key comes from the environment and leaves it only in the
header of a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from r1rl.aha.judge.labels import visible
from r1rl.ground import api_keys

if TYPE_CHECKING:
    import openai

KEYS: Final = ("R1RL_JUDGE_KEY", "OPENAI_API_KEY")
"""Environment variables; the first that is set counts."""

_SHOWN_CHARACTERS: Final = 300
_LONGEST_PAUSE_SECONDS: Final = 60.0  # of the client between two tries
_KEY: Final = f"see the key in {KEYS[0]}"
_ADDRESS: Final = "see --model, and --url, which mostly ends in /v1"
_REFUSED: Final = {401: _KEY, 403: _KEY, 404: _ADDRESS, 405: _ADDRESS}


class EndpointError(Exception):
    """The endpoint will answer nothing."""


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
            raise ValueError(f"url={visible(self.url)!r}: need a base as http://127.0.0.1:8000/v1")
        for name, least in (("max_tokens", 1), ("retries", 0), ("parallel", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: need >= {least}")
        if not 0 < self.timeout_seconds <= 86_400:
            raise ValueError(f"timeout={self.timeout_seconds}: need seconds above 0; try 120")


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
    Raises EndpointError where the endpoint refuses key, model or address, or where as many chats in a row as go out at
    a time (at least 3) fail, all tries used up.
    """
    import openai

    waiting, in_a_row, key = iter(enumerate(chats)), 0, api_key()
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
                reply, whole = _read(await asyncio.wait_for(asked, longest))
            except (openai.APIError, asyncio.TimeoutError, TimeoutError, ValueError) as error:
                status = getattr(error, "status_code", None)
                said = _said(error, endpoint.timeout_seconds)
                unanswered(index, said)
                if status in _REFUSED:
                    raise EndpointError(f"{said} ({_REFUSED[status]})") from None
                # What is refused for itself, as too long, says nothing of the next one.
                in_a_row += status is None or status in (408, 409, 429) or status >= 500
                if in_a_row >= max(3, endpoint.parallel):
                    raise EndpointError(f"{in_a_row} chats in a row got no answer, the last one: {said}") from None
                continue
            in_a_row = 0
            if whole:
                answered(index, reply)
            else:
                unanswered(index, f"cut off at {endpoint.max_tokens} tokens")

    async def work() -> None:
        limits: dict[str, Any] = {"timeout": endpoint.timeout_seconds, "max_retries": endpoint.retries}
        async with openai.AsyncOpenAI(base_url=endpoint.url, api_key=key or "none", **limits) as client:
            await asyncio.gather(*(worker(client) for _ in range(endpoint.parallel)))

    asyncio.run(work())  # where one worker fails, it cancels the others


def _read(reply: Any) -> tuple[str, bool]:
    """The text of a chat completion, of which the client has checked nothing, and whether it was not cut off."""
    try:
        choice = reply.choices[0]
        text, finish = choice.message.content, choice.finish_reason
    except (LookupError, TypeError, AttributeError):
        raise ValueError("HTTP 200, but no chat completion") from None
    return text if isinstance(text, str) else "", finish != "length"


def _said(error: Exception, timeout_seconds: float) -> str:
    """Why a chat got no answer: short, in one line and without the key, should a stranger's text repeat it."""
    import openai

    if isinstance(error, openai.APITimeoutError | asyncio.TimeoutError | TimeoutError):
        return f"no reply within {timeout_seconds:g} s"
    start, said = "", str(error.__cause__ or error)
    if isinstance(error, openai.APIStatusError):
        start = f"HTTP {error.status_code}: "
        said = str((error.body.get("message") if isinstance(error.body, dict) else error.body) or "")
    said = said.replace(api_key() or "\0", "…")
    return start + (visible(said[:_SHOWN_CHARACTERS]).strip() or "nothing said")
