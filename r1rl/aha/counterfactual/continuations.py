"""Sampling on from inside a rollout: from its first tokens and what is put behind them, freely or with words banned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import torch

from r1rl.aha.detect import markers
from r1rl.aha.detect.annotation import verifier_of
from r1rl.aha.detect.reasoning import reasoning_spans
from r1rl.rollout.engine import Completion
from r1rl.rollout.sampling import Sampling, draw, row_key
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
    """Cuts in characters -> cuts in tokens, for one tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def until(self, row: Row, char: int) -> list[int]:
        """The tokens whose text lies before `char` of the completion, those that end right there included."""
        return self.split(row["token_ids"], char)

    def split(self, ids: Sequence[int], char: int) -> list[int]:
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
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

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
    tokens = TokenCuts(policy.tokenizer)
    prompts = {text: policy.tokenizer(text)["input_ids"] for text in {branch.row["prompt"] for branch in branches}}
    found: list[Completion | None] = [None] * len(branches)
    # Rows of one cap go together: a forced answer is not given room for a whole rollout.
    for room in sorted({_room(branch) for branch in branches}):
        at = [i for i, branch in enumerate(branches) if _room(branch) == room]
        done = _generate(
            policy,
            [[*prompts[branches[i].row["prompt"]], *branches[i].ids] for i in at],
            [_key(seed, branches[i], 0) for i in at],
            [branches[i].room for i in at],
        )
        for i, completion in zip(at, done, strict=True):
            found[i] = completion
    completions = [completion for completion in found if completion is not None]
    _without_markers(policy, tokens, branches, completions, prompts, seed, lexicon)
    texts = [tokens.text([*b.ids, *c.token_ids]) for b, c in zip(branches, completions, strict=True)]
    columns = [_columns(branch.row) for branch in branches]
    verdicts = Accuracy(policy.extraction).verdicts(
        texts, **{name: [column[name] for column in columns] for name in ("gold", "meta", "verifier", "prefill")}
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
    completions: list[Completion],
    prompts: Mapping[str, list[int]],
    seed: int,
    lexicon: str,
) -> None:
    """Replace continuations of banned branches that hold a marker, until none does or the rounds are over."""
    taken: dict[int, dict[int, set[int]]] = {i: {} for i, branch in enumerate(branches) if branch.banned}
    for number in range(1, BAN_ROUNDS + 1):
        again: list[tuple[int, int]] = []  # branch, tokens of its continuation that stay
        for i in list(taken):
            branch, done = branches[i], completions[i]
            ids = [*branch.ids, *done.token_ids]
            start = len(tokens.text(branch.ids))
            hit = first_marker(tokens.text(ids), start, branch.row.get("prefill") or "", lexicon)
            if hit is None:
                del taken[i]
                continue
            stays = min(max(0, len(tokens.split(ids, hit.start)) - len(branch.ids)), len(done.token_ids) - 1)
            # What was banned further on was banned behind other words.
            bans = {at: tokens_there for at, tokens_there in taken[i].items() if at <= stays}
            taken[i] = bans | {stays: bans.get(stays, set()) | {done.token_ids[stays]}}
            again.append((i, stays))
        if not again:
            return
        keys = [_key(seed, branches[i], number) for i, _ in again]
        before = [[*prompts[branches[i].row["prompt"]], *branches[i].ids, *completions[i].token_ids[:stays]]
                  for i, stays in again]  # fmt: skip
        next_tokens = _next_tokens(policy, before, keys, [taken[i][stays] for i, stays in again])
        rooms = [branches[i].room - stays - 1 for i, stays in again]
        ended = [
            token in policy.engine.eos_token_ids or room < 1 for token, room in zip(next_tokens, rooms, strict=True)
        ]
        going = [n for n, over in enumerate(ended) if not over]
        behind = _generate(policy, [[*before[n], next_tokens[n]] for n in going], [keys[n] for n in going],
                           [rooms[n] for n in going])  # fmt: skip
        more = dict(zip(going, behind, strict=True))
        for n, (i, stays) in enumerate(again):
            rest = more.get(n)
            head = [*completions[i].token_ids[:stays], next_tokens[n]]
            if rest is None:
                reason = "eos" if next_tokens[n] in policy.engine.eos_token_ids else "length"
                completions[i] = Completion(head, [], reason)
            else:
                completions[i] = Completion([*head, *rest.token_ids], [], rest.finish_reason)


def _generate(policy: Policy, prompts: list[list[int]], keys: list[int], rooms: list[int]) -> list[Completion]:
    """Completions of at most `rooms` tokens each."""
    if not prompts:
        return []
    settings = {**vars(policy.sampling), "max_completion_length": max(rooms)}
    found = policy.engine.generate(policy.model, prompts, keys, Sampling(**settings))
    return [
        done if len(done.token_ids) <= room else Completion(done.token_ids[:room], [], "length")
        for done, room in zip(found, rooms, strict=True)
    ]


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


def _room(branch: Branch) -> int:
    """Caps are rounded up to a power of two, so that few calls serve all branches."""
    return 1 << max(4, (branch.room - 1).bit_length())


def _key(seed: int, branch: Branch, number: int) -> int:
    row = branch.row
    return row_key(seed, "counterfactual", row["prompt_id"], row["sample_idx"], branch.point, branch.arm, branch.sample,
                   number)  # fmt: skip


def _columns(row: Row) -> dict[str, Any]:
    """What the verifier needs of a stored rollout; one of an older schema does not name its verifier."""
    return {
        "gold": row["gold"],
        "meta": row["meta"],
        "verifier": verifier_of(row) or "exact",
        "prefill": row.get("prefill") or "",
    }
