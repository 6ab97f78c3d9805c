"""Where the reader listens, and what it says of it."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from r1rl import cli
from r1rl.inspect.reader import serve as served


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The sockets of servers that were started; none of them serves."""
    found: list[Any] = []

    def run(self: Any, sockets: list[socket.socket]) -> None:
        found.extend(sockets)

    monkeypatch.setattr(uvicorn.Server, "run", run)
    return found


def test_the_address_is_printed_and_opened(
    wide_run: Path, started: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import webbrowser

    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert cli.main(["inspect", str(wide_run), "--serve", "--port", "0", "--open"]) == 0
    host, port = started[0].getsockname()
    assert host == "127.0.0.1", "this machine alone"
    assert opened == [f"http://127.0.0.1:{port}/"]
    assert opened[0] in capsys.readouterr().out
    started[0].close()


def test_an_open_server_prints_its_token_once(
    wide_run: Path, started: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--serve", "--port", "0", "--host", "0.0.0.0", "--token", "a secret & a half"]
    assert cli.main(["inspect", str(wide_run), *words]) == 0
    assert "?token=a%20secret%20%26%20a%20half" in capsys.readouterr().out
    started[0].close()


def test_a_port_that_is_taken(
    wide_run: Path, started: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli.main(["inspect", str(wide_run), "--serve", "--port", str(port)]) == 2
        assert "give another --port" in capsys.readouterr().err
        monkeypatch.setattr(served, "PORT", port)
        assert cli.main(["inspect", str(wide_run), "--serve"]) == 0
        assert port < started[0].getsockname()[1] < port + 20, "the next one that is free"
        started[0].close()


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.9"])
def test_an_address_that_is_not_ours(wide_run: Path, host: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--serve", "--host", host, "--port", "0", "--token", "a long enough token"]
    assert cli.main(["inspect", str(wide_run), *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
