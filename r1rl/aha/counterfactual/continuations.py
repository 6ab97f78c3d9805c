"""Sampling on from inside a rollout: from its first tokens and what is put behind them, freely or with words banned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import torch

from r1rl.aha.detect import markers
from r1rl.aha.detect.annotation import verifier_of
from r1rl.aha.detect.reasoning import reasoning_spans
from r1rl.rollout.engine import Completion
from r1rl.rollout.sampling import draw, row_key
from r1rl.rollout.texts import text_of
from r1rl.verify import Verdict
from rewards.accuracy import Accuracy

if TYPE_CHECKING:
    from r1rl.aha.counterfactual.checkpoints import Policy

Row = Mapping[str, Any]

BAN_ROUNDS: Final = 48
"""Places at which a rollout is kept from a banned word before it is given up on."""

_FORWARD_TOKENS: Final = 8192
_NEXT: Final = 1 << 40  # position of a draw; the engine counts a continuation's own from 0


@dataclass(frozen=True, slots=True)
class Branch:
    """One continuation to sample.

    Args:
        row: the source rollout.
        arm, point, sample: its key, with the source's.
        ids: the completion so far: `kept` tokens of the source, then what was put behind them.
        room: cap of the continuation, in tokens.
        banned: whether it may write no marker.
        stretch: tokens of the source from the cut to the end of the stretch that begins there.
    """

    row: Row
    arm: str
    point: int
    sample: int
    ids: tuple[int, ...]
    kept: int
    room: int
    banned: bool = False
    stretch: int = 0


@dataclass(frozen=True, slots=True)
class Continued:
    """A sampled continuation; `completion` is the whole text, `start` where the continuation begins in it."""

    branch: Branch
    completion: str
    start: int
    token_ids: tuple[int, ...]
    finish_reason: str
    verdict: Verdict


class TokenCuts:
    """Cuts in characters -> cuts in tokens, for one tokenizer and the ids that end a completion."""

    def __init__(self, tokenizer: Any, ends: Sequence[int] = ()) -> None:
        self.tokenizer, self.ends = tokenizer, ends

    def until(self, ids: Sequence[int], char: int) -> list[int]:
        """The longest beginning of `ids` whose text is at most `char` characters long."""
        low, high = 0, len(ids)
        while low < high:
            middle = (low + high + 1) // 2
            if len(self.text(ids[:middle])) <= char:
                low = middle
            else:
                high = middle - 1
        return list(ids[:low])

    def text(self, ids: Sequence[int]) -> str:
        """The text as the store has it."""
        return text_of(self.tokenizer, ids, self.ends)

    def added(self, ids: Sequence[int], text: str) -> list[int]:
        """The tokens of `text`, to be put behind `ids`; with a space between words where neither brings one."""
        if not text:
            return []
        before = self.text(ids)
        if before and not before[-1].isspace() and text[0].isalnum():
            text = f" {text}"
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def sample(policy: Policy, branches: Sequence[Branch], *, seed: int, lexicon: str = "strict") -> list[Continued]:
    """Sample and judge every branch, in order. The draws depend on (seed, source, arm, sample) alone."""
    tokens = TokenCuts(policy.tokenizer, policy.engine.eos_token_ids)
    prompts = {text: policy.tokenizer(text)["input_ids"] for text in {branch.row["prompt"] for branch in branches}}
    before = [[*prompts[branch.row["prompt"]], *branch.ids] for branch in branches]
    keys = [_key(seed, branch, 0) for branch in branches]
    completions = _generate(policy, before, keys, [branch.room for branch in branches])
    _without_markers(policy, tokens, branches, before, completions, seed=seed, lexicon=lexicon)
    texts = [tokens.text([*b.ids, *c.token_ids]) for b, c in zip(branches, completions, strict=True)]
    rows = [branch.row for branch in branches]
    verdicts = Accuracy(policy.extraction).verdicts(
        texts,
        gold=[row["gold"] for row in rows],
        meta=[row["meta"] for row in rows],
        verifier=[verifier_of(row) or "exact" for row in rows],  # rows of an older schema do not name theirs
        prefill=[row.get("prefill") or "" for row in rows],
    )
    return [
        Continued(b, text, len(tokens.text(b.ids)), tuple(c.token_ids), c.finish_reason, verdict)
        for b, text, c, verdict in zip(branches, texts, completions, verdicts, strict=True)
    ]


def first_marker(text: str, start: int, prefill: str, lexicon: str) -> markers.Marker | None:
    """The first marker in the reasoning that ends behind `start`."""
    spans = reasoning_spans(text, prefill)
    for marker in markers.find(text, lexicon):
        if marker.end > start and any(first <= marker.start < end for first, end in spans):
            return marker
    return None


def _without_markers(
    policy: Policy,
    tokens: TokenCuts,
    branches: Sequence[Branch],
    before: Sequence[list[int]],
    completions: list[Completion],
    *,
    seed: int,
    lexicon: str,
) -> None:
    """Replace continuations of banned branches that hold a marker, until none does or the rounds are over.

    Such a continuation is cut where its first marker begins, another token is drawn there, and it goes on: of
    "no , wait" stays "no ,", and any token but "wait" comes next.

    Args:
        before: token ids in front of each continuation.
        completions: the continuations; changed in place.
    """
    # By branch: place in its continuation -> the tokens that are banned there.
    banned: dict[int, dict[int, set[int]]] = {i: {} for i, branch in enumerate(branches) if branch.banned}
    for number in range(1, BAN_ROUNDS + 1):
        places = {i: _first_marker_token(tokens, branches[i], completions[i], lexicon) for i in banned}
        again = {i: place for i, place in places.items() if place is not None}
        if not again:
            return
        for i, place in again.items():
            # What was banned further on was banned behind other words.
            banned[i] = {at: those for at, those in banned[i].items() if at <= place}
            banned[i].setdefault(place, set()).add(completions[i].token_ids[place])
        banned = {i: banned[i] for i in again}
        keys = {i: _key(seed, branches[i], number) for i in again}
        heads = {i: completions[i].token_ids[:place] for i, place in again.items()}
        drawn = _next_tokens(policy, [[*before[i], *heads[i]] for i in again], [*keys.values()],
                             [banned[i][place] for i, place in again.items()])  # fmt: skip
        for i, token in zip(again, drawn, strict=True):
            ended = "eos" if token in policy.engine.eos_token_ids else "length"
            completions[i] = Completion([*heads[i], token], [], ended)
        going = [i for i in again if completions[i].finish_reason != "eos" and again[i] + 1 < branches[i].room]
        rests = _generate(policy, [[*before[i], *completions[i].token_ids] for i in going], [keys[i] for i in going],
                          [branches[i].room - again[i] - 1 for i in going])  # fmt: skip
        for i, rest in zip(going, rests, strict=True):
            completions[i] = Completion([*completions[i].token_ids, *rest.token_ids], [], rest.finish_reason)


def _first_marker_token(tokens: TokenCuts, branch: Branch, done: Completion, lexicon: str) -> int | None:
    """The place in a continuation of the token with which its first marker begins; None without a marker."""
    ids = [*branch.ids, *done.token_ids]
    hit = first_marker(tokens.text(ids), len(tokens.text(branch.ids)), branch.row.get("prefill") or "", lexicon)
    if hit is None:
        return None
    return min(max(0, len(tokens.until(ids, hit.start)) - len(branch.ids)), len(done.token_ids) - 1)


def _generate(policy: Policy, prompts: list[list[int]], keys: list[int], rooms: list[int]) -> list[Completion]:
    """Completions of at most `rooms` tokens each.

    Rows of about the same room, to the next power of two, are sampled together: a forced answer is not given room for
    a whole rollout.
    """
    found: dict[int, Completion] = {}
    caps = [1 << max(4, (room - 1).bit_length()) for room in rooms]
    for cap in sorted(set(caps)):
        at = [i for i, other in enumerate(caps) if other == cap]
        sampling = replace(policy.sampling, max_completion_length=max(rooms[i] for i in at))
        done = policy.engine.generate(policy.model, [prompts[i] for i in at], [keys[i] for i in at], sampling)
        for i, one in zip(at, done, strict=True):
            whole = len(one.token_ids) <= rooms[i]
            found[i] = one if whole else Completion(one.token_ids[: rooms[i]], [], "length")
    return [found[i] for i in range(len(rooms))]


@torch.no_grad()
def _next_tokens(policy: Policy, prompts: list[list[int]], keys: list[int], banned: list[set[int]]) -> list[int]:
    """One token behind each prompt, none of those banned there."""
    device = next(policy.model.parameters()).device
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found = [0] * len(prompts)
    while order:
        width = len(prompts[order[-1]])
        part = [order.pop() for _ in range(min(len(order), max(1, _FORWARD_TOKENS // width)))]
        ids = torch.zeros(len(part), width, dtype=torch.long, device=device)
        mask = torch.zeros_like(ids)
        for row, i in enumerate(part):
            ids[row, width - len(prompts[i]) :] = torch.tensor(prompts[i], device=device)
            mask[row, width - len(prompts[i]) :] = 1
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits = policy.model(input_ids=ids, attention_mask=mask, position_ids=positions, logits_to_keep=1).logits[
            :, -1
        ]
        for row, i in enumerate(part):
            logits[row, list(banned[i])] = float("-inf")
        drawn = draw(logits, torch.tensor([keys[i] for i in part]), _NEXT, policy.sampling)
        for i, token in zip(part, drawn.tokens.tolist(), strict=True):
            found[i] = token
    return found


def _key(seed: int, branch: Branch, number: int) -> int:
    row = branch.row
    return row_key(seed, "counterfactual", row["prompt_id"], row["sample_idx"], branch.point, branch.arm, branch.sample,
                   number)  # fmt: skip
