"""A judge's opinion of a run beside the exact detectors': asked where it is not known yet, then measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from r1rl.aha.judge import labels
from r1rl.aha.judge.agreement import Agreement, Rates, agree, rates
from r1rl.aha.judge.cache import Answer, Cache, models
from r1rl.aha.judge.labels import Judgement
from r1rl.aha.judge.sample import DETECTORS, Item

if TYPE_CHECKING:
    from pathlib import Path

    from r1rl.aha.judge.endpoint import Endpoint

NOT_ASKED: Final = "not asked"
_SHOWN_REASONS: Final = 3
_Said = Mapping[int, Mapping[str, bool | None]]
"""What a judge says of each item, by its index and by label; None: its claim is void."""


@dataclass(frozen=True)
class Void:
    """A claim that does not count, and where it was made; `quote` is the judge's."""

    label: str
    step: int
    prompt_id: str
    sample_idx: int
    fault: str
    quote: str


@dataclass(frozen=True)
class Row:
    """One label: a judge against the detectors, and both at the first and the last step of the sample."""

    agreement: Agreement
    judge: Rates
    detector: Rates


@dataclass(frozen=True)
class Result:
    """What a judge says of a sample of a run.

    Args:
        usable: rollouts with a judgement; `unusable` counts the others' replies by what is wrong with them, and
            `unanswered` the rollouts without a reply by the reason.
        claims: claims of usable replies that something is present; `void` holds those that do not count.
        others: another model -> its agreement with this one by label.
    """

    run: str
    kind: str
    model: str
    steps: tuple[int, ...]
    at_ends: tuple[int, int]
    prompts: int
    rollouts: int
    usable: int
    unusable: Mapping[str, int]
    unanswered: Mapping[str, int]
    claims: int
    void: tuple[Void, ...]
    rows: Mapping[str, Row]
    others: Mapping[str, Mapping[str, Agreement]]


def ask(
    items: Sequence[Item], cache: Cache, endpoint: Endpoint, progress: Callable[[int, int], object] | None = None
) -> Counter[str]:
    """Ask the endpoint what the cache does not hold, each text once, and keep every answer as it comes.

    Args:
        progress: called with the texts that are answered and their number, at first and after every answer.

    Returns how many rollouts got no answer, by the reason. Raises EndpointError as `endpoint.ask_all`, and OSError
    where an answer cannot be kept.
    """
    from r1rl.aha.judge.endpoint import ask_all

    keys = [labels.key(cache.model, item.question, item.completion) for item in items]
    texts, sharing = dict(zip(keys, items, strict=True)), Counter(keys)
    waiting = [key for key in texts if cache.get(key, endpoint.max_tokens) is None]
    failed: Counter[str] = Counter()
    done = len(texts) - len(waiting)

    def answered(index: int, answer: Answer) -> None:
        nonlocal done
        cache.put(waiting[index], answer)
        done += 1
        if progress is not None:
            progress(done, len(texts))

    def unanswered(index: int, reason: str) -> None:
        failed[reason] += sharing[waiting[index]]

    if progress is not None:
        progress(done, len(texts))
    if waiting:
        chats = [labels.messages(texts[key].question, texts[key].completion) for key in waiting]
        ask_all(endpoint, chats, answered, unanswered)
    return failed


def measure(
    run_dir: Path, kind: str, items: Sequence[Item], cache: Cache, unanswered: Mapping[str, int] | None = None
) -> Result:
    """The judge's labels beside the detectors', from the cache alone. Raises ValueError where it holds no answer."""
    found = judgements(items, cache)
    if not found:
        reasons = "; ".join(list(unanswered or ())[:_SHOWN_REASONS])
        raise ValueError(
            f"model={cache.model!r}: none of these {len(items)} rollouts was judged by it"
            + (f": {reasons}" if reasons else "; ask it with --url")
        )
    usable = {i: one for i, one in found.items() if one.unusable is None}
    said = {i: _said(one) for i, one in usable.items()}
    steps = sorted({item.step for item in items})
    ends = steps[0], steps[-1]
    missing = Counter(unanswered or {})
    missing[NOT_ASKED] += len(items) - len(found) - missing.total()
    return Result(
        run=run_dir.resolve().name,
        kind=kind,
        model=cache.model,
        steps=tuple(steps),
        at_ends=(sum(item.step == ends[0] for item in items), sum(item.step == ends[1] for item in items)),
        prompts=len({item.prompt_id for item in items}),
        rollouts=len(items),
        usable=len(usable),
        unusable=dict(Counter(one.unusable for one in found.values() if one.unusable is not None)),
        unanswered={reason: count for reason, count in missing.items() if count > 0},
        claims=sum(claim.present is not False for one in usable.values() for claim in one.claims.values()),
        void=tuple(
            Void(label, items[i].step, items[i].prompt_id, items[i].sample_idx, claim.fault, claim.quote)
            for i, one in usable.items()
            for label, claim in one.claims.items()
            if claim.fault is not None
        ),
        rows={label: _row(label, items, said, ends) for label in DETECTORS},
        others=_others(run_dir, items, cache.model, said),
    )


def judgements(items: Sequence[Item], cache: Cache) -> dict[int, Judgement]:
    """The judgement of each item that was answered, by its index."""
    found = {}
    for i, item in enumerate(items):
        answer = cache.get(labels.key(cache.model, item.question, item.completion))
        if answer is not None:
            found[i] = labels.read(answer.reply, item.completion)
            if found[i].unusable is not None and answer.cut_at:
                found[i] = Judgement({}, f"cut off at {answer.cut_at} tokens")
    return found


def _said(one: Judgement) -> dict[str, bool | None]:
    """By label; "any" is true with one valid claim, and false only where no claim is void."""
    found = {label: claim.present for label, claim in one.claims.items()}
    values = list(found.values())
    found["any"] = True if True in values else None if None in values else False
    return found


def _row(label: str, items: Sequence[Item], said: _Said, ends: tuple[int, int]) -> Row:
    known = [
        (items[i], judge, detector)
        for i, answers in said.items()
        if (judge := answers[label]) is not None and (detector := items[i].detected[label]) is not None
    ]
    at_ends = [one for one in known if one[0].step in ends and ends[0] < ends[1]]
    return Row(
        agree((item.prompt_id, judge, detector) for item, judge, detector in known),
        rates((item.prompt_id, item.step == ends[1], judge) for item, judge, _ in at_ends),
        rates((item.prompt_id, item.step == ends[1], detector) for item, _, detector in at_ends),
    )


def _others(run_dir: Path, items: Sequence[Item], model: str, said: _Said) -> dict[str, dict[str, Agreement]]:
    """Agreement with every other model that answered about the same texts."""
    found = {}
    for other in models(run_dir):
        answers = judgements(items, Cache(run_dir, other))
        theirs = {i: _said(answers[i]) for i in sorted(said.keys() & answers.keys()) if not answers[i].unusable}
        if other != model and theirs:
            found[other] = {
                label: agree(
                    (items[i].prompt_id, ours, his)
                    for i, answer in theirs.items()
                    if (ours := said[i][label]) is not None and (his := answer[label]) is not None
                )
                for label in DETECTORS
            }
    return found
