"""What ends a command, as an exit code."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from r1rl.ground.errors import RecipeError, RunFailedError
from r1rl.run import exits


def ctrl_c() -> None:
    raise KeyboardInterrupt


def ctrl_c_in_a_clean_up() -> None:
    """As `shutil.rmtree`, whose handler closes what Ctrl-C found closed already."""
    try:
        raise KeyboardInterrupt
    except BaseException:
        raise OSError(9, "Bad file descriptor")  # noqa: B904 - by accident, not from it


def user_error() -> None:
    raise RecipeError("temperature=-1: need at least 0")


def failure() -> None:
    raise RunFailedError("nothing was earned")


def defect() -> None:
    raise OSError(9, "Bad file descriptor")


@pytest.mark.parametrize(
    ("call", "code"),
    [
        pytest.param(lambda: None, exits.SUCCESS, id="nothing said"),
        pytest.param(lambda: 7, 7, id="its own code"),
        pytest.param(user_error, exits.USAGE, id="what a user can mend"),
        pytest.param(failure, exits.FAILURE, id="a run that failed"),
        pytest.param(defect, exits.FAILURE, id="a defect"),
        pytest.param(ctrl_c, exits.INTERRUPTED, id="Ctrl-C"),
        pytest.param(ctrl_c_in_a_clean_up, exits.INTERRUPTED, id="Ctrl-C, and a clean-up that failed by it"),
    ],
)
def test_how_it_ended(call: Callable[[], int | None], code: int) -> None:
    assert exits.guarded(call) == code


ENDING = """
import atexit, sys
from r1rl.run import exits

def slow_end():
    print("ending", flush=True)
    sys.stdin.read()

def ctrl_c():
    raise KeyboardInterrupt

atexit.register(slow_end)
sys.exit(exits.guarded(ctrl_c, last=True))
"""


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_python_ends_changes_nothing(number: int) -> None:
    command = [sys.executable, "-c", ENDING]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ending\n"
        process.send_signal(number)
        _, errors = process.communicate("", timeout=60)
    assert process.returncode == exits.INTERRUPTED
    assert errors == "\ninterrupted\n"


def test_a_second_ctrl_c_while_the_first_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exits, "_interrupted", lambda first: ctrl_c())
    assert exits.guarded(ctrl_c) == exits.INTERRUPTED
