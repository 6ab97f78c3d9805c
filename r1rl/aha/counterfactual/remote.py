"""A model behind an OpenAI-compatible completions endpoint that goes on from inside rollouts.

It keeps its own tokens, so texts are cut between words, digits and signs. What needs more than sampled text:

- keeping from a word draws one token from the most likely ones that the endpoint tells (`logprobs`), renormalised;
- an entropy is that of the tokens told, all others taken as one: never more than the true one;
- the log-probability of a given text needs an endpoint that repeats the prompt (`echo`), as vLLM does: it is the
  difference of what two prompts get.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from r1rl.aha.counterfactual.tokens import Cuts, TextCuts, Token
from r1rl.ground.endpoints import Line
from r1rl.ground.errors import RunFailedError
from r1rl.ground.requests import NoReplyError
from r1rl.rollout.engine import Completion
from r1rl.rollout.sampling import Sampling

TOP: Final = 20
"""Most likely tokens asked for; vLLM allows 20 unless told otherwise."""

_END: Final = re.compile(r"<\|?(?:/s|eos|im_end|end[\w ]*|eot\w*)\|?>|")
Wanted = TypeVar("Wanted")
Got = TypeVar("Got")


class Remote:
    """See `writers.Writer`."""

    def __init__(self, line: Line, sampling: Sampling, extraction: str, top: int = TOP) -> None:
        self.line, self.sampling, self.extraction, self.top = line, sampling, extraction, top
        self.tokens: Cuts = TextCuts()

    def prompt(self, text: str) -> list[Token]:
        return self.tokens.of(text)

    def ends(self, token: Token) -> bool:
        return _END.fullmatch(token) is not None

    def write(self, before: list[list[Token]], keys: list[int], rooms: list[int]) -> list[Completion]:
        def ask(i: int) -> Completion:
            content = {
                "prompt": self.tokens.text(before[i]),
                "max_tokens": rooms[i],
                "temperature": self.sampling.temperature,
                "top_p": self.sampling.top_p,
                "seed": keys[i] & 0x7FFFFFFF,
            }
            return self.line.send("/completions", content, self._written)

        return self._all(range(len(before)), ask)

    def next_tokens(self, before: list[list[Token]], keys: list[int], banned: list[set[Token]]) -> list[Token | None]:
        told = self._all(before, self._told)
        return [
            self._drawn(likely, random.Random(key).random(), without)
            for likely, key, without in zip(told, keys, banned, strict=True)
        ]

    def entropies(self, text: list[Token], places: Sequence[int]) -> list[float]:
        return [entropy(likely) for likely in self._all([text[:place] for place in places], self._told)]

    def logprobs(self, before: list[list[Token]], wanted: list[list[Token]]) -> list[float]:
        heads = [self.tokens.text(head) for head in before]
        whole = [head + self.tokens.text(tail) for head, tail in zip(heads, wanted, strict=True)]
        distinct = list(dict.fromkeys([*heads, *whole]))
        sums = dict(zip(distinct, self._all(distinct, self._repeated), strict=True))
        return [min(0.0, sums[text] - sums[head]) for text, head in zip(whole, heads, strict=True)]

    def _all(self, wanted: Sequence[Wanted], ask: Callable[[Wanted], Got]) -> list[Got]:
        """Every answer, in order. Raises RunFailedError where one fails after all its tries."""
        found: dict[int, Got] = {}

        def failed(_: int, reason: str) -> None:
            raise RunFailedError(f"{self.line}: {reason}; what was sampled is kept, and the same command goes on there")

        self.line.each(range(len(wanted)), lambda i: ask(wanted[i]), found.__setitem__, failed)
        return [found[i] for i in range(len(wanted))]

    def _written(self, reply: Mapping[str, Any]) -> Completion:
        choice = _choice(reply)
        text = choice.get("text")
        text = text if isinstance(text, str) else ""
        ends = [text.find(stop) + len(stop) for stop in self.sampling.stop if stop in text]
        reason = "stop" if ends else "length" if choice.get("finish_reason") == "length" else "eos"
        return Completion(self.tokens.of(text[: min(ends)] if ends else text), [], reason)

    def _told(self, before: list[Token]) -> dict[str, float]:
        """The tokens that most likely come next, with their log-probabilities."""
        content = {"prompt": self.tokens.text(before), "max_tokens": 1, "temperature": 1.0, "logprobs": self.top}
        return self.line.send("/completions", content, _likely)

    def _repeated(self, prompt: str) -> float:
        """The log-probability of a prompt, but for its first token."""
        content = {"prompt": prompt, "max_tokens": 1, "temperature": 1.0, "logprobs": 1, "echo": True}
        return self.line.send("/completions", content, _sum)

    def _drawn(self, likely: Mapping[str, float], uniform: float, banned: set[Token]) -> Token | None:
        without = [word.strip().casefold() for word in banned]
        kept = {
            token: lp
            for token, lp in likely.items()
            if not any(word.startswith(token.strip().casefold() or "\0") for word in without)
        }
        if not kept:
            return None
        temperature = self.sampling.temperature
        if temperature == 0:
            kept = {max(kept, key=lambda token: kept[token]): 0.0}
            temperature = 1.0
        best = max(kept.values())
        weights = {token: math.exp((lp - best) / temperature) for token, lp in kept.items()}
        left = uniform * sum(weights.values())
        chosen = ""
        for chosen, weight in weights.items():  # noqa: B007
            left -= weight
            if left < 0:
                break
        return "" if self.ends(chosen) else chosen


def entropy(likely: Mapping[str, float]) -> float:
    """Of tokens with their log-probabilities, in nats, everything else as one token."""
    shares = [math.exp(min(0.0, lp)) for lp in likely.values()]
    shares.append(max(0.0, 1 - sum(shares)))
    return -sum(share * math.log(share) for share in shares if share > 0)


def _choice(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = reply.get("choices")
    if isinstance(choices, list) and choices and isinstance(choices[0], dict):
        return choices[0]
    raise NoReplyError("HTTP 200, but no completion", status=200)


def _likely(reply: Mapping[str, Any]) -> dict[str, float]:
    told = _told_of(reply).get("top_logprobs")
    first = told[0] if isinstance(told, list) and told else None
    found = {str(token): float(lp) for token, lp in first.items() if _number(lp)} if isinstance(first, dict) else {}
    if not found:
        raise NoReplyError("the endpoint tells no log-probabilities (logprobs); vLLM does", status=200)
    return found


def _sum(reply: Mapping[str, Any]) -> float:
    """Of the prompt's tokens: all but the one that was written, and but the first, whose value is null."""
    told = _told_of(reply).get("token_logprobs")
    if not isinstance(told, list) or len(told) < 2 or told[0] is not None:
        raise NoReplyError(
            "the endpoint does not repeat the prompt with log-probabilities (echo); vLLM does", status=200
        )
    return sum(float(lp) for lp in told[1:-1] if _number(lp))


def _told_of(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    told = _choice(reply).get("logprobs")
    return told if isinstance(told, dict) else {}


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
