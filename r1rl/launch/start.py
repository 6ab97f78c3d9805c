"""From a recipe to a running training: in this process, or through `accelerate launch`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from r1rl.recipe import launchers
from r1rl.run import exits, parent, signals


def command(launcher: launchers.Launcher, recipe: Path, overrides: Sequence[str], port: int | None = None) -> list[str]:
    """The `accelerate launch` command line for a recipe; `port`: where processes meet if the config says not."""
    # Run through this interpreter: the `accelerate` on PATH may belong to another environment.
    words = [sys.executable, "-m", "r1rl.launch.agent", "launch"]
    words += ["--config_file", str(launcher.path)]
    if not launcher.counted:
        words += ["--num_processes", str(launchers.require_processes(launcher))]
        words += ["--num_machines", str(launcher.machines)]
    if port is not None and launcher.processes > 1 and launcher.machines == 1 and not launcher.port_given:
        words += ["--main_process_port", str(port)]
    return [*words, "-m", "r1rl.train", "--config", str(recipe), *overrides]


def run(words: Sequence[str], environment: dict[str, str]) -> int:
    """Run a command in the foreground and return its exit code.

    A signal is passed on as SIGTERM, after which a run saves and ends; a second Ctrl-C kills the command, and with it
    all that it has started.
    """
    with subprocess.Popen(words, env=environment | {parent.PARENT: str(os.getpid())}) as process:
        interrupts = 0

        def pass_on(number: int, frame: FrameType | None) -> None:
            nonlocal interrupts
            interrupts += number == signal.SIGINT
            process.send_signal(signal.SIGKILL if interrupts > 1 else signal.SIGTERM)

        previous = {number: signal.signal(number, pass_on) for number in signals.NUMBERS}
        try:
            code = process.wait()  # 2 stays 2; a signal or anything else is a failure
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
    if interrupts > 1 or (interrupts and code < 0):  # ended by the signal itself
        return exits.INTERRUPTED
    return code if code in (exits.SUCCESS, exits.USAGE, exits.INTERRUPTED) else exits.FAILURE


def free_port() -> int:
    """A TCP port that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
