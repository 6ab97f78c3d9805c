"""How the next token is drawn: filters, counter-based randomness, stop strings."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from transformers import PreTrainedTokenizerBase
from transformers.generation.logits_process import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

_TAIL_TOKENS = 48  # a stop string is looked for in the text of this many last tokens


@dataclass(frozen=True)
class Sampling:
    """The sampling distribution and where a completion ends.

    Args:
        temperature: 0 is greedy decoding.
        top_p, top_k, min_p: as in `transformers`; 1.0, 0 and None switch them off.
        max_completion_length: cap in tokens.
        stop: strings that end a completion as soon as they are written; they stay part of it.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float | None = None
    max_completion_length: int = 256
    stop: tuple[str, ...] = ()


def row_key(*parts: object) -> int:
    """A 63-bit key for one row's random stream, from (run seed, purpose, step, prompt, sample index, ...)."""
    digest = hashlib.sha256("|".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def uniforms(keys: torch.Tensor, position: int) -> torch.Tensor:
    """Counter-based uniforms in (0, 1), int64 [N] -> float64 [N]: a function of (key, position) alone.

    Two rounds of the SplitMix64 finaliser (Steele et al. 2014) over key and counter; int64 products wrap.
    """

    def mix(z: torch.Tensor) -> torch.Tensor:
        for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
            z = (z ^ ((z >> shift) & ((1 << (64 - shift)) - 1))) * factor
        return z ^ ((z >> 31) & ((1 << 33) - 1))

    counter = ((position + 1) * 0x9E3779B97F4A7C15 + 2**63) % 2**64 - 2**63  # wraps as int64 does
    z = mix(mix(keys) + counter)
    return (((z >> 11) & ((1 << 53) - 1)).double() + 0.5) / 2**53


def distribution(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Log-probabilities of the sampling distribution, [N, V] -> float32 [N, V].

    Greedy decoding reports the untempered policy (temperature 1, no filter).
    """
    scores = logits.float()
    if sampling.temperature > 0:
        scores = scores / sampling.temperature
        ids = None  # the warpers below do not look at the ids
        if sampling.top_k:
            scores = TopKLogitsWarper(sampling.top_k)(ids, scores)
        if sampling.top_p < 1.0:
            scores = TopPLogitsWarper(sampling.top_p)(ids, scores)
        if sampling.min_p:
            scores = MinPLogitsWarper(sampling.min_p)(ids, scores)
    return torch.log_softmax(scores, dim=-1)


def draw(
    logits: torch.Tensor, keys: torch.Tensor, position: int, sampling: Sampling
) -> tuple[torch.Tensor, torch.Tensor]:
    """Next tokens and their log-probabilities, ([N, V], int64 [N]) -> (int64 [N], float32 [N]).

    Sampling inverts the cumulative distribution at one uniform a row, so a row's draw does not depend on which
    other rows are in the batch.
    """
    logprobs = distribution(logits, sampling)
    if sampling.temperature == 0:
        tokens = logprobs.argmax(dim=-1)
    else:
        cumulative = logprobs.exp().cumsum(dim=-1, dtype=torch.float64)
        threshold = uniforms(keys, position).to(cumulative.device) * cumulative[:, -1]
        # right=True: the first entry *beyond* the threshold, which always has a positive probability.
        tokens = torch.searchsorted(cumulative, threshold[:, None], right=True).squeeze(1)
        tokens = tokens.clamp_(max=logits.shape[-1] - 1)
    return tokens, logprobs.gather(1, tokens[:, None]).squeeze(1)


class StopStrings:
    """Finds out whether a stop string has just been completed.

    Only few tokens of a vocabulary can complete one, so most steps decode nothing.
    """

    def __init__(self, stop: tuple[str, ...], tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> None:
        self.stop = stop
        self.tokenizer = tokenizer
        texts = tokenizer.batch_decode([[i] for i in range(min(vocabulary, len(tokenizer)))]) if stop else []
        self.completes = torch.zeros(vocabulary, dtype=torch.bool)
        for i, text in enumerate(texts):
            self.completes[i] = any(_may_complete(text, s) for s in stop)

    def stops(self, token_ids: list[int]) -> bool:
        """Whether the last token completes a stop string."""
        return bool(token_ids) and bool(self.completes[token_ids[-1]]) and self.finished(token_ids)

    def cut(self, token_ids: list[int]) -> list[int]:
        """The tokens up to and with the first one that completes a stop string; all of them if none does."""
        for end in self.completes[token_ids].nonzero().flatten().tolist():
            if self.finished(token_ids[: end + 1]):
                return token_ids[: end + 1]
        return token_ids

    def finished(self, token_ids: list[int]) -> bool:
        """Whether the text of the last tokens holds a stop string."""
        text = self.tokenizer.decode(token_ids[-_TAIL_TOKENS:])
        return any(s in text for s in self.stop)


def _may_complete(text: str, stop: str) -> bool:
    """Whether appending `text` to something can complete `stop`."""
    return stop in text or any(text.startswith(stop[-n:]) for n in range(1, len(stop) + 1))
