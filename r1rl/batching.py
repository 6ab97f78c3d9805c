"""How the update lays its rows out: which tokens are forwarded together, each of them once.

Plain GRPO forwards a padded rectangle of prompt + completion for every rollout. Here the completions of one prompt
may be packed behind a single copy of it, rows of similar width are forwarded together, and nothing is padded beyond
the widest row of its chunk. The layouts are equal by construction: every completion token attends to its own prompt
and to the earlier tokens of its own completion, at the positions it would have alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

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
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, prompt in enumerate(prompts):
        if completion_lengths[i]:
            groups.setdefault(tuple(prompt), []).append(i)
    rows: list[PackedRow] = []
    for prompt, members in groups.items():
        # Longest first onto the shortest bin keeps the bins equal.
        members.sort(key=lambda i: -completion_lengths[i])
        best: tuple[float, list[PackedRow]] | None = None
        for count in range(1 if may_share else len(members), len(members) + 1):
            bins: list[list[int]] = [[] for _ in range(count)]
            widths = [len(prompt)] * count
            for i in members:
                shortest = widths.index(min(widths))
                bins[shortest].append(i)
                widths[shortest] += completion_lengths[i]
            price = sum(cost.row(w, len(b) > 1) for w, b in zip(widths, bins, strict=True))
            if best is None or price < best[0]:
                best = price, [PackedRow(prompt, tuple(b), w) for b, w in zip(bins, widths, strict=True)]
        assert best is not None
        rows += best[1]
    return rows


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
        attention_mask: bool [rows, 1, width, width], True where a query may look; None for plain causal rows.
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


def layout(rows: Sequence[PackedRow], completions: Sequence[Sequence[int]], device: torch.device) -> Chunk:
    """The tensors of one chunk. `completions` are the token ids of the whole batch."""
    width = max(row.width for row in rows)
    input_ids = torch.zeros(len(rows), width, dtype=torch.long)
    # Padding counts on, because `transformers` takes a restart without a mask for a packed row and builds one.
    position_ids = torch.arange(width).repeat(len(rows), 1)
    segments = torch.full((len(rows), width), -1)  # 0: the prompt, k: the k-th completion, -1: padding
    sources: list[int] = []
    targets: list[int] = []
    of_row: list[int] = []
    of_column: list[int] = []
    for r, row in enumerate(rows):
        start = len(row.prompt)
        input_ids[r, :start] = torch.tensor(row.prompt)
        segments[r, :start] = 0
        for k, i in enumerate(row.completions, 1):
            length = len(completions[i])
            input_ids[r, start : start + length] = torch.tensor(completions[i])
            position_ids[r, start : start + length] = len(row.prompt) + torch.arange(length)
            segments[r, start : start + length] = k
            base = r * width
            sources += [base + len(row.prompt) - 1, *range(base + start, base + start + length - 1)]
            targets += completions[i]
            of_row += [i] * length
            of_column += range(length)
            start += length
    mask = None
    if any(len(row.completions) > 1 for row in rows):
        query, key = segments[:, :, None], segments[:, None, :]
        causal = torch.ones(width, width, dtype=torch.bool).tril()
        # A padded query looks at itself alone, because a softmax over nothing is NaN.
        mask = causal & ((query == key) | (key == 0)) & (query >= 0) | torch.eye(width, dtype=torch.bool)
        mask = mask[:, None].to(device)
    scores = (torch.tensor(column, dtype=torch.long, device=device) for column in (sources, targets, of_row, of_column))
    return Chunk(input_ids.to(device), position_ids.to(device), mask, *scores)
