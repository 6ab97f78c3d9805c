"""Tells people of an alarm or of a run's end: a command that reads JSON, or a webhook that is sent it."""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from r1rl.ground import whole_files
from r1rl.ground.errors import RecipeError, one_line

logger = logging.getLogger(__name__)

_SECONDS = 15


def check(key: str, target: str | None) -> None:
    """Raise RecipeError for what is neither an address nor a command."""
    if target is None or is_address(target):
        return
    try:
        words = shlex.split(target)
    except ValueError as error:
        raise RecipeError(f"{key}={target!r}: not the words of a command: {error}") from None
    if not words:
        raise RecipeError(f"{key}={target!r}: need a command, or an address that begins with http:// or https://")


def is_address(target: str) -> bool:
    """Whether a target is a webhook."""
    return target.startswith(("http://", "https://"))


def tell(target: str | None, content: dict[str, Any]) -> None:
    """Send it, and wait a little; where that fails the run goes on, and a warning says so.

    A command gets no shell. It reads the JSON from its standard input; `R1RL_RUN` and `R1RL_EVENT` say what it is of.
    """
    if target is None:
        return
    text = json.dumps(whole_files.finite(content), ensure_ascii=False).encode()
    try:
        if is_address(target):
            request = urllib.request.Request(target, text, {"Content-Type": "application/json"}, method="POST")
            with urllib.request.urlopen(request, timeout=_SECONDS):
                return
        named = {"R1RL_RUN": str(content.get("run")), "R1RL_EVENT": str(content.get("event"))}
        subprocess.run(shlex.split(target), input=text, timeout=_SECONDS, check=True, env=os.environ | named,
                       stdout=subprocess.DEVNULL)  # fmt: skip
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        logger.warning("%s of %s could not be told: %s", content.get("event"), content.get("run"), one_line(error))


@contextmanager
def of_end(target: str | None, content: dict[str, Any]) -> Iterator[None]:
    """Tell of what comes out of the block: what it has put into `content`, or its error."""
    try:
        yield
    except BaseException as error:
        content["outcome"] = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        content["message"] = one_line(error, 1000)
        raise
    finally:
        tell(target, content)
