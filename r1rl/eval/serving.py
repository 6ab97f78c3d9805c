"""A policy behind an OpenAI-compatible address, by `transformers serve`, until Ctrl-C."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Final

from r1rl.ground.errors import RecipeError, RunFailedError

HOST: Final = "127.0.0.1"
_COMMAND: Final = (sys.executable, "-c", "from transformers.cli.transformers import main; main()", "serve")
_SECONDS_TO_END: Final = 10.0


def available() -> bool:
    """Whether this Python has all that `transformers serve` needs."""
    try:
        from transformers.utils.import_utils import is_serve_available
    except ImportError:
        return False
    return bool(is_serve_available())


def serve(model: str, port: int, prompt: str | None, say: Callable[[str], None]) -> None:
    """Serve a folder or hub name until Ctrl-C; once it answers, its address and a line to try it with are said.

    Args:
        prompt: a rendered prompt, for a model that is asked without a chat; None: it is asked in a chat.

    Raises:
        RecipeError: the port is taken.
        RunFailedError: the server ended by itself.
    """
    with socket.socket() as taken:
        if taken.connect_ex((HOST, port)) == 0:
            raise RecipeError(f"port={port}: something listens there already; give another --port")
    server = subprocess.Popen([*_COMMAND, model, "--host", HOST, "--port", str(port)])
    try:
        while not _answers(port):
            if server.poll() is not None:
                raise RunFailedError(f"transformers serve ended with exit code {server.returncode}, see above")
            time.sleep(0.5)
        say(_told(model, port, prompt))
        if server.wait():
            raise RunFailedError(f"transformers serve ended with exit code {server.returncode}, see above")
    except KeyboardInterrupt:
        say("\nended\n")
    finally:
        _end(server)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def _end(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _told(model: str, port: int, prompt: str | None) -> str:
    address = f"http://{HOST}:{port}/v1"
    body: dict[str, object] = {"model": model, "max_tokens": 256}
    if prompt is None:
        place, body = "chat/completions", body | {"messages": [{"role": "user", "content": "What is 17 + 25?"}]}
    else:
        place, body = "completions", body | {"prompt": prompt}
    line = ["curl", "-s", f"{address}/{place}", "-H", "Content-Type: application/json", "-d", json.dumps(body)]
    return f"serving at {address}, until Ctrl-C; ask it:\n{shlex.join(line)}\nr1rl eval {address}#{model} --task …\n"
