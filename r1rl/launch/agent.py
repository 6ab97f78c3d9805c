"""`accelerate launch` that tells what went wrong in one message.

`python -m r1rl.launch.agent launch …` runs once on every node.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil

from r1rl.run import parent, rank_errors, signals
from r1rl.run.exits import FAILURE, INTERRUPTED, SUCCESS, USAGE

_OTHER_NODES_SECONDS = 3.0


def main(arguments: Sequence[str]) -> int:
    """Run `accelerate launch` in this process; returns the exit code of what failed first."""
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    if (started_by := os.environ.pop(parent.PARENT, None)) is not None:
        parent.die_with(int(started_by))
    shared = os.environ.get(rank_errors.SHARED_FOLDER)
    folder = Path(shared or tempfile.mkdtemp(prefix="r1rl-errors-")).absolute()
    os.environ[rank_errors.FOLDER] = str(folder)
    # Its lines about each process that ends say nothing that the report does not.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    parsed = launch_command_parser().parse_args(arguments[1:] if arguments[:1] == ["launch"] else arguments)
    # Its own handlers would give the processes 30 seconds, whatever a step takes.
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGQUIT"
    for number in signals.NUMBERS:
        signal.signal(number, pass_on)
    try:
        launch_command(parsed)
        return SUCCESS
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        for rank, code in codes.items():
            if code < 0 and -code not in (signal.SIGTERM, signal.SIGINT):
                rank_errors.record("killed", _death(-code), rank=rank)
        return report(list(codes.values()), folder, int(parsed.num_processes or 1))
    except subprocess.CalledProcessError as error:
        return report([error.returncode], folder, 1)
    except (KeyboardInterrupt, SignalException):
        return INTERRUPTED
    finally:
        if not shared:
            shutil.rmtree(folder, ignore_errors=True)


def pass_on(number: int, frame: FrameType | None) -> None:
    """Have the processes of this node save and end. A terminal sends Ctrl-C to them as well, so they get no second."""
    for process in psutil.Process().children():
        with suppress(psutil.Error):
            process.send_signal(signal.SIGTERM)


def report(codes: Sequence[int], folder: Path, processes: int) -> int:
    """Write the first error to stderr, unless another node's launcher has, and return the exit code.

    Args:
        codes: exit codes of this node's processes that failed.
        processes: the number of processes of all nodes.
    """
    found = rank_errors.errors(folder)
    # A process that a signal reached before it was ready for one has died of it.
    if codes and all(code in (INTERRUPTED, -signal.SIGTERM, -signal.SIGINT) for code in codes) and not found:
        return INTERRUPTED
    if not found or rank_errors.is_consequence(found[0]):
        # The cause may be a process of another node, which is about to be recorded.
        time.sleep(_OTHER_NODES_SECONDS)
        found = rank_errors.errors(folder)
    if not found:
        sys.stderr.write(f"a process ended with exit code {codes[0] if codes else FAILURE} and said nothing\n")
        return FAILURE
    if rank_errors.claim(folder):
        sys.stderr.write(rank_errors.text(found[0], processes - 1))
        sys.stderr.flush()
    return USAGE if found[0]["kind"] == "usage" else FAILURE


def _death(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"killed by {name}" + (" (out of memory? see dmesg)" if number == signal.SIGKILL else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
