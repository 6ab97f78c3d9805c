"""Telling people: a command gets JSON, a webhook is posted to, and neither can end a run."""

from __future__ import annotations

import json
import shlex
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from r1rl.ground.errors import RecipeError
from r1rl.run import tell

ALARM = {"run": "zero", "event": "alarm", "message": "größer; $(touch x)"}


def test_a_command_reads_json_and_gets_no_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tell, "_SECONDS", 300)  # in which any machine starts Python
    code = "import os, sys; open(sys.argv[1], 'w').write(os.environ['R1RL_EVENT'] + sys.stdin.buffer.read().decode())"
    tell.tell(f'{shlex.quote(sys.executable)} -c "{code}" {tmp_path / "told"}', ALARM)
    text = (tmp_path / "told").read_text()
    assert text.startswith("alarm{")
    assert json.loads(text[5:]) == ALARM


def test_a_webhook_is_posted_to() -> None:
    got = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        tell.tell(f"http://127.0.0.1:{server.server_port}/x", ALARM)
    assert got == [ALARM]


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("no-such-command", id="no such command"),
        pytest.param(f"{sys.executable} -c 'raise SystemExit(3)'", id="one that fails"),
        pytest.param("http://127.0.0.1:9/", id="nobody listens"),
        pytest.param(f"{sys.executable} -c 'import time; time.sleep(60)'", id="one that hangs"),
    ],
)
def test_what_fails_is_a_warning(target: str, caplog: pytest.LogCaptureFixture, monkeypatch) -> None:
    monkeypatch.setattr(tell, "_SECONDS", 1)
    tell.tell(target, ALARM)
    assert "alarm of zero could not be told" in caplog.text


@pytest.mark.parametrize("target", ["", "mail 'me"])
def test_what_is_no_command(target: str) -> None:
    with pytest.raises(RecipeError, match="on_end="):
        tell.check("on_end", target)
