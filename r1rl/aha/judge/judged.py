"""A judge's opinion of a run beside the exact detectors': asked where it is not known yet, then measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

from r1rl.aha.judge import labels
from r1rl.aha.judge.agreement import Agreement, agree
from r1rl.aha.judge.cache import Cache
from r1rl.aha.judge.labels import Claim
from r1rl.aha.judge.sample import DETECTORS, Item

if TYPE_CHECKING:
    from pathlib import Path

    from r1rl.aha.judge.endpoint import Endpoint

_Said = Mapping[int, Mapping[str, bool | None]]
"""What a reader says of each item, by its index and by label; None: its claim is void, or it does not look for that."""


@dataclass(frozen=True)
class Result:
    """What a judge says of a sample of a run.

    Args:
        steps: step -> rollouts of the sample.
        judged: rollouts with a usable reply; `left_out` counts the others by the reason.
        claims: claims that something is present; `void` counts those that do not count by their fault.
        agreement: "detector", or another model that answered about the same texts -> label -> agreement with it.
    """

    run: str
    kind: str
    model: str
    steps: Mapping[int, int]
    prompts: int
    rollouts: int
    judged: int
    left_out: Mapping[str, int]
    claims: int
    void: Mapping[str, int]
    agreement: Mapping[str, Mapping[str, Agreement]]


def ask(items: Sequence[Item], cache: Cache, endpoint: Endpoint, *, progress: bool = False) -> Counter[str]:
    """Ask the endpoint what the cache does not hold, each text once, and keep every answer as it comes.

    Returns how many rollouts got no answer, by the reason. Raises RunFailedError as `endpoint.ask_all`, and OSError
    where an answer cannot be kept.
    """
    from r1rl.aha.judge.endpoint import ask_all

    keys = [labels.key(endpoint.model, item.question, item.completion) for item in items]
    texts, sharing = dict(zip(keys, items, strict=True)), Counter(keys)
    waiting = [key for key in texts if key not in cache.replies]
    failed: Counter[str] = Counter()

    def unanswered(index: int, reason: str) -> None:
        failed[reason] += sharing[waiting[index]]

    done = len(texts) - len(waiting)
    with tqdm(desc="judging", unit="text", total=len(texts), initial=done, disable=not progress, leave=False) as bar:

        def answered(index: int, reply: str) -> None:
            cache.put(endpoint.model, waiting[index], reply)
            bar.update()

        if waiting:
            chats = [labels.messages(texts[key].question, texts[key].completion) for key in waiting]
            ask_all(endpoint, chats, answered, unanswered)
    return failed


def measure(
    run_dir: Path,
    kind: str,
    items: Sequence[Item],
    cache: Cache,
    model: str,
    unanswered: Mapping[str, int] | None = None,
) -> Result:
    """The judge's labels beside the detectors', from the cache alone. Raises ValueError where it holds no answer."""
    claims, left_out = claimed(items, cache, model)
    if not claims and not left_out:
        reasons = "; ".join(list(unanswered or ())[:3]) or "ask it with --url"
        raise ValueError(f"model={model!r}: none of these {len(items)} rollouts was judged by it: {reasons}")
    left_out.update(unanswered or {})
    left_out["not asked"] = len(items) - len(claims) - left_out.total()
    said = {i: _said(one) for i, one in claims.items()}
    readers: dict[str, _Said] = {"detector": {i: items[i].detected for i in said}}
    for other in sorted(cache.models - {model}):
        theirs = {i: _said(one) for i, one in claimed(items, cache, other)[0].items() if i in said}
        readers |= {other: theirs} if theirs else {}
    every = [claim for one in claims.values() for claim in one.values()]
    return Result(
        run=run_dir.resolve().name,
        kind=kind,
        model=model,
        steps=dict(sorted(Counter(item.step for item in items).items())),
        prompts=len({item.prompt_id for item in items}),
        rollouts=len(items),
        judged=len(claims),
        left_out={reason: count for reason, count in left_out.items() if count > 0},
        claims=sum(claim.present is not False for claim in every),
        void=dict(Counter(claim.fault for claim in every if claim.fault is not None)),
        agreement={
            name: {label: _agreement(items, said, others, label) for label in DETECTORS}
            for name, others in readers.items()
        },
    )


def claimed(items: Sequence[Item], cache: Cache, model: str) -> tuple[dict[int, dict[str, Claim]], Counter[str]]:
    """A model's claims about each item with a usable reply, by its index; and its other replies by their fault."""
    found, unusable = {}, Counter[str]()
    for i, item in enumerate(items):
        reply = cache.replies.get(labels.key(model, item.question, item.completion))
        if reply is not None:
            try:
                found[i] = labels.read(reply, item.completion)
            except labels.UnusableError as error:
                unusable[str(error)] += 1
    return found, unusable


def _said(claims: Mapping[str, Claim]) -> dict[str, bool | None]:
    """By label; "any" is true with one valid claim, and false only where no claim is void."""
    found = {label: claim.present for label, claim in claims.items()}
    return found | {"any": True if True in found.values() else None if None in found.values() else False}


def _agreement(items: Sequence[Item], said: _Said, others: _Said, label: str) -> Agreement:
    """Over the items about which both say anything."""
    return agree(
        [
            (items[i].prompt_id, judge, other)
            for i, answers in others.items()
            if (judge := said[i][label]) is not None and (other := answers[label]) is not None
        ]
    )
