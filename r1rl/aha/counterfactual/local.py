"""A model in memory that goes on from inside rollouts."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import torch

from r1rl.aha.counterfactual.tokens import Cuts, Token, TokenCuts
from r1rl.rollout.engine import Completion
from r1rl.rollout.prefix import common
from r1rl.rollout.sampling import draw

if TYPE_CHECKING:
    from r1rl.aha.counterfactual.checkpoints import Policy

_FORWARD_TOKENS: Final = 8192
_LOGITS: Final = 1 << 27
"""Of one pass: half a gigabyte."""
_NEXT: Final = 1 << 40  # position of a draw; the engine counts a continuation's own from 0


class Local:
    """See `writers.Writer`."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.tokens: Cuts = TokenCuts(policy.tokenizer, policy.engine.eos_token_ids)
        self.extraction = policy.extraction

    def prompt(self, text: str) -> list[Token]:
        return list(self.policy.tokenizer(text)["input_ids"])

    def ends(self, token: Token) -> bool:
        return token in self.policy.engine.eos_token_ids

    def write(self, before: list[list[Token]], keys: list[int], rooms: list[int]) -> list[Completion]:
        """Rows of about the same room, to the next power of two, are sampled together: a forced answer is not given
        room for a whole rollout.
        """
        policy = self.policy
        found: dict[int, Completion] = {}
        caps = [1 << max(4, (room - 1).bit_length()) for room in rooms]
        for cap in sorted(set(caps)):
            at = [i for i, other in enumerate(caps) if other == cap]
            sampling = replace(policy.sampling, max_completion_length=max(rooms[i] for i in at))
            done = policy.engine.generate(policy.model, [before[i] for i in at], [keys[i] for i in at], sampling)
            for i, one in zip(at, done, strict=True):
                whole = len(one.token_ids) <= rooms[i]
                found[i] = one if whole else Completion(one.token_ids[: rooms[i]], [], "length")
        return [found[i] for i in range(len(rooms))]

    def next_tokens(self, before: list[list[Token]], keys: list[int], banned: list[set[Token]]) -> list[Token | None]:
        found: list[Token | None] = [None] * len(before)
        for part, logits in self._behind(before, 1):
            for row, i in enumerate(part):
                logits[row, -1, list(banned[i])] = float("-inf")
            some = torch.tensor([keys[i] for i in part])
            drawn = draw(logits[:, -1], some, _NEXT, self.policy.sampling)
            for i, token in zip(part, drawn.tokens.tolist(), strict=True):
                found[i] = token
        return found

    @torch.no_grad()
    def entropies(self, text: list[Token], places: Sequence[int]) -> list[float]:
        device = next(self.policy.model.parameters()).device
        before = torch.tensor([place - 1 for place in places], device=device)
        logits = self.policy.model(input_ids=torch.tensor([text], device=device), logits_to_keep=before).logits[0]
        logs = logits.float().log_softmax(-1)
        return [float(value) for value in -(logs.exp() * logs.clamp(min=-1e30)).sum(-1)]

    def logprobs(self, before: list[list[Token]], wanted: list[list[Token]]) -> list[float]:
        found = [0.0] * len(before)
        texts = [[*head, *tail] for head, tail in zip(before, wanted, strict=True)]
        for part, logits in self._behind(texts, max(map(len, wanted), default=0) + 1):
            logs = logits.float().log_softmax(-1)
            for row, i in enumerate(part):
                said = torch.tensor(wanted[i], device=logs.device)
                at = logs[row, -len(wanted[i]) - 1 : -1]
                found[i] = float(at.gather(1, said[:, None]).sum())
        return found

    @torch.no_grad()
    def _behind(self, texts: list[list[Token]], keep: int) -> Iterator[tuple[list[int], torch.Tensor]]:
        """The logits of the last `keep` places of each text: of some texts at a time, by index, of similar lengths.

        What all of them begin with, as worked examples, is read once.
        """
        model = self.policy.model
        device = next(model.parameters()).device
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        alike = common([tuple(text) for text in texts]) if len(texts) > 1 else 0
        shared = max(0, min(alike, len(texts[order[0]]) - keep)) if order else 0
        begun: Any = None
        if shared:
            head = torch.tensor([texts[0][:shared]], device=device)
            begun = model(input_ids=head, use_cache=True, logits_to_keep=1).past_key_values
        most = _LOGITS // (keep * model.config.get_text_config().vocab_size)
        while order:
            longest = len(texts[order[-1]])
            part = [order.pop() for _ in range(min(len(order), max(1, min(most, _FORWARD_TOKENS // longest))))]
            width = longest - shared
            ids = torch.zeros(len(part), width, dtype=torch.long, device=device)
            mask = torch.ones(len(part), longest, dtype=torch.long, device=device)
            for row, i in enumerate(part):
                rest = texts[i][shared:]
                ids[row, width - len(rest) :] = torch.tensor(rest, device=device)
                mask[row, shared : longest - len(rest)] = 0
            cache = copy.deepcopy(begun)
            if cache is not None:
                cache.batch_repeat_interleave(len(part))
            logits = model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=(mask.cumsum(1) - 1).clamp(min=0)[:, shared:],
                past_key_values=cache,
                use_cache=cache is not None,
                logits_to_keep=min(keep, width),
            ).logits
            yield part, logits
