"""One batch of the grader pool: what waits, what is known, and how much time may still be lost.

An item has at most `item_seconds` of wall time. A batch may lose `batch_seconds` (per 64 items, if it has more) to
items that did not finish. As that is spent, the limit of a first try shrinks, but never below half of the item's
equal share or `MIN_TRY_SECONDS`, so every item gets a try. Items that were late are tried again after all others
with an equal share of what is left, up to `item_seconds`. An item that never had its full `item_seconds` is `timeout`
with that reason and is not remembered.

Where the judge prepares items (`prepare_seconds`), their clocks start after that. A batch may lose that much time, once
for each worker, to items that did not get ready: they are `timeout`. When it is spent, preparing counts as judging.

On a busy machine (Linux) the time that a shortened limit passes without a core counts half: an honest item is
not late because others compute. So `batch_seconds` costs at most twice that, as wall time of all workers.
"""

from collections import Counter, deque
from collections.abc import Sequence

from r1rl.verify.nursery import Limits, encode
from r1rl.verify.verdict import Verdict

SMALL_BATCH = 64
"""Items that share one `batch_seconds`; a larger batch has as many more."""

MIN_TRY_SECONDS = 0.1
"""No first try is shorter, whatever was spent: nearly every honest item takes less."""

MAX_ITEM_BYTES = 64 << 10
"""Longest message of one item; a longer one is `unparseable`."""

Item = tuple[str, ...]
"""(answer, gold) and whatever else the judge takes, as strings."""


class Batch:
    """Items of one call: what waits, what is known, and what time may still be lost."""

    def __init__(self, items: Sequence[Item], workers: int, limits: Limits) -> None:
        self.messages = [encode(item) for item in items]
        self.verdicts: dict[int, Verdict] = {}
        self.final: set[int] = set()  # items that were judged, or had their full item_seconds
        self.waiting: deque[int] = deque()
        self.late: list[tuple[float, float, int]] = []  # the limit an item broke at its first try, what it had, which
        self.deaths: Counter[int] = Counter()
        self.errors: list[str] = []
        self.item_seconds = limits.item_seconds
        self.seconds_left = limits.batch_seconds * workers * max(1.0, len(items) / SMALL_BATCH)
        self.prepare_seconds = limits.prepare_seconds
        self.prepare_seconds_left = limits.prepare_seconds * workers
        self.floor = min(limits.item_seconds, max(MIN_TRY_SECONDS, self.seconds_left / max(1, len(items)) / 2))
        self.second_tries = False
        for index, message in enumerate(self.messages):
            if len(message) > MAX_ITEM_BYTES:
                self.settle(index, Verdict("unparseable", None, f"too long: {len(message)} bytes as a message"))
            else:
                self.waiting.append(index)
        self.untried = len(self.waiting)

    def settle(self, index: int, verdict: Verdict, *, final: bool = True) -> None:
        """An item has its verdict; one that is not `final` is not to be remembered."""
        self.verdicts[index] = verdict
        if final:
            self.final.add(index)

    def next_limit(self) -> float:
        """Seconds for an item that begins now: an eighth of what the floor of the others leaves, as few are late."""
        spare = (self.seconds_left - self.floor * self.untried) / 8
        if self.second_tries:
            spare = self.seconds_left / max(1, self.untried)
        self.untried -= 1
        return min(self.item_seconds, max(self.floor, spare))

    def prepare_limit(self) -> float:
        """Seconds in which an item that begins now must be ready for its clock to start."""
        return max(self.floor, min(self.prepare_seconds, self.prepare_seconds_left))

    def unprepared(self, index: int, limit: float, spent: float) -> None:
        """An item was not ready within `limit`, after `spent` seconds."""
        self.untried -= 1
        self.prepare_seconds_left -= spent
        self.settle(index, Verdict("timeout", None, f"not ready to be judged within {limit:.2g} s"), final=False)

    def overdue(self, index: int, limit: float, spent: float) -> None:
        """An item broke the `limit` it had, after `spent` seconds."""
        self.seconds_left -= spent
        if limit >= self.item_seconds:
            self.settle(index, Verdict("timeout", None, f"no result within {limit:.2g} s"))
        elif self.second_tries:
            self._give_up(index, limit)
        else:
            self.late.append((limit, spent, index))

    def begin_second_tries(self) -> None:
        """Queue late items again, those that had least time first, while each gets notably more than it had."""
        self.late.sort()
        while self.late and self.seconds_left / len(self.late) < 1.5 * self.late[-1][0]:
            limit, _, index = self.late.pop()
            self._give_up(index, limit)
        self.waiting.extend(index for _, _, index in self.late)
        self.untried, self.second_tries = len(self.late), True

    def _give_up(self, index: int, limit: float) -> None:
        reason = f"no result within {limit:.2g} s, and the batch's time is spent"
        self.settle(index, Verdict("timeout", None, reason), final=False)
