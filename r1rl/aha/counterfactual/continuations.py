"""Sampling on from inside a rollout: from its first tokens and what is put behind them, freely or with words banned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from r1rl.aha.counterfactual.tokens import Token
from r1rl.aha.counterfactual.writers import Row, Writer
from r1rl.aha.detect import markers
from r1rl.aha.detect.annotation import verifier_of
from r1rl.aha.detect.reasoning import reasoning_spans
from r1rl.rollout.engine import Completion
from r1rl.rollout.sampling import row_key
from r1rl.verify import Verdict
from rewards.accuracy import Accuracy

BAN_ROUNDS: Final = 48
"""Places at which a rollout is kept from a banned word before it is given up on."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One continuation to sample.

    Args:
        row: the source rollout.
        arm, point, sample: its key, with the source's.
        ids: the completion so far, in the writer's tokens: `kept` of the source, then what was put behind them.
        room: cap of the continuation, in tokens.
        banned: whether it may write no marker.
        stretch: tokens of the source from the cut to the end of the stretch that begins there.
        prompt: another prompt than the source's.
    """

    row: Row
    arm: str
    point: int
    sample: int
    ids: tuple[Token, ...]
    kept: int
    room: int
    banned: bool = False
    stretch: int = 0
    prompt: str | None = None


@dataclass(frozen=True, slots=True)
class Continued:
    """A sampled continuation; `completion` is the whole text, `start` where the continuation begins in it."""

    branch: Branch
    completion: str
    start: int
    token_ids: tuple[Token, ...]
    finish_reason: str
    verdict: Verdict


def sample(writer: Writer, branches: Sequence[Branch], *, seed: int, lexicon: str = "strict") -> list[Continued]:
    """Sample and judge every branch, in order. The draws depend on (seed, source, arm, sample) alone."""
    tokens = writer.tokens
    asked = [branch.row["prompt"] if branch.prompt is None else branch.prompt for branch in branches]
    prompts = {text: writer.prompt(text) for text in set(asked)}
    before = [[*prompts[text], *branch.ids] for text, branch in zip(asked, branches, strict=True)]
    keys = [_key(seed, branch, 0) for branch in branches]
    completions = writer.write(before, keys, [branch.room for branch in branches])
    _without_markers(writer, branches, before, completions, seed=seed, lexicon=lexicon)
    texts = [tokens.text([*b.ids, *c.token_ids]) for b, c in zip(branches, completions, strict=True)]
    verdicts = judged(writer.extraction, [branch.row for branch in branches], texts)
    return [
        Continued(b, text, len(tokens.text(b.ids)), tuple(c.token_ids), c.finish_reason, verdict)
        for b, text, c, verdict in zip(branches, texts, completions, verdicts, strict=True)
    ]


def judged(extraction: str, rows: Sequence[Row], texts: Sequence[str]) -> list[Verdict]:
    """The verdict of each row's verifier on a text in the place of its completion."""
    return Accuracy(extraction).verdicts(
        texts,
        gold=[row["gold"] for row in rows],
        meta=[row["meta"] for row in rows],
        verifier=[verifier_of(row) or "exact" for row in rows],  # rows of an older schema do not name theirs
        prefill=[row.get("prefill") or "" for row in rows],
    )


def first_marker(text: str, start: int, prefill: str, lexicon: str) -> markers.Marker | None:
    """The first marker in the reasoning that ends behind `start`."""
    spans = reasoning_spans(text, prefill)
    for marker in markers.find(text, lexicon):
        if marker.end > start and any(first <= marker.start < end for first, end in spans):
            return marker
    return None


def _without_markers(
    writer: Writer,
    branches: Sequence[Branch],
    before: Sequence[list[Token]],
    completions: list[Completion],
    *,
    seed: int,
    lexicon: str,
) -> None:
    """Replace continuations of banned branches that hold a marker, until none does or the rounds are over.

    Such a continuation is cut where its first marker begins, another token is drawn there, and it goes on: of
    "no , wait" stays "no ,", and any token but "wait" comes next.

    Args:
        before: tokens in front of each continuation.
        completions: the continuations; changed in place.
    """
    # By branch: place in its continuation -> the tokens that are banned there.
    banned: dict[int, dict[int, set[Token]]] = {i: {} for i, branch in enumerate(branches) if branch.banned}
    for number in range(1, BAN_ROUNDS + 1):
        places = {i: _first_marker_token(writer, branches[i], completions[i], lexicon) for i in banned}
        again = {i: place for i, place in places.items() if place is not None}
        if not again:
            return
        for i, place in again.items():
            # What was banned further on was banned behind other words.
            banned[i] = {at: those for at, those in banned[i].items() if at <= place}
            banned[i].setdefault(place, set()).add(completions[i].token_ids[place])
        keys = {i: _key(seed, branches[i], number) for i in again}
        heads = {i: completions[i].token_ids[:place] for i, place in again.items()}
        next_ones = writer.next_tokens([[*before[i], *heads[i]] for i in again], [*keys.values()],
                                       [banned[i][place] for i, place in again.items()])  # fmt: skip
        drawn = {i: token for i, token in zip(again, next_ones, strict=True) if token is not None}
        banned = {i: banned[i] for i in drawn}
        for i, token in drawn.items():
            completions[i] = Completion([*heads[i], token], [], "eos" if writer.ends(token) else "length")
        going = [i for i in drawn if completions[i].finish_reason != "eos" and again[i] + 1 < branches[i].room]
        rests = writer.write([[*before[i], *completions[i].token_ids] for i in going], [keys[i] for i in going],
                             [branches[i].room - again[i] - 1 for i in going])  # fmt: skip
        for i, rest in zip(going, rests, strict=True):
            completions[i] = Completion([*completions[i].token_ids, *rest.token_ids], [], rest.finish_reason)


def _first_marker_token(writer: Writer, branch: Branch, done: Completion, lexicon: str) -> int | None:
    """The place in a continuation of the token with which its first marker begins; None without a marker."""
    tokens, ids = writer.tokens, [*branch.ids, *done.token_ids]
    hit = first_marker(tokens.text(ids), len(tokens.text(branch.ids)), branch.row.get("prefill") or "", lexicon)
    if hit is None:
        return None
    return min(max(0, len(tokens.until(ids, hit.start)) - len(branch.ids)), len(done.token_ids) - 1)


def _key(seed: int, branch: Branch, number: int) -> int:
    row = branch.row
    return row_key(seed, "counterfactual", row["prompt_id"], row["sample_idx"], branch.point, branch.arm, branch.sample,
                   number)  # fmt: skip
