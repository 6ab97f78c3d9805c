"""Who may read: this machine alone, or whoever has the token. Nothing that a page shows may run.

A page of another site must not read what a browser here can reach, so the name that was asked for is checked: after DNS
rebinding it is the other site's.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

Message = MutableMapping[str, Any]
Asgi = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

COOKIE: Final = "r1rl_reader"
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS: Final = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
)
LONGEST_QUERY: Final = 16_384
LEAST_TOKEN: Final = 12


def check_address(host: str, token: str | None) -> None:
    """Raise ValueError for an address that others can reach without a token."""
    if token is not None and len(token) < LEAST_TOKEN:
        raise ValueError(f"token: {len(token)} characters are guessed too easily; need at least {LEAST_TOKEN}")
    if token is None and not _is_loopback(host):
        raise ValueError(f"host={host!r}: others could read the runs there; give --token as well, or leave --host out")


class Guard:
    """An application behind these checks.

    Args:
        host: the address that is listened on.
        token: asked for once, in the URL (?token=…), then kept in a cookie; None: loopback alone is listened on.
    """

    def __init__(self, app: Asgi, host: str, token: str | None = None) -> None:
        check_address(host, token)
        self.app = app
        self.loopback = _is_loopback(host)
        self.names = {"localhost", host.lower()}
        if not self.loopback:
            self.names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
        self.token = token
        self.cookie = hashlib.sha256(f"r1rl reader {token}".encode()).hexdigest()

    async def __call__(self, scope: Message, receive: Any, send: Callable[[Message], Awaitable[None]]) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *HEADERS]
            await send(message)

        refused = self._refused(scope)
        if refused is None:
            await self.app(scope, receive, guarded)
            return
        status, text, headers = refused
        plain = [(b"content-type", b"text/plain; charset=utf-8"), *headers]
        await guarded({"type": "http.response.start", "status": status, "headers": plain})
        await guarded({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else text.encode()})

    def _refused(self, scope: Message) -> tuple[int, str, list[tuple[bytes, bytes]]] | None:
        """Status, text and headers of the answer to a request that is not let through."""
        headers: list[tuple[bytes, bytes]] = list(scope["headers"])
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "This reader only reads.\n", [(b"allow", b"GET, HEAD")]
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return 421, "This reader does not answer to that host name.\n", []
        query = scope.get("query_string", b"")
        if len(query) > LONGEST_QUERY:
            return 414, f"The address is too long: at most {LONGEST_QUERY} characters.\n", []
        if self.token is None:
            return None
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        given = next((value for name, value in pairs if name == "token"), None)
        if given is not None and hmac.compare_digest(given.encode(), self.token.encode()):
            rest = urlencode([pair for pair in pairs if pair[0] != "token"])
            # Two slashes would lead to another site.
            place = "/" + scope["path"].lstrip("/").encode("ascii", "ignore").decode() + (f"?{rest}" if rest else "")
            cookie = f"{COOKIE}={self.cookie}; Path=/; HttpOnly; SameSite=Lax"
            return 303, "", [(b"location", place.encode("latin-1")), (b"set-cookie", cookie.encode())]
        if any(hmac.compare_digest(one, self.cookie) for one in _cookies(headers)):
            return None
        return 403, "This reader wants its token: open the address that it printed, which ends in ?token=…\n", []

    def _is_ours(self, host: str) -> bool:
        name = host.lower()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        elif name.count(":") == 1:
            name = name.partition(":")[0]
        if name in self.names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or not self.loopback  # an address is no name, so nobody can rebind it


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _cookies(headers: list[tuple[bytes, bytes]]) -> list[str]:
    found = []
    for name, value in headers:
        if name == b"cookie":
            try:
                jar = SimpleCookie(value.decode("latin-1"))
            except CookieError:
                continue
            if COOKIE in jar and jar[COOKIE].value.isascii():
                found.append(jar[COOKIE].value)
    return found
