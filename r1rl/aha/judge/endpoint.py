"""Chats with an OpenAI-compatible endpoint, several at a time: POST <url>/chat/completions.

What an endpoint sends is bounded in size and time. Overload, failures of the server and of the way there are tried
again with growing pauses; a wrong key, model or address ends everything at once. The key comes from the environment
and leaves it only in the header of a request.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from r1rl.aha.judge.cache import Answer
from r1rl.aha.judge.labels import MAX_REPLY_CHARACTERS, visible

if TYPE_CHECKING:
    import httpx2

KEYS: Final = ("R1RL_JUDGE_KEY", "OPENAI_API_KEY")
"""Environment variables; the first that is set counts."""

MAX_BODY_BYTES: Final = 1 << 20
_LONGEST_PAUSE_SECONDS: Final = 60.0
_SHOWN_CHARACTERS: Final = 300
_REFUSED: Final = {
    401: f"it wants another key; set {KEYS[0]}",
    403: f"the key may not do this; set {KEYS[0]}",
    404: "no such model or address; see --model, and --url, which mostly ends in /v1",
    405: "this address takes no chats; see --url, which mostly ends in /v1",
}


class EndpointError(Exception):
    """The endpoint will answer nothing."""


class UnansweredError(Exception):
    """One chat got no answer; another may. `again`: so may the same one later."""

    def __init__(self, reason: str, *, again: bool = False, pause_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.again, self.pause_seconds = again, pause_seconds


@dataclass(frozen=True)
class Endpoint:
    """Where to ask whom, and how long.

    Args:
        url: the base, such as http://127.0.0.1:8000/v1.
        timeout_seconds: for one try, from the request to the end of the reply.
        retries: further tries after a failure that may pass.
        pause_seconds: before the second try, twice that before the third, and so on.
    """

    url: str
    model: str
    max_tokens: int = 1000
    timeout_seconds: float = 120.0
    retries: int = 4
    parallel: int = 4
    pause_seconds: float = 1.0

    def check(self) -> None:
        """Raise ValueError for what no endpoint could be asked with."""
        try:
            parts = urlsplit(self.url)
            bad = parts.scheme not in ("http", "https") or not parts.hostname or (parts.port or 1) < 1
        except ValueError:
            bad = True
        if bad:
            raise ValueError(f"url={visible(self.url)!r}: need an address as in http://127.0.0.1:8000/v1")
        if "@" in parts.netloc:  # said without the url, which holds a password
            raise ValueError(f"url: holds a user or password; leave it out and set {KEYS[0]} to the key")
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
    asyncio.run(_ask_all(endpoint, chats, answered, unanswered))


async def _ask_all(
    endpoint: Endpoint,
    chats: Sequence[Sequence[Mapping[str, str]]],
    answered: Callable[[int, Answer], None],
    unanswered: Callable[[int, str], None],
) -> None:
    import httpx2

    key = api_key()
    # Not compressed: a small reply could unpack to any size.
    headers = {"Accept-Encoding": "identity", **({} if key is None else {"Authorization": f"Bearer {key}"})}
    waiting = iter(enumerate(chats))
    running: dict[asyncio.Task[Answer], int] = {}
    in_a_row = 0
    limits = httpx2.Limits(max_connections=endpoint.parallel)
    async with httpx2.AsyncClient(headers=headers, timeout=endpoint.timeout_seconds, limits=limits) as client:
        try:
            while True:
                for index, chat in itertools.islice(waiting, endpoint.parallel - len(running)):
                    running[asyncio.create_task(_ask(endpoint, client, chat, key))] = index
                if not running:
                    return
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                refused: EndpointError | None = None
                for task in sorted(done, key=running.__getitem__):
                    try:
                        answer = task.result()
                    except UnansweredError as error:
                        unanswered(running.pop(task), str(error))
                        # What is refused for itself, as too long, says nothing of the next one.
                        in_a_row += error.again
                        if in_a_row >= max(3, endpoint.parallel):
                            refused = EndpointError(f"{in_a_row} chats in a row got no answer, the last one: {error}")
                    except EndpointError as error:
                        refused = error
                    else:
                        in_a_row = 0
                        answered(running.pop(task), answer)
                if refused is not None:
                    raise refused
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def _ask(
    endpoint: Endpoint, client: httpx2.AsyncClient, chat: Sequence[Mapping[str, str]], key: str | None
) -> Answer:
    for attempt in range(endpoint.retries + 1):
        try:
            # httpx's own limits are between two pieces: a server that drips would never be late.
            return await asyncio.wait_for(_try(endpoint, client, chat, key), endpoint.timeout_seconds)
        except (asyncio.TimeoutError, TimeoutError):
            failure = UnansweredError(f"no reply within {endpoint.timeout_seconds:g} s", again=True)
        except UnansweredError as error:
            failure = error
        if not failure.again or attempt == endpoint.retries:
            raise failure
        pause = max(failure.pause_seconds, endpoint.pause_seconds * 2**attempt)
        await asyncio.sleep(min(pause, _LONGEST_PAUSE_SECONDS))
    raise AssertionError("unreachable")


async def _try(
    endpoint: Endpoint, client: httpx2.AsyncClient, chat: Sequence[Mapping[str, str]], key: str | None
) -> Answer:
    import httpx2

    asked = {"model": endpoint.model, "messages": list(chat), "temperature": 0, "max_tokens": endpoint.max_tokens}
    try:
        async with client.stream("POST", f"{endpoint.url.rstrip('/')}/chat/completions", json=asked) as response:
            body = bytearray()
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > MAX_BODY_BYTES:
                    break
            status, headers = response.status_code, response.headers
    except (httpx2.RequestError, httpx2.InvalidURL) as error:
        raise UnansweredError(f"{type(error).__name__}: {_shown(str(error), key)}", again=True) from error
    if status == 200:
        if len(body) > MAX_BODY_BYTES:
            return Answer(None, f"more than {MAX_BODY_BYTES >> 20} MiB")
        return _answer(bytes(body), endpoint.max_tokens)
    said = f"HTTP {status}: {_shown(_message(bytes(body)), key)}"
    if status in _REFUSED:
        raise EndpointError(f"{said} ({_REFUSED[status]})")
    if 300 <= status < 400:
        raise EndpointError(f"{said} (moved to {_shown(headers.get('location', '?'), key)}; give that as --url)")
    again = status in (408, 409, 425, 429) or status >= 500
    raise UnansweredError(said, again=again, pause_seconds=_seconds(headers.get("retry-after", "")))


def _answer(body: bytes, max_tokens: int) -> Answer:
    """The first choice of a chat completion; a body that is none may come from something on the way, so again."""
    try:
        choice = json.loads(body)["choices"][0]
        text, finish = choice["message"].get("content"), choice.get("finish_reason")
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        raise UnansweredError("HTTP 200, but no chat completion", again=True) from None
    cut_at = max_tokens if finish == "length" else 0
    if not isinstance(text, str) or not text.strip():
        return Answer(None, "without text", cut_at)
    if len(text) > MAX_REPLY_CHARACTERS:
        return Answer(None, f"longer than {MAX_REPLY_CHARACTERS} characters", cut_at)
    return Answer(text, None, cut_at)


def _message(body: bytes) -> str:
    """What an endpoint says of an error, in one of the usual places, else the body's beginning."""
    try:
        found: Any = json.loads(body)
        found = found.get("error", found.get("detail", found.get("message", found)))
        found = found.get("message", found) if isinstance(found, dict) else found
        return found if isinstance(found, str) else json.dumps(found)
    except (ValueError, RecursionError, AttributeError):
        return body[: 4 * _SHOWN_CHARACTERS].decode("utf-8", "replace")


def _shown(text: str, key: str | None) -> str:
    """A stranger's text, short, in one line and without the key, should it be repeated there."""
    if key is not None:
        text = text.replace(key, "…")
    return visible(text[:_SHOWN_CHARACTERS]).strip() or "nothing said"


def _seconds(retry_after: str) -> float:
    return float(retry_after) if re.fullmatch(r"\d{1,4}(\.\d{1,3})?", retry_after) else 0.0
