"""What Ctrl-C, SIGTERM and SIGUSR1 do to a run, from its start to its end."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

logger = logging.getLogger(__name__)

NUMBERS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))


class Signals:
    """Before the first step a signal leaves at once, as there is nothing to save; later it asks for a checkpoint first.

    A second Ctrl-C leaves at once too. Other signals may come twice: a scheduler sends them to several processes, which
    pass them on.

    Attributes:
        training: whether a step has begun.
        asked: whether the run is to end after the step under way.
    """

    def __init__(self) -> None:
        self.training = self.asked = False

    @contextmanager
    def handled(self) -> Iterator[None]:
        """Take the signals while the block runs; only a main thread can."""
        before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, self._take) for number in NUMBERS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if not self.training or (self.asked and number == signal.SIGINT):
            raise KeyboardInterrupt
        if not self.asked:
            self.asked = True
            logger.warning("finishing this step, then saving a checkpoint; Ctrl-C once more stops at once")
