"""Which rollouts a reader is shown, and their text cut into pieces with what was detected in each.

Chosen rollouts are drawn by a seeded generator among all of their kind, never picked for looks, and are shown
with how many of that kind there are; a random draw from everything stands beside them.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from r1rl.inspect.run_data import Attempt, Marker, Rollout, RunData


@dataclass(frozen=True)
class Kind:
    """A kind of rollout. `rule` says in words which rollouts belong to it."""

    name: str
    rule: str
    belongs: Callable[[Rollout], bool]


KINDS = (
    Kind(
        "wrong → right", "a wrong attempt directly followed by a right one",
        lambda r: "wrong_right" in r.transitions,
    ),
    Kind(
        "right first time", "the first attempt is right, and so is the answer",
        lambda r: r.correct and r.first_right,
    ),
    Kind("wrong", "judged, and the answer is not correct", lambda r: r.judged and not r.correct),
)  # fmt: skip
# Where the task has no attempt detector, nothing is known of the way to the answer.
KINDS_WITHOUT_ATTEMPTS = (Kind("right", "the answer is correct", lambda r: r.correct), KINDS[-1])


@dataclass(frozen=True)
class Drawn:
    """Rollouts drawn from the `count` of `total` rollouts of the last measured step that `rule` describes."""

    name: str
    rule: str
    count: int
    total: int
    rollouts: list[Rollout]


def choose(data: RunData, per_kind: int = 1, seed: int = 0) -> list[Drawn]:
    """`per_kind` rollouts of every kind from the last evaluation (fewer where there are fewer), seeded."""
    drawn = []
    for kind in KINDS if data.has_attempts else KINDS_WITHOUT_ATTEMPTS:
        members = [r for r in data.last_rollouts if kind.belongs(r)]
        drawn.append(_draw(kind.name, kind.rule, members, len(data.last_rollouts), per_kind, seed))
    return drawn


def choose_randomly(data: RunData, count: int = 4, seed: int = 0) -> Drawn:
    """`count` rollouts of the last evaluation, whatever they are, seeded."""
    everything = data.last_rollouts
    where = "training step" if data.training_only else "evaluation"
    return _draw("random", f"any rollout of the {where}", everything, len(everything), count, seed)


@dataclass(frozen=True)
class Pair:
    """One sample of a held-out prompt at the first and at the last step, drawn from the `count` of `total` such samples
    that were wrong before and right after."""

    count: int
    total: int
    before: Rollout
    after: Rollout


def before_and_after(data: RunData, seed: int = 0) -> Pair | None:
    """A seeded draw; None where only one step was measured, or no sample became right."""
    if data.training_only or not data.compared:
        return None
    sampled = [
        {(r.prompt_id, r.row["sample_idx"]): r for r in data.rollouts[step]} for step in (data.steps[0], data.steps[-1])
    ]
    both = [(before, sampled[1][key]) for key, before in sampled[0].items() if key in sampled[1]]
    learnt = [(b, a) for b, a in both if b.judged and not b.correct and a.correct]
    if not learnt:
        return None
    return Pair(len(learnt), len(both), *random.Random(f"samples|before and after|{seed}").choice(learnt))


def _draw(name: str, rule: str, members: list[Rollout], total: int, count: int, seed: int) -> Drawn:
    generator = random.Random(f"samples|{name}|{seed}")
    return Drawn(name, rule, len(members), total, generator.sample(members, k=min(count, len(members))))


@dataclass(frozen=True)
class Piece:
    """A stretch of a completion over which nothing changes.

    `attempt` is the index of the attempt it belongs to, `opens` and `closes` tell its ends; `left_out` is the
    number of characters that were cut out here (the piece is then empty).
    """

    text: str
    attempt: int | None = None
    marker: Marker | None = None
    opens: bool = False
    closes: bool = False
    left_out: int = 0


def pieces(completion: str, attempts: list[Attempt], markers: list[Marker], longest: int) -> Iterator[Piece]:
    """The completion in order; beyond `longest` characters its middle is left out.

    Attempts do not overlap one another, nor do markers; should they all the same, the earlier span holds.
    """
    size = len(completion)
    cut_from, cut_to = size, size
    if size > longest:
        cut_from, cut_to = longest - longest // 2, size - longest // 2
    inside: list[tuple[int, int, int]] = [(a.start, a.end, i) for i, a in enumerate(attempts)]
    edges = {0, size, cut_from, cut_to}
    for start, end in [(a.start, a.end) for a in attempts] + [(m.start, m.end) for m in markers]:
        edges.update(min(max(edge, 0), size) for edge in (start, end))
    ordered = sorted(edges)
    for start, end in pairwise(ordered):
        if start == cut_from and cut_from < cut_to:
            yield Piece("", left_out=cut_to - cut_from)
        if cut_from <= start < cut_to:
            continue
        span = next((s for s in inside if s[0] <= start and end <= s[1]), None)
        marker = next((m for m in markers if m.start <= start and end <= m.end), None)
        yield Piece(
            completion[start:end],
            attempt=None if span is None else span[2],
            marker=marker,
            opens=span is not None and start == span[0],
            closes=span is not None and end == span[1],
        )


def shown(text: str) -> Iterator[tuple[str, bool]]:
    r"""The text as (stretch, is_escape): invisible and reordering characters come as escapes such as \u202e.

    Line feeds and tabs stay. A reader must see what a policy wrote; a terminal or browser must not obey it.
    """
    plain = ""
    for character in text:
        if character in "\n\t" or unicodedata.category(character) not in (
            "Cc",
            "Cf",
            "Cs",
            "Co",
            "Cn",
            "Zl",
            "Zp",
        ):
            plain += character
            continue
        if plain:
            yield plain, False
            plain = ""
        yield escape(character), True
    if plain:
        yield plain, False


def escape(character: str) -> str:
    r"""`\x00`, `\u202e` or `\U000e0001`."""
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def visible(text: str) -> str:
    """The text with its control and reordering characters escaped."""
    return "".join(stretch for stretch, _ in shown(text))


def middle(text: str, longest: int) -> str:
    """The text, without its middle where it is longer than `longest` characters."""
    if len(text) <= longest:
        return text
    return f"{text[: longest - longest // 2]} … {text[len(text) - longest // 2 :]}"


def ending(text: str, longest: int) -> str:
    """The text's last `longest` characters: a prompt's question comes last."""
    return text if len(text) <= longest else f"… {text[-longest:]}"
