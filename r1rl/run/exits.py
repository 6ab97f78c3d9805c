"""Exit codes, and what turns an exception into one."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from r1rl.ground.errors import RecipeError, RunFailedError
from r1rl.run import rank_errors

SUCCESS, FAILURE, USAGE, INTERRUPTED = 0, 1, 2, 130


def guarded(call: Callable[[], int | None]) -> int:
    """Call a command and return its exit code: 2 and one line for a user's error, 130 for Ctrl-C, 1 for a failure."""
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
        if first:
            sys.stderr.write("\ninterrupted\n")
        return INTERRUPTED
    except Exception as error:
        rank_errors.record("error", f"{type(error).__name__}: {error}"[:2000], error)
        if not rank_errors.recording():
            traceback.print_exc()
        return FAILURE
