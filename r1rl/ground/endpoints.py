"""Requests to an OpenAI-compatible endpoint: several at a time, tried again with growing pauses, in a budget.

A wrong key, model or address ends everything at once, and so do as many failures in a row as there are requests at a
time. Keys come from the environment alone.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from r1rl.ground import api_keys
from r1rl.ground.errors import RecipeError, RunFailedError
from r1rl.ground.requests import Address, NoReplyError

_AGAIN: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0
_MILLION = 1e6
Wanted = TypeVar("Wanted")
Got = TypeVar("Got")


@dataclass(frozen=True)
class Limits:
    """How an endpoint is asked.

    Args:
        parallel: requests at a time.
        timeout: seconds for one try, everything included.
        retries: further tries after overload or a failure.
        price: of a million tokens read and written, in any currency; None: unknown.
        most: what may be spent; needs `price`.
        body: fields of a request to add, change or (null) leave out.
    """

    parallel: int = 8
    timeout: float = 600.0
    retries: int = 5
    price: tuple[float, float] | None = None
    most: float | None = None
    body: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in (("parallel", 1), ("retries", 0)):
            if getattr(self, name) < least:
                raise RecipeError(f"{name}={getattr(self, name)}: need >= {least}")
        if not 0 < self.timeout <= 86_400:
            raise RecipeError(f"timeout={self.timeout}: need seconds above 0; try 600")
        if self.price is not None and min(self.price) < 0:
            raise RecipeError(f"price={self.price}: need two numbers, 0 or more")
        if self.most is not None and self.price is None:
            raise RecipeError("max_cost: needs the price of a million tokens: --price READ,WRITTEN")


class Ledger:
    """What was spent, and what requests under way may still cost, so that a limit holds whatever they answer."""

    def __init__(self, limits: Limits, spent: float = 0.0) -> None:
        self.limits = limits
        self.spent = spent
        self.requests = 0
        self.again: Counter[str] = Counter()
        self._reserved, self._open = 0.0, 0
        self._lock = threading.Condition()

    def cost(self, read: float, written: float) -> float:
        """Of so many tokens."""
        first, second = self.limits.price or (0.0, 0.0)
        return (read * first + written * second) / _MILLION

    def reserve(self, most: float) -> bool:
        """Set aside what a request may cost at most; False where that would go beyond the limit.

        Waits where requests under way may turn out to leave enough.
        """
        with self._lock:
            while self.limits.most is not None and self.spent + self._reserved + most > self.limits.most:
                if self._open == 0:
                    return False
                self._lock.wait()
            self._open += 1
            self._reserved += most
            self.requests += 1
            return True

    def settle(self, reserved: float, cost: float) -> None:
        """What the request came to."""
        with self._lock:
            self._open -= 1
            self._reserved = self._reserved - reserved if self._open else 0.0  # no rounding is left over
            self.spent += cost
            self._lock.notify_all()

    def failed(self, reason: str) -> None:
        """A try that is made again."""
        with self._lock:
            self.again[reason] += 1


@dataclass
class Line:
    """One model behind an address, asked within limits; `stopped` says why nothing more is asked.

    Where the endpoint refuses it, `key_name` is the environment variable to look at, and `where` says where its
    address and model were given.
    """

    address: Address
    model: str
    ledger: Ledger
    key_name: str
    where: str = "see the address, which mostly ends in /v1, and the model behind #"
    stopped: str = ""

    def __str__(self) -> str:
        return f"{self.address.base}#{self.model}"

    def send(self, path: str, content: Mapping[str, Any], read: Callable[[dict[str, Any]], Got]) -> Got:
        """What `read` makes of the reply, which raises NoReplyError for none that can be used.

        `content` holds the prompt or the messages and `max_tokens`; the limits' `body` changes it. Raises NoReplyError
        after all tries.
        """
        limits = self.ledger.limits
        whole = {"model": self.model} | dict(content) | dict(limits.body)
        whole = {name: value for name, value in whole.items() if value is not None}
        said = str(content.get("prompt") or "".join(str(one.get("content")) for one in content.get("messages", ())))
        # No token is less than a byte.
        most = self.ledger.cost(len(said.encode("utf-8", "replace")) + 100, float(content.get("max_tokens") or 0))
        for attempt in range(limits.retries + 1):
            if not self.ledger.reserve(most):
                self.stopped = "the limit on cost is reached"
                raise NoReplyError("not asked, the limit on cost is reached", status=0)
            cost = 0.0
            try:
                reply = self.address.post(path, whole, limits.timeout)
                cost = most
                found = read(reply)
                cost = self._cost(reply, most)
                return found
            except NoReplyError as error:
                # The server may have worked for what did not arrive.
                cost = most if error.status is None else 0.0
                again = error.status is None or error.status in _AGAIN
                if not again or attempt == limits.retries:
                    raise
                self.ledger.failed(str(error))
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt) * (0.5 + random.random())
                if self.address.ended.wait(max(pause, min(error.wait or 0.0, 10 * _LONGEST_PAUSE))):
                    raise
            finally:
                self.ledger.settle(most, cost)
        raise AssertionError("the last try returns or raises")

    def each(
        self,
        wanted: Iterable[Wanted],
        ask: Callable[[Wanted], Got],
        finished: Callable[[Wanted, Got], None],
        failed: Callable[[Wanted, str], None],
    ) -> None:
        """`ask` for every one, in order and so many at a time; reported from this thread.

        What fails after all its tries is reported and left out. Raises RunFailedError where the endpoint refuses key,
        model or address, or answers nothing any more.
        """
        parallel = self.ledger.limits.parallel
        waiting, in_a_row, over = iter(wanted), 0, object()
        self.address.ended.clear()
        pool = ThreadPoolExecutor(parallel, thread_name_prefix="r1rl-requests")
        under_way: dict[Future[Got], Wanted] = {}
        try:
            while True:
                while len(under_way) < parallel and not self.stopped:
                    one: Any = next(waiting, over)
                    if one is over:
                        break
                    under_way[pool.submit(ask, one)] = one
                if not under_way:
                    return
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    one = under_way.pop(future)
                    try:
                        finished(one, future.result())
                        in_a_row = 0
                    except NoReplyError as error:
                        failed(one, str(error))
                        if hint := self._hint(error.status):
                            raise RunFailedError(f"{self}: {error} ({hint})") from None
                        # What is refused for itself, as too long, says nothing of the next one.
                        in_a_row += error.status is None or error.status in _AGAIN
                        if in_a_row >= max(3, parallel) and not self.stopped:
                            raise RunFailedError(
                                f"{self}: {in_a_row} requests in a row got no answer, the last one: {error}"
                            ) from None
        finally:
            self.address.hang_up()
            pool.shutdown(wait=True, cancel_futures=True)

    def _hint(self, status: int | None) -> str:
        """What to look at where an endpoint refuses everything, "" for another status."""
        key = f"see the key in {self.key_name}"
        return {401: key, 403: key, 404: self.where, 405: self.where}.get(status or 0, "")

    def _cost(self, reply: Mapping[str, Any], most: float) -> float:
        read, written = (tokens(reply, name) for name in ("prompt_tokens", "completion_tokens"))
        return most if read is None or written is None else self.ledger.cost(read, written)


def tokens(reply: Mapping[str, Any], name: str) -> int | None:
    """How many tokens a reply says that it read (`prompt_tokens`) or wrote (`completion_tokens`); None: it does not."""
    usage = reply.get("usage")
    found = usage.get(name) if isinstance(usage, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 2**31 else None


def line(url: str, keys: Sequence[str], limits: Limits, spent: float = 0.0) -> Line:
    """The model behind `URL#MODEL`, with the key in the first of these environment variables that is set.

    Raises:
        RecipeError: no address, no model, or a key that no header can hold.
    """
    base, _, model = url.partition("#")
    if not model:
        raise RecipeError(f"target {url!r}: say which model, as {base}#MODEL")
    try:
        address = Address(base.rstrip("/"), api_keys.from_environment(keys))
    except ValueError as error:
        raise RecipeError(f"target: {error}") from None
    return Line(address, model, Ledger(limits, spent), keys[0])
