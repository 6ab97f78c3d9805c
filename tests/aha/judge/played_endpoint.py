"""A real HTTP server on 127.0.0.1 that plays an OpenAI-compatible endpoint."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LABELS = ("self_verification", "retry", "superficial")


@dataclass
class Asked:
    """A request as it came: everything that the endpoint can know; names of headers in small letters."""

    path: str
    headers: dict[str, str]
    body: str

    @property
    def chat(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def text(self) -> str:
        """The completion that is to be labelled."""
        said = self.chat["messages"][-1]["content"]
        return str(said[said.index(">\n", said.index("<text ")) + 2 : said.rindex("\n</text ")])


@dataclass
class Sent:
    """What goes back; `drip` seconds go by after each byte, for `body` that must not end in time."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    drip: float = 0.0


Play = Callable[[Asked, int], Sent]
"""(request, its number from 0) -> response."""


@dataclass
class Played:
    url: str
    asked: list[Asked]
    over: threading.Event


@contextlib.contextmanager
def playing(play: Play) -> Iterator[Played]:
    """The server, and what it was asked so far."""
    asked: list[Asked] = []
    lock = threading.Lock()
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            with lock:
                number = len(asked)
                asked.append(Asked(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            sent = play(asked[number], number)
            with contextlib.suppress(OSError):
                self.send_response(sent.status)
                for name, value in {"Content-Length": str(len(sent.body)), **sent.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if not sent.drip:
                    self.wfile.write(sent.body)
                    return
                for byte in sent.body:
                    self.wfile.write(bytes([byte]))
                    if over.wait(sent.drip):
                        return

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass  # a client that hung up is no news

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield Played(f"http://127.0.0.1:{server.server_address[1]}/v1", asked, over)
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def completion(content: Any, finish: str = "stop") -> Sent:
    """A chat completion with this text."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": finish}
    return Sent(json.dumps({"object": "chat.completion", "choices": [choice]}).encode())


def error(status: int, message: str, **headers: str) -> Sent:
    return Sent(json.dumps({"error": {"message": message}}).encode(), status, headers)


def labelled(**quotes: str) -> str:
    """The JSON that is asked for; the labels named are present, each with one quote."""
    return json.dumps(
        {name: {"present": name in quotes, "quotes": [quotes[name]] if name in quotes else []} for name in LABELS}
    )


def by_words(asked: Asked, _: int) -> Sent:
    """A judge that goes by words: " no ," is a retry, " yes" or " no" a check."""
    found = {}
    for name, words in (("self_verification", (" yes", " no")), ("retry", ("no , wait",))):
        for word in words:
            if word in asked.text:
                found[name] = word.strip()
    return completion(labelled(**found))
