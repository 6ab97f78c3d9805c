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
    items: Sequence[Item], cache: Cache, endpoint: Endpoint, progress: Callable[[int, int], None] | None = None
) -> Counter[str]:
    """Ask the endpoint what the cache does not hold, each text once, and keep every answer as it comes.

    Args:
        progress: called with the texts that are answered and their number, at first and after every answer.

    Returns how many rollouts got no answer, by the reason. Raises EndpointError as `endpoint.ask_all`, and OSError
    where an answer cannot be kept.
    """
    from r1rl.aha.judge.endpoint import ask_all

    texts: dict[str, Item] = {}
    sharing: Counter[str] = Counter()
    for item in items:
        key = labels.key(cache.model, item.question, item.completion)
        texts.setdefault(key, item)
        sharing[key] += 1
    waiting = [key for key in texts if cache.get(key, endpoint.max_tokens) is None]
    done = len(texts) - len(waiting)
    failed: Counter[str] = Counter()

    def report(more: int) -> None:
        nonlocal done
        done += more
        if progress is not None:
            progress(done, len(texts))

    def answered(index: int, answer: Answer) -> None:
        cache.put(waiting[index], answer)
        report(1)

    def unanswered(index: int, reason: str) -> None:
        failed[reason] += sharing[waiting[index]]

    report(0)
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
    ends = min(item.step for item in items), max(item.step for item in items)
    said = {i: _said(one) for i, one in usable.items()}
    void = [
        Void(label, items[i].step, items[i].prompt_id, items[i].sample_idx, claim.fault, claim.quote)
        for i, one in usable.items()
        for label, claim in one.claims.items()
        if claim.fault is not None
    ]
    reasons_of_rest = Counter(unanswered or {})
    rest = len(items) - len(found) - sum(reasons_of_rest.values())
    if rest > 0:
        reasons_of_rest[NOT_ASKED] += rest
    return Result(
        run=run_dir.resolve().name,
        kind=kind,
        model=cache.model,
        steps=tuple(sorted({item.step for item in items})),
        at_ends=(sum(item.step == ends[0] for item in items), sum(item.step == ends[1] for item in items)),
        prompts=len({item.prompt_id for item in items}),
        rollouts=len(items),
        usable=len(usable),
        unusable=Counter(one.unusable for one in found.values() if one.unusable is not None),
        unanswered=reasons_of_rest,
        claims=sum(claim.present is not False for one in usable.values() for claim in one.claims.values()),
        void=tuple(void),
        rows={label: _row(label, items, said, ends) for label in DETECTORS},
        others=_others(run_dir, items, cache.model, said),
    )


def judgements(items: Sequence[Item], cache: Cache) -> dict[int, Judgement]:
    """The judgement of each item that was answered, by its index."""
    found = {}
    for i, item in enumerate(items):
        answer = cache.get(labels.key(cache.model, item.question, item.completion))
        if answer is not None:
            found[i] = _judgement(answer, item.completion)
    return found


def _judgement(answer: Answer, completion: str) -> Judgement:
    one = Judgement({}, answer.fault) if answer.reply is None else labels.read(answer.reply, completion)
    if one.unusable is not None and answer.cut_at:
        return Judgement({}, f"cut off at {answer.cut_at} tokens")
    return one


def _said(one: Judgement) -> dict[str, bool | None]:
    """By label; "any" is true with one valid claim, and false only where no claim is void."""
    found = {label: claim.present for label, claim in one.claims.items()}
    values = list(found.values())
    found["any"] = True if True in values else None if None in values else False
    return found


def _row(
    label: str, items: Sequence[Item], said: Mapping[int, Mapping[str, bool | None]], ends: tuple[int, int]
) -> Row:
    known = []
    for i, answers in said.items():
        judge, detector = answers[label], items[i].detected[label]
        if judge is not None and detector is not None:
            known.append((items[i], judge, detector))
    at_ends = [one for one in known if one[0].step in ends and ends[0] < ends[1]]
    return Row(
        agree((item.prompt_id, judge, detector) for item, judge, detector in known),
        rates((item.prompt_id, item.step == ends[1], judge) for item, judge, _ in at_ends),
        rates((item.prompt_id, item.step == ends[1], detector) for item, _, detector in at_ends),
    )


def _others(
    run_dir: Path, items: Sequence[Item], model: str, said: Mapping[int, Mapping[str, bool | None]]
) -> dict[str, dict[str, Agreement]]:
    """Agreement with every other model that answered about the same texts."""
    found = {}
    for other in models(run_dir):
        if other == model:
            continue
        theirs = {i: _said(one) for i, one in judgements(items, Cache(run_dir, other)).items() if not one.unusable}
        shared = sorted(said.keys() & theirs.keys())
        if not shared:
            continue
        found[other] = {
            label: agree(
                (items[i].prompt_id, ours, his)
                for i in shared
                if (ours := said[i][label]) is not None and (his := theirs[i][label]) is not None
            )
            for label in DETECTORS
        }
    return found
