"""A policy behind an address: what is said once it answers, how it ends, and what stands in the way."""

from __future__ import annotations

import json
import shlex
import socket
import sys

import pytest

from r1rl import cli
from r1rl.eval import serving
from r1rl.ground.errors import RecipeError, RunFailedError

SERVER = """
import http.server, sys
port = int(sys.argv[sys.argv.index("--port") + 1])
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.mark.parametrize(
    ("prompt", "place"),
    [
        pytest.param(None, "/chat/completions", id="a chat"),
        pytest.param("User: it's 1 + 1?\n<think>", "/completions", id="a template, quoted for a shell"),
    ],
)
def test_address_and_a_line_to_try_and_ctrl_c_ends_it(port, prompt, place, monkeypatch) -> None:
    monkeypatch.setattr(serving, "_COMMAND", (sys.executable, "-c", SERVER))
    said = []

    def say(text: str) -> None:
        said.append(text)
        if len(said) == 1:
            raise KeyboardInterrupt

    serving.serve("m", port, prompt, say)
    assert f"http://127.0.0.1:{port}/v1" in said[0]
    words = shlex.split(said[0].splitlines()[1])
    assert words[2].endswith(f"/v1{place}")
    body = json.loads(words[-1])
    assert body.get("prompt") == prompt
    assert said[1].strip() == "ended"
    with socket.socket() as taken:
        assert taken.connect_ex(("127.0.0.1", port)), "nobody listens any more"


def test_a_taken_port_and_a_server_that_ends(port, monkeypatch) -> None:
    monkeypatch.setattr(serving, "_COMMAND", (sys.executable, "-c", "raise SystemExit(3)"))
    with pytest.raises(RunFailedError, match="exit code 3"):
        serving.serve("m", port, None, print)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        with pytest.raises(RecipeError, match=f"port={port}: something listens"):
            serving.serve("m", port, None, print)


def test_without_what_it_needs_the_command_says_how(monkeypatch, capsys) -> None:
    monkeypatch.setattr(serving, "available", lambda: False)
    assert cli.main(["try", "base:countdown", "--serve"]) == 0
    assert "pip install 'transformers[serving]'" in capsys.readouterr().out


def test_a_policy_is_served_in_the_words_of_its_template(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(serving, "available", lambda: True)
    monkeypatch.setattr(serving, "serve", lambda *given: asked.append(given))
    assert cli.main(["try", "base:countdown", "What is 1 + 1?", "--serve", "--port", "8123"]) == 0
    ((model, port, prompt, _),) = asked
    assert "countdown" in model
    assert port == 8123
    assert "What is 1 + 1?" in prompt
