"""An OpenAI-compatible endpoint as a target: several requests at a time, tried again with growing pauses, in a budget.

A wrong key, model or address ends everything at once, and so do as many failures in a row as there are requests at a
time. Keys come from the environment alone.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Final

from r1rl.eval.protocol import DEFAULT_LENGTH, INSTRUCTION, Ask, Asking, Reply, instructed
from r1rl.eval.requests import Address, NoReplyError
from r1rl.ground import api_keys
from r1rl.ground.errors import RecipeError, RunFailedError
from r1rl.tasks import prompts

KEYS: Final = ("R1RL_EVAL_KEY", "OPENAI_API_KEY")
"""Environment variables; the first that is set counts."""

_AGAIN: Final = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
_REFUSED: Final = {
    401: f"see the key in {KEYS[0]}",
    403: f"see the key in {KEYS[0]}",
    404: "see the address, which mostly ends in /v1, and the model behind #",
    405: "see the address, which mostly ends in /v1",
}
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0
_MILLION = 1e6


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


def api_key() -> str | None:
    """The key from the environment. Raises RecipeError, without its value, for one that no header can hold."""
    return api_keys.from_environment(KEYS)


@dataclass
class Endpoint:
    """A model behind an address; see `protocol.Answerer`.

    Chats go to /chat/completions, other templates to /completions.
    `ledger` has what was spent; `stopped` why nothing more was asked.
    """

    address: Address
    model: str
    limits: Limits
    prompt: prompts.Prompt
    extraction: str
    temperature: float
    top_p: float
    length: int
    ledger: Ledger
    stopped: str = ""

    def answer(
        self, asks: list[Ask], finished: Callable[[Ask, Reply], None], failed: Callable[[Ask, str], None]
    ) -> None:
        """Ask for every sample, in order; what fails after all its tries is reported and left out.

        Raises RunFailedError where the endpoint refuses key, model or address, or answers nothing any more.
        """
        waiting, in_a_row = iter(asks), 0
        self.address.ended.clear()
        pool = ThreadPoolExecutor(self.limits.parallel, thread_name_prefix="r1rl-eval")
        under_way: dict[Future[Reply], Ask] = {}
        try:
            while True:
                while len(under_way) < self.limits.parallel and not self.stopped and (ask := next(waiting, None)):
                    under_way[pool.submit(self._ask, ask)] = ask
                if not under_way:
                    return
                done, _ = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    ask = under_way.pop(future)
                    try:
                        finished(ask, future.result())
                        in_a_row = 0
                    except NoReplyError as error:
                        failed(ask, str(error))
                        if error.status in _REFUSED:
                            raise RunFailedError(f"{self}: {error} ({_REFUSED[error.status]})") from None
                        # What is refused for itself, as too long, says nothing of the next one.
                        in_a_row += error.status is None or error.status in _AGAIN
                        if in_a_row >= max(3, self.limits.parallel) and not self.stopped:
                            raise RunFailedError(
                                f"{self}: {in_a_row} requests in a row got no answer, the last one: {error}"
                            ) from None
        finally:
            self.address.hang_up()
            pool.shutdown(wait=True, cancel_futures=True)

    def __str__(self) -> str:
        return f"{self.address.base}#{self.model}"

    def _ask(self, ask: Ask) -> Reply:
        chat = self.prompt.name == "chat"
        content: dict[str, Any] = {
            "model": self.model,
            "max_tokens": self.length,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": ask.key & 0x7FFFFFFF,
        }
        text = str(ask.row["prompt"])
        content |= {"messages": [{"role": "user", "content": text}]} if chat else {"prompt": text}
        content = {name: value for name, value in (content | dict(self.limits.body)).items() if value is not None}
        most = self.ledger.cost(len(text.encode("utf-8", "replace")) + 100, self.length)  # no token is less than a byte
        for attempt in range(self.limits.retries + 1):
            if not self.ledger.reserve(most):
                self.stopped = "the limit on cost is reached"
                raise NoReplyError("not asked, the limit on cost is reached", status=0)
            cost = 0.0
            try:
                reply = self.address.post("/chat/completions" if chat else "/completions", content, self.limits.timeout)
                cost = most
                found = _read(reply, chat=chat)
                cost = self._cost(reply, most)
                return self._ended(found)
            except NoReplyError as error:
                # The server may have worked for what did not arrive.
                cost = most if error.status is None else 0.0
                again = error.status is None or error.status in _AGAIN
                if not again or attempt == self.limits.retries:
                    raise
                self.ledger.failed(str(error))
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2**attempt) * (0.5 + random.random())
                if self.address.ended.wait(max(pause, min(error.wait or 0.0, 10 * _LONGEST_PAUSE))):
                    raise
            finally:
                self.ledger.settle(most, cost)
        raise AssertionError("the last try returns or raises")

    def _cost(self, reply: Mapping[str, Any], most: float) -> float:
        usage = reply.get("usage")
        read, written = (_count(usage, name) for name in ("prompt_tokens", "completion_tokens"))
        return most if read is None or written is None else self.ledger.cost(read, written)

    def _ended(self, reply: Reply) -> Reply:
        """The reply up to the template's first stop string, as the embedded engine ends it."""
        ends = [reply.text.find(stop) + len(stop) for stop in self.prompt.stop if stop in reply.text]
        if not ends or min(ends) == len(reply.text):
            return reply
        return Reply(reply.text[: min(ends)], "stop", reply.n_tokens)


def _read(reply: Mapping[str, Any], *, chat: bool) -> Reply:
    """The sample in a reply, of which nothing is certain; thoughts that come apart are put in front, in tags."""
    try:
        choice = reply["choices"][0]
        said = choice["message"] if chat else choice
        text = said.get("content") if chat else said.get("text")
        thoughts = (said.get("reasoning_content") or said.get("reasoning")) if chat else None
        finish = choice.get("finish_reason")
    except (LookupError, TypeError, AttributeError):
        raise NoReplyError("HTTP 200, but no completion") from None
    if isinstance(text, list):
        text = "".join(part["text"] for part in text if isinstance(part, dict) and isinstance(part.get("text"), str))
    text = text if isinstance(text, str) else ""
    if isinstance(thoughts, str) and thoughts:
        text = f"<think>{thoughts}</think>{text}" if text or finish != "length" else f"<think>{thoughts}"
    tokens = _count(reply.get("usage"), "completion_tokens")
    return Reply(text, "length" if finish == "length" else "eos", tokens)


def _count(usage: Any, name: str) -> int | None:
    found = usage.get(name) if isinstance(usage, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < 2**31 else None


def of_url(url: str, asking: Asking, limits: Limits, spent: float = 0.0) -> Endpoint:
    """The model behind `URL#MODEL`, asked in a chat for a boxed answer unless `asking` names another template.

    Raises:
        RecipeError: no address or no model.
    """
    base, _, model = url.partition("#")
    if not model:
        raise RecipeError(f"target {url!r}: say which model, as {base}#MODEL")
    try:
        address = Address(base.rstrip("/"), api_key())
    except ValueError as error:
        raise RecipeError(f"target: {error}") from None
    name = asking.prompt_template or "chat"
    if name == "chat":
        if system := asking.prompt_options.get("system"):
            raise RecipeError(f"prompt_options.system={system!r}: an endpoint is asked without one; use --instruction")
        template = prompts.Prompt("chat", stop=tuple(asking.prompt_options.get("stop") or ()))
    else:
        template = prompts.get(name, **asking.prompt_options)
    instruction = asking.instruction
    if instruction is None and name == "chat" and (asking.extraction or "boxed") == "boxed":
        instruction = INSTRUCTION
    return Endpoint(
        address,
        model,
        limits,
        instructed(template, instruction or ""),
        asking.extraction or ("boxed" if name in ("chat", "none") else "answer-tag"),
        asking.temperature,
        asking.top_p,
        asking.max_completion_length or DEFAULT_LENGTH,
        Ledger(limits, spent),
    )
