"""How the next token is drawn: filters, counter-based randomness, stop strings."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional
from transformers import PreTrainedTokenizerBase
from transformers.generation.logits_process import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

_BLOCK = 256  # tokens a block of the cumulative distribution
_FIRST = 1024  # tokens among which a nucleus is looked for
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


def uniforms(keys: torch.Tensor, position: int | torch.Tensor) -> torch.Tensor:
    """Counter-based uniforms in (0, 1), int64 [N] -> float64 [N]: a function of (key, position) alone.

    `position` may be one for each key, int64 [N].

    Two rounds of the SplitMix64 finaliser (Steele et al. 2014) over key and counter; int64 products wrap.
    """

    def mix(z: torch.Tensor) -> torch.Tensor:
        for shift, factor in ((30, -0x40A7B892E31B1A47), (27, -0x6B2FB644ECCEEE15)):
            z = (z ^ ((z >> shift) & ((1 << (64 - shift)) - 1))) * factor
        return z ^ ((z >> 31) & ((1 << 33) - 1))

    counter = (torch.as_tensor(position, dtype=torch.long) + 1) * -0x61C8864680B583EB  # 0x9E37…7C15 as int64
    z = mix(mix(keys) + counter)
    return (((z >> 11) & ((1 << 53) - 1)).double() + 0.5) / 2**53


class Drawn(NamedTuple):
    """Next tokens, int64 [N], and their log-probabilities under the sampling distribution and the policy, float32 [N].

    The policy is what the update scores: the same temperature and no filter; greedy decoding reports temperature 1.
    """

    tokens: torch.Tensor
    logprobs: torch.Tensor
    policy_logprobs: torch.Tensor


def tempered(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Float32 logits of the policy, [N, V]."""
    scores = logits.float()
    return scores if sampling.temperature in (0, 1) else scores / sampling.temperature


def filtered(scores: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Tempered logits with what the filters exclude at -inf, [N, V]; the same tensor where nothing filters."""
    if sampling.temperature == 0:
        return scores
    ids = None  # the warpers below do not look at the ids
    if sampling.top_k:
        scores = TopKLogitsWarper(sampling.top_k)(ids, scores)
    if sampling.top_p < 1.0:
        scores = _nucleus(scores, sampling.top_p)
    if sampling.min_p:
        scores = MinPLogitsWarper(sampling.min_p)(ids, scores)
    return scores


def _nucleus(scores: torch.Tensor, top_p: float) -> torch.Tensor:
    """Logits with all but the most probable tokens that together reach `top_p` at -inf, as `TopPLogitsWarper` has them.

    A row's nucleus mostly lies among its first thousand tokens, which are found in a tenth of the time of a sort.
    """
    whole = TopPLogitsWarper(top_p)
    if scores.shape[-1] <= _FIRST:
        return whole(None, scores)
    best = scores.topk(_FIRST).values
    reached = (best - scores.logsumexp(-1, keepdim=True)).exp().cumsum(-1) >= top_p
    least = best.gather(1, reached.int().argmax(-1, keepdim=True))
    kept = scores.masked_fill(scores < least, -torch.inf)
    wider = ~reached[:, -1]
    if wider.any():
        kept[wider] = whole(None, scores[wider])
    return kept


def draw(logits: torch.Tensor, keys: torch.Tensor, position: int | torch.Tensor, sampling: Sampling) -> Drawn:
    """Next tokens from logits [N, V], with one key and one position (or the same) for each row.

    Sampling inverts the cumulative distribution at one uniform a row, so a row's draw does not depend on which
    other rows are in the batch.
    """
    scores = tempered(logits, sampling)
    kept = filtered(scores, sampling)
    probabilities = kept.softmax(-1)
    if sampling.temperature == 0:
        tokens = probabilities.argmax(-1)
    else:
        tokens = invert(probabilities, uniforms(keys, position).to(probabilities.device))
    chosen = tokens[:, None]
    logprobs = probabilities.gather(1, chosen).squeeze(1).log()
    if kept is scores:
        return Drawn(tokens, logprobs, logprobs)
    return Drawn(tokens, logprobs, scores.gather(1, chosen).squeeze(1) - scores.logsumexp(-1))


def invert(probabilities: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """The first token at which the cumulative distribution exceeds the uniform, ([N, V], float64 [N]) -> int64 [N].

    In two stages, of blocks and inside one, because a cumulative sum over a whole vocabulary in float64 costs more
    than the softmax. A token of probability zero is never chosen.
    """
    count, vocabulary = probabilities.shape
    if vocabulary <= _BLOCK:
        inside = probabilities.double()
        ends = inside.cumsum(-1)
        return _first_beyond(ends, inside, uniform * ends[:, -1])
    short = -vocabulary % _BLOCK  # padding by nothing would copy
    blocks = (functional.pad(probabilities, (0, short)) if short else probabilities).view(count, -1, _BLOCK)
    sums = blocks.sum(-1).double()
    ends = sums.cumsum(-1)
    threshold = uniform * ends[:, -1]
    block = _first_beyond(ends, sums, threshold)
    each = torch.arange(count, device=block.device)
    inside = blocks[each, block].double()
    threshold = threshold - (ends[each, block] - sums[each, block])
    return block * _BLOCK + _first_beyond(inside.cumsum(-1), inside, threshold)


def _first_beyond(ends: torch.Tensor, weights: torch.Tensor, threshold: torch.Tensor) -> torch.Tensor:
    """The first index with `ends > threshold`, or where rounding leaves none the last of positive weight, int64 [N]."""
    index = torch.searchsorted(ends, threshold[:, None], right=True)
    last = weights.shape[-1] - 1 - (weights > 0).flip(-1).int().argmax(-1, keepdim=True)
    return torch.minimum(index, last).squeeze(1)


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
