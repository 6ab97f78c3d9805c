"""Exit codes, and what turns an exception into one."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable

from r1rl.ground.errors import RecipeError, RunFailedError
from r1rl.run import disk, rank_errors, signals

SUCCESS, FAILURE, USAGE, INTERRUPTED = 0, 1, 2, 130


def guarded(call: Callable[[], int | None], *, last: bool = False) -> int:
    """Call a command and return its exit code: 2 and one line for a user's error, 130 for Ctrl-C, 1 for a failure.

    `last`: the process ends with it, which takes a while, and a signal in that while no longer changes the code.
    """
    try:
        code = _called(call)
    except KeyboardInterrupt:  # one more, while the first was being told
        code = INTERRUPTED
    if last:
        for number in signals.NUMBERS:
            signal.signal(number, signal.SIG_IGN)
    return code


def _called(call: Callable[[], int | None]) -> int:
    first = os.environ.get("RANK", "0") == "0"
    try:
        return call() or SUCCESS
    except (RecipeError, RunFailedError) as error:
        kind, code = ("usage", USAGE) if isinstance(error, RecipeError) else ("failed", FAILURE)
        rank_errors.record(kind, str(error))
        if first and not rank_errors.recording():
            sys.stderr.write(f"error: {error}\n")
        return code
    except KeyboardInterrupt:
        return _interrupted(first)
    except Exception as error:
        if _within_ctrl_c(error):
            return _interrupted(first)
        line = disk.said(error)
        if line is None and isinstance(error, UnicodeError) and "surrogates" in str(error):
            line = f"a name is not in this locale's encoding ({sys.getfilesystemencoding()}); try LANG=C.UTF-8"
        if line is not None:
            rank_errors.record("failed", line)
            if first and not rank_errors.recording():
                sys.stderr.write(f"error: {line}\n")
            return FAILURE
        rank_errors.record("error", f"{type(error).__name__}: {error}"[:2000], error)
        if not rank_errors.recording():
            traceback.print_exc()
        return FAILURE


def _interrupted(first: bool) -> int:
    if first:
        sys.stderr.write("\ninterrupted\n")
    return INTERRUPTED


def _within_ctrl_c(error: BaseException) -> bool:
    """Whether it was raised while a Ctrl-C unwound: a library's clean-up may fail then (`shutil.rmtree` does)."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__context__
    return cause is not None
