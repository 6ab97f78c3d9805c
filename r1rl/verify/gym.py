"""Gym: reasoning-gym's own scorer for the row's data set, run in the grader pool's worker processes.

`meta` is {"dataset": "spell_backward", "entry": {"question": ..., "answer": ..., "metadata": {...}}}, an entry as
reasoning-gym generates it. Correct means the scorer's full mark, 1; its partial marks (0.01 for any text, a share for
an answer buried in prose) are `wrong`, with the mark as the verdict's value.

Some of these scorers hand the answer to `eval` or to sympy's `parse_expr`. `gym_scorer` takes both away from them.
"""

import importlib.util
import json
from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

from r1rl.verify.pool import GraderPool, Limits
from r1rl.verify.verdict import Verdict, quote

MAX_CHARS = 2_000
MAX_ROW_CHARS = 20_000
"""Longest answer; longest entry as JSON together with its gold. As messages they stay below the pool's limit."""
VERIFY_TIMEOUT_SECONDS = 5.0
"""Wall clock for one item: some scorers search or simplify."""
PREPARE_TIMEOUT_SECONDS = 30.0
"""Wall clock, before that, for a worker's first look at a data set (arc_agi reads 800 files) and at a row's gold."""

_FEWEST_TRIED = 4  # fewer rows that are paid for another's answer prove nothing

_LIMITS = Limits(
    item_seconds=VERIFY_TIMEOUT_SECONDS,
    memory_bytes=4 << 30,  # numpy and sympy map more than they use
    prepare_seconds=PREPARE_TIMEOUT_SECONDS,
)
_pool = GraderPool("r1rl.verify.gym_scorer:score", name="gym", limits=_LIMITS)


def _request(answer: str, gold: str, meta: dict[str, Any]) -> Verdict | tuple[str, str, str]:
    """What the workers are asked, or the verdict where nothing needs asking."""
    dataset, entry = (meta.get("dataset"), meta.get("entry")) if isinstance(meta, dict) else (None, None)
    if not isinstance(dataset, str) or not isinstance(entry, dict):
        return Verdict("bad_gold", None, "meta needs 'dataset', a name, and 'entry', a mapping")
    try:
        row = json.dumps({"dataset": dataset, "entry": entry})
    except (TypeError, ValueError):
        return Verdict("bad_gold", None, "meta 'entry' holds something that JSON cannot")
    gold = gold if isinstance(gold, str) else ""
    if len(row) + len(gold) > MAX_ROW_CHARS:
        return Verdict("bad_gold", None, f"the row is too long: {len(row) + len(gold)} characters of JSON and gold")
    if not isinstance(answer, str) or len(answer) > MAX_CHARS:
        answer = ""  # unparseable, but the row is looked at all the same: its gold may be unusable
    return answer, gold, row


def verify_many(items: list[tuple[str, str, dict[str, Any]]]) -> list[Verdict]:
    """Verdicts of (answer, gold, meta) triples, in order.

    Raises `ImportError` without reasoning-gym and `RuntimeError` if no worker can be started.
    """
    if importlib.util.find_spec("reasoning_gym") is None:
        raise ImportError("verifier='gym' needs reasoning-gym; try: pip install 'r1rl[gym]'")
    requests = [_request(*item) for item in items]
    answers = iter(_pool.verify_many([request for request in requests if not isinstance(request, Verdict)]))
    return [request if isinstance(request, Verdict) else next(answers) for request in requests]


def check_golds(rows: list[tuple[str, dict[str, Any]]]) -> list[Verdict]:
    """Whether each (gold, meta) can be used: its own answer earns the full mark, or it has none as several are right.

    No row of a data set can be used whose scorer pays most of them for the next row's answer: it ignores the row.
    """
    verdicts = verify_many([(gold, gold, meta) for gold, meta in rows])
    usable: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for index, ((gold, meta), verdict) in enumerate(zip(rows, verdicts, strict=True)):
        if verdict.status == "correct":
            usable[meta["dataset"]].append((gold, meta))
        elif verdict.status == "unparseable" and not gold and meta["entry"].get("answer") is None:
            verdicts[index] = Verdict("correct", None, "")
    pairs = [(after[0], *row) for of in usable.values() for row, after in pairwise(of) if after[0] != row[0]]
    tried = Counter(meta["dataset"] for _, _, meta in pairs)
    paid = Counter(
        meta["dataset"]
        for (_, _, meta), verdict in zip(pairs, verify_many(pairs), strict=True)
        if verdict.status == "correct"
    )
    for index, (_, meta) in enumerate(rows):
        name = meta["dataset"] if verdicts[index].status == "correct" else ""
        if tried[name] >= _FEWEST_TRIED and paid[name] > tried[name] / 2:
            reason = f"gold: the scorer of {quote(name)} pays {paid[name]} of {tried[name]} answers of other rows"
            verdicts[index] = Verdict("bad_gold", None, reason)
    return verdicts


def verify(answer: str, gold: str, meta: dict[str, Any]) -> Verdict:
    """Judge one answer; `value` is the scorer's mark. Never raises on any text."""
    return verify_many([(answer, gold, meta)])[0]
