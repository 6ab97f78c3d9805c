"""Grading overlaps decoding: rollouts are judged in a thread as they finish, while others still decode.

Only for verifiers whose work is done in processes of their own: the thread mostly waits for them, so decoding keeps
the interpreter. One that computes in this process (a Countdown answer takes microseconds) is called at the end.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from r1rl import verify
from r1rl.verify.verdict import Verdict

if TYPE_CHECKING:
    from r1rl.rollout.engine import Completion

MAX_LOST_SECONDS = 4.0
"""Nothing more is judged ahead once batches with a time-out took this long together: each has a budget of its own."""

Judge = Callable[[list[str], list[dict[str, Any]]], list[Verdict]]
"""Verdicts on completions' texts for their dataset rows, in order."""


class Ahead:
    """Judges the rollouts of one batch, as many as possible before the last one has finished.

    The verdicts and their order are those of `judge(texts, rows)` afterwards. A time-out is tried again there, with
    the others that were late, so that it does not depend on how busy decoding kept the machine. `close` it, also
    when sampling failed.

    Args:
        judge: called with some of the rollouts, from a thread, and with the rest by `verdicts`.
        decode: turns token ids into text.
        rows: one dataset row for each rollout.
        overlap: False leaves everything to `verdicts`.

    Attributes:
        seconds: how long judging took so far, in the thread or not.
        waited_seconds: how long `verdicts` took, judging or waiting for the thread: the caller stood still.
        judged_ahead: how many rollouts had their verdict before `verdicts` was called.
    """

    def __init__(
        self,
        judge: Judge,
        decode: Callable[[list[int]], str],
        rows: Sequence[dict[str, Any]],
        *,
        overlap: bool = True,
    ) -> None:
        self.seconds = self.waited_seconds = 0.0
        self.judged_ahead = 0
        self._judge, self._decode, self._rows = judge, decode, rows
        self._worth = [overlap and verify.in_processes(row["verifier"]) for row in rows]
        self._done: dict[int, tuple[str, Verdict]] = {}
        self._error: Exception | None = None
        self._queue: queue.SimpleQueue[tuple[int, str] | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def finished(self, index: int, completion: Completion) -> None:
        """Take note that rollout `index` is whole; this is the engine's `on_finished`."""
        if not self._worth[index]:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="r1rl-grading", daemon=True)
            self._thread.start()
        self._queue.put((index, self._decode(completion.token_ids)))

    def verdicts(self, texts: Sequence[str]) -> list[Verdict]:
        """One verdict per rollout, in order. Raises what `judge` raised, here or in the thread."""
        started = time.monotonic()
        self.close()
        if self._error is not None:
            raise self._error
        found = {i: verdict for i, (text, verdict) in self._done.items() if text == texts[i]}
        self.judged_ahead = len(found)
        left = [i for i in range(len(self._rows)) if i not in found]
        if left:
            began = time.monotonic()
            found.update(zip(left, self._judge([texts[i] for i in left], [self._rows[i] for i in left]), strict=True))
            self.seconds += time.monotonic() - began
        self.waited_seconds += time.monotonic() - started
        return [found[i] for i in range(len(self._rows))]

    def close(self) -> None:
        """End the thread. What it is at is waited for; the verifier's own limits bound that."""
        self._stop.set()
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        lost = 0.0
        while lost < MAX_LOST_SECONDS:
            batch = self._next_batch()
            if not batch:
                return
            began = time.monotonic()
            try:
                verdicts = self._judge([text for _, text in batch], [self._rows[i] for i, _ in batch])
            except Exception as error:
                self._error = error
                return
            took = time.monotonic() - began
            self.seconds += took
            if any(verdict.status == "timeout" for verdict in verdicts):
                lost += took
            self._done |= {
                i: (text, verdict)
                for (i, text), verdict in zip(batch, verdicts, strict=True)
                if verdict.status != "timeout"
            }

    def _next_batch(self) -> list[tuple[int, str]]:
        """Everything that waits, at least one rollout; empty when it is time to end."""
        batch = [self._queue.get()]
        while not self._queue.empty():
            batch.append(self._queue.get())
        if self._stop.is_set():  # the caller waits: one batch with what is left has one budget of time
            return []
        return [entry for entry in batch if entry is not None]
