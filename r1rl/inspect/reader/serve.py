"""`r1rl inspect RUN --serve`: the reader on an address of this machine, until Ctrl-C."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

from r1rl.inspect.reader.app import application
from r1rl.inspect.reader.security import check_address
from r1rl.inspect.reader.state import State
from r1rl.inspect.run_data import check_run

PORT: Final = 8421
_PORTS_TRIED: Final = 20


def serve(
    runs: Sequence[Path],
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    token: str | None = None,
    controls: Sequence[str] = (),
    opened: Callable[[str], object] | None = None,
) -> None:
    """Serve the reader of some runs; `opened` gets its address once it listens.

    Without a port it takes the first free one from PORT on. Raises ValueError for a folder that is no run, an address
    that others reach without a token, and a port that is taken.
    """
    import uvicorn

    check_address(host, token)
    for run in runs:
        check_run(run)
    state = State(runs, controls)
    listening = _listening(host, port)
    address = f"http://{_named(host)}:{listening.getsockname()[1]}/"
    shown = address if token is None else f"{address}?token={quote(token, safe='')}"
    sys.stdout.write(f"reader: {shown}  (Ctrl-C ends it)\n")
    sys.stdout.flush()
    if opened is not None:
        opened(shown)
    config = uvicorn.Config(
        application(state, host=host, token=token), log_level="warning", access_log=False, server_header=False,
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listening])


def _listening(host: str, port: int | None) -> socket.socket:
    """A socket that listens at the port, or at the first free one from PORT on."""
    name = host.strip("[]")
    try:
        family = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)[0][0]
    except OSError as error:
        raise ValueError(f"host={host!r}: no address of this machine ({error})") from error
    for candidate in [port] if port is not None else range(PORT, PORT + _PORTS_TRIED):
        found = socket.socket(family, socket.SOCK_STREAM)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((name, candidate))
            found.listen(128)
            return found
        except OSError as error:
            found.close()
            problem = error
    tried = f"port={port}" if port is not None else f"ports {PORT} to {PORT + _PORTS_TRIED - 1}"
    raise ValueError(f"{tried}: cannot listen there ({problem}); give another --port")


def _named(host: str) -> str:
    if host in ("0.0.0.0", "::", "[::]"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
