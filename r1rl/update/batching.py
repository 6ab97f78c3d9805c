"""How the update lays its rows out: which tokens are forwarded together, each of them once.

Plain GRPO forwards a padded rectangle of prompt + completion for every rollout. Here the completions of one prompt
may be packed behind a single copy of it. Where `packed_attention` serves, all groups of a chunk lie in one row without
padding, and what their prompts begin with (worked examples) is forwarded once for all of them; elsewhere rows of
similar width are padded to the widest one of their chunk. The layouts are equal by construction: every completion
token attends to its own prompt and to the earlier tokens of its own completion, at the positions it would have alone.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from r1rl.rollout import prefix
from r1rl.update import packed_attention

# A group this much larger than a pass is not cut yet: each piece would forward the prompt once more.
_UNCUT = 1.25
# A packed row attends over its whole square under a mask; a plain row over half of it, without one.
_MASKED_ATTENTION = 2.5


@dataclass(frozen=True)
class Cost:
    """What a forward pass costs, up to one factor: `per_token` for each token, `per_pair` for each query-key pair."""

    per_token: float
    per_pair: float

    def row(self, width: int, packed: bool) -> float:
        """The cost of one row of `width` tokens."""
        pairs = width * width * (_MASKED_ATTENTION if packed else 0.5)
        return width * self.per_token + pairs * self.per_pair


@dataclass(frozen=True)
class PackedRow:
    """One prompt and the completions behind it, by their indices into the batch."""

    prompt: tuple[int, ...]
    completions: tuple[int, ...]
    width: int


def pack(
    prompts: Sequence[Sequence[int]], completion_lengths: Sequence[int], cost: Cost, *, may_share: bool
) -> list[PackedRow]:
    """Rows that hold every completion once, equal prompts shared where that is cheaper.

    Args:
        prompts: token ids of each rollout's prompt.
        completion_lengths: tokens of each rollout's completion; an empty one is left out.
        may_share: whether the model takes a 4-D mask, so that several completions fit behind one prompt.
    """
    rows: list[PackedRow] = []
    for prompt, members in _by_prompt(prompts, completion_lengths).items():
        best: tuple[float, list[PackedRow]] | None = None
        for count in range(1 if may_share else len(members), len(members) + 1):
            split = _split(prompt, members, completion_lengths, count)
            price = sum(cost.row(row.width, len(row.completions) > 1) for row in split)
            if best is None or price < best[0]:
                best = price, split
        assert best is not None
        rows += best[1]
    return rows


def fill(prompts: Sequence[Sequence[int]], completion_lengths: Sequence[int], tokens: int) -> list[list[PackedRow]]:
    """Chunks of about `tokens` tokens that hold every completion once, for a layout without padding.

    A group is forwarded together and its prompt once, unless the group alone is a quarter more than `tokens`; what all
    prompts begin with is forwarded once in a chunk. An empty completion is left out.
    """
    rows: list[PackedRow] = []
    for prompt, members in _by_prompt(prompts, completion_lengths).items():
        total = sum(completion_lengths[i] for i in members)
        room = max(1, int(tokens * _UNCUT) - len(prompt))
        rows += _split(prompt, members, completion_lengths, min(len(members), -(-total // room)))
    rows.sort(key=lambda row: -row.width)
    common = prefix.shared([row.prompt for row in rows])
    widths = [row.width - common for row in rows]
    bins = _even_bins(widths, -(-sum(widths) // max(1, tokens - common)))
    return [[rows[i] for i in members] for members in bins if members]


def _by_prompt(prompts: Sequence[Sequence[int]], completion_lengths: Sequence[int]) -> dict[tuple[int, ...], list[int]]:
    """The indices of each prompt's rollouts that have a completion, the longest completion first."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for i in sorted(range(len(prompts)), key=lambda i: -completion_lengths[i]):
        if completion_lengths[i]:
            groups.setdefault(tuple(prompts[i]), []).append(i)
    return groups


def _split(prompt: tuple[int, ...], members: Sequence[int], lengths: Sequence[int], count: int) -> list[PackedRow]:
    """One group in `count` rows of about the same width; its members come longest first."""
    bins = _even_bins([lengths[i] for i in members], count)
    return [
        PackedRow(prompt, tuple(members[k] for k in some), len(prompt) + sum(lengths[members[k]] for k in some))
        for some in bins
    ]


def _even_bins(sizes: Sequence[int], count: int) -> list[list[int]]:
    """Indices in `count` bins of about the same sum: each, largest first, into the emptiest bin."""
    bins: list[list[int]] = [[] for _ in range(count)]
    heap = [(0, b) for b in range(count)]
    for i, size in enumerate(sizes):
        filled, b = heapq.heappop(heap)
        bins[b].append(i)
        heapq.heappush(heap, (filled + size, b))
    return bins


def chunks(rows: Sequence[PackedRow], tokens: int) -> list[list[PackedRow]]:
    """Split rows, sorted by width, so that a padded chunk holds at most `tokens` tokens (one row always fits).

    Packed rows and plain rows never share a chunk: plain ones need no mask.
    """
    done: list[list[PackedRow]] = []
    for packed in (True, False):
        open_chunk: list[PackedRow] = []
        kind = [row for row in rows if (len(row.completions) > 1) == packed]
        for row in sorted(kind, key=lambda row: -row.width):
            if open_chunk and (len(open_chunk) + 1) * open_chunk[0].width > tokens:
                done.append(open_chunk)
                open_chunk = []
            open_chunk.append(row)
        if open_chunk:
            done.append(open_chunk)
    return done


@dataclass
class Chunk:
    """One forward pass, and where its scores belong.

    Args:
        input_ids, position_ids: int64 [rows, width], right-padded.
        attention_mask: bool [rows, 1, width, width], True where a query may look; None for plain causal rows; of a
            flat row it carries the spans, see `packed_attention.mask_for`.
        sources: int64 [scores], flat indices into rows x width of the hidden states that predict a token.
        targets: int64 [scores], the predicted tokens.
        row, column: int64 [scores], the rollout and the position in its completion.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    sources: torch.Tensor
    targets: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor


def flat_layout(rows: Sequence[PackedRow], completions: Sequence[Sequence[int]], device: torch.device) -> Chunk:
    """The tensors of one chunk as a single row without padding. `completions` are the token ids of the whole batch."""
    common = prefix.shared([row.prompt for row in rows])
    ids = list(rows[0].prompt[:common])
    positions = list(range(common))
    scores = _Scores()
    for row in rows:
        ids += row.prompt[common:]
        positions += range(common, len(row.prompt))
        last = len(ids) - 1
        for i in row.completions:
            scores.add(i, completions[i], last, len(ids))
            ids += completions[i]
            positions += range(len(row.prompt), len(row.prompt) + len(completions[i]))
    groups = [(len(row.prompt) - common, [len(completions[i]) for i in row.completions]) for row in rows]
    mask = packed_attention.mask_for(packed_attention.Spans(groups, common), device)
    input_ids, position_ids = (torch.tensor([values], device=device) for values in (ids, positions))
    return Chunk(input_ids, position_ids, mask, *scores.tensors(device))


def layout(rows: Sequence[PackedRow], completions: Sequence[Sequence[int]], device: torch.device) -> Chunk:
    """The tensors of one chunk. `completions` are the token ids of the whole batch."""
    width = max(row.width for row in rows)
    input_ids = torch.zeros(len(rows), width, dtype=torch.long)
    # Padding counts on, because `transformers` takes a restart without a mask for a packed row and builds one.
    position_ids = torch.arange(width).repeat(len(rows), 1)
    segments = torch.full((len(rows), width), -1)  # 0: the prompt, k: the k-th completion, -1: padding
    scores = _Scores()
    for r, row in enumerate(rows):
        start = len(row.prompt)
        input_ids[r, :start] = torch.tensor(row.prompt)
        segments[r, :start] = 0
        for k, i in enumerate(row.completions, 1):
            length = len(completions[i])
            input_ids[r, start : start + length] = torch.tensor(completions[i])
            position_ids[r, start : start + length] = len(row.prompt) + torch.arange(length)
            segments[r, start : start + length] = k
            scores.add(i, completions[i], r * width + len(row.prompt) - 1, r * width + start)
            start += length
    mask = None
    if any(len(row.completions) > 1 for row in rows):
        query, key = segments[:, :, None], segments[:, None, :]
        causal = torch.ones(width, width, dtype=torch.bool).tril()
        # A padded query looks at itself alone, because a softmax over nothing is NaN.
        mask = causal & ((query == key) | (key == 0)) & (query >= 0) | torch.eye(width, dtype=torch.bool)
        mask = mask[:, None].to(device)
    return Chunk(input_ids.to(device), position_ids.to(device), mask, *scores.tensors(device))


@dataclass(frozen=True)
class Batching:
    """How the rows of one model are laid out.

    Args:
        tokens: about how many tokens one forward pass has.
        flat: whether many groups may lie in one row, see `packed_attention`.
        may_share: whether completions of one prompt may share a row under a 4-D mask, where rows are not flat.
        cost: decides whether they do.
    """

    tokens: int
    flat: bool
    may_share: bool
    cost: Cost

    def passes(
        self, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]]
    ) -> tuple[list[list[PackedRow]], int]:
        """The forward passes that hold every completion once, and their useful tokens.

        Useful are the completions and the prompts before them, what several prompts begin with once; an empty
        completion is left out. No fewer can be forwarded.
        """
        lengths = [len(completion) for completion in completions]
        if self.flat:
            passes = fill(prompts, lengths, self.tokens)
        else:
            passes = chunks(pack(prompts, lengths, self.cost, may_share=self.may_share), self.tokens)
        return passes, sum(lengths) + prefix.distinct(_by_prompt(prompts, lengths))

    def chunk(self, rows: Sequence[PackedRow], completions: Sequence[Sequence[int]], device: torch.device) -> Chunk:
        """The tensors of one pass; without rows, those of a pass that scores nothing."""
        return (flat_layout if self.flat else layout)(rows or [_IDLE], completions, device)


_IDLE = PackedRow((0,), (), 1)


class _Scores:
    """The columns of a chunk that say what to score, in the order of `Chunk`."""

    def __init__(self) -> None:
        self.columns: tuple[list[int], list[int], list[int], list[int]] = ([], [], [], [])

    def add(self, rollout: int, completion: Sequence[int], prompt_end: int, start: int) -> None:
        """Score a completion at `start` whose first token is predicted at `prompt_end`."""
        sources, targets, row, column = self.columns
        sources += [prompt_end, *range(start, start + len(completion) - 1)]
        targets += completion
        row += [rollout] * len(completion)
        column += range(len(completion))

    def tensors(self, device: torch.device) -> list[torch.Tensor]:
        return [torch.tensor(column, dtype=torch.long, device=device) for column in self.columns]
