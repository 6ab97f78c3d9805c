"""One HTTP request with a limit on everything: time as a whole, size of the reply, what is tried again.

The standard library's client, because a limit on the body and on the whole exchange (a server may drip) is what matters
here. Redirects are not followed: the key is for the address that was given.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

MAX_BODY_BYTES: Final = 4 << 20
"""Longest reply that is read: 32,768 tokens are about 200 KB."""

_READ_AT_ONCE: Final = 1 << 16
_SHOWN_CHARACTERS: Final = 300


class NoReplyError(Exception):
    """A request that was not answered: why, and the HTTP status and the seconds to wait where the server said them."""

    def __init__(self, reason: str, status: int | None = None, wait: float | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.wait = wait


@dataclass(frozen=True)
class Address:
    """Where requests go: the base, such as http://127.0.0.1:8000/v1, and the key, if any.

    Raises ValueError for what is no such base, without repeating a password.
    """

    base: str
    key: str | None = None
    ended: threading.Event = field(default_factory=threading.Event, init=False, repr=False, compare=False)
    _under_way: set[Callable[[], None]] = field(default_factory=set, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.base)
        if "@" in parts.netloc:
            raise ValueError("url: holds a user or password; leave it out and set the key in the environment")
        try:
            port_is_one = parts.port is None or parts.port > 0
        except ValueError:
            port_is_one = False
        if parts.scheme not in ("http", "https") or not parts.hostname or not port_is_one:
            raise ValueError(f"url={self.base!r}: need a base as http://127.0.0.1:8000/v1")

    def post(self, path: str, content: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """The JSON object that comes back within so many seconds, everything included.

        Raises NoReplyError for anything else.
        """
        parts = urlsplit(self.base)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(str(parts.hostname), parts.port, timeout=seconds)
        late = threading.Event()

        def end() -> None:
            late.set()
            with contextlib.suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for it

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        self._under_way.add(end)
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "r1rl"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        try:
            connection.connect()
            if self.ended.is_set() or late.is_set():  # while there was no connection to shut down
                raise NoReplyError("ended")
            connection.request("POST", parts.path.rstrip("/") + path, json.dumps(content).encode(), headers)
            response = connection.getresponse()
            body = _body(response)
        except NoReplyError:
            if late.is_set():
                raise NoReplyError(f"no reply within {seconds:g} s") from None
            raise
        except (TimeoutError, OSError, http.client.HTTPException, ValueError) as error:
            if late.is_set() or isinstance(error, TimeoutError):
                raise NoReplyError(f"no reply within {seconds:g} s") from None
            raise NoReplyError(f"connection failed: {type(error).__name__}") from None
        finally:
            self._under_way.discard(end)
            timer.cancel()
            connection.close()
        if late.is_set():
            raise NoReplyError(f"no reply within {seconds:g} s")
        if response.status != 200:
            raise NoReplyError(self._said(response.status, body), response.status, _wait(response))
        return _object(body)

    def hang_up(self) -> None:
        """End every request under way, and those that begin until `ended` is cleared."""
        self.ended.set()
        for end in list(self._under_way):
            end()

    def _said(self, status: int, body: bytes) -> str:
        """The server's error in one line, without the key, should it repeat it."""
        try:
            error = json.loads(body)["error"]
            said = str(error["message"] if isinstance(error, dict) else error)
        except (ValueError, LookupError, TypeError, RecursionError):
            said = ""
        said = said.replace(self.key or "\0", "…")[:_SHOWN_CHARACTERS]
        printable = "".join(char if char.isprintable() else " " for char in said)
        return f"HTTP {status}" + (f": {' '.join(printable.split())}" if printable.strip() else "")


def _body(response: http.client.HTTPResponse) -> bytes:
    """The whole body. Raises NoReplyError where it is too long or ends before its end."""
    stated = response.length
    too_long = NoReplyError(f"reply of more than {MAX_BODY_BYTES >> 20} MB")
    if stated is not None and stated > MAX_BODY_BYTES:
        raise too_long
    found = bytearray()
    try:
        while piece := response.read(min(_READ_AT_ONCE, MAX_BODY_BYTES + 1 - len(found))):
            found += piece
            if len(found) > MAX_BODY_BYTES:
                raise too_long
    except http.client.IncompleteRead:
        raise NoReplyError("half a reply: the connection ended") from None
    if stated is not None and len(found) < stated:
        raise NoReplyError("half a reply: the connection ended")
    return bytes(found)


def _object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise NoReplyError("HTTP 200, but no JSON") from None
    if not isinstance(content, dict):
        raise NoReplyError("HTTP 200, but no JSON object")
    return content


def _wait(response: http.client.HTTPResponse) -> float | None:
    """Seconds of a Retry-After header; a date counts as none."""
    stated = response.headers.get("Retry-After", "")
    return float(stated) if stated.isascii() and stated.isdecimal() and len(stated) < 7 else None
