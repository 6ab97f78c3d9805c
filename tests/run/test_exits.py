"""What ends a command, as an exit code."""

from __future__ import annotations

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
