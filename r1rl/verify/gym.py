"""Gym: reasoning-gym's own scorer for the row's data set, run in the grader pool's worker processes.

`meta` is {"dataset": "spell_backward", "entry": {"question": ..., "answer": ..., "metadata": {...}}}, an entry as
reasoning-gym generates it. Correct means the scorer's full mark, 1; its partial marks (0.01 for any text, a share for
an answer buried in prose) are `wrong`, with the mark as the verdict's value.

Some of these scorers hand the answer to `eval` or to sympy's `parse_expr`. `gym_scorer` takes both away from them.
"""

import importlib.util
import json
from typing import Any

from r1rl.verify.pool import GraderPool, Limits
from r1rl.verify.verdict import Verdict

MAX_CHARS = 2_000
MAX_ROW_CHARS = 20_000
"""Longest answer; longest entry as JSON together with its gold. As messages they stay below the pool's limit."""
VERIFY_TIMEOUT_SECONDS = 5.0
"""Wall clock for one item: some scorers search or simplify."""

_LIMITS = Limits(item_seconds=VERIFY_TIMEOUT_SECONDS, memory_bytes=4 << 30)  # numpy and sympy map more than they use
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


def check_gold(gold: str, meta: dict[str, Any]) -> Verdict:
    """Whether a row can be used: its own answer earns the full mark, or it has none because several are right."""
    verdict = verify(gold, gold, meta)
    if verdict.status == "unparseable" and not gold and meta["entry"].get("answer") is None:
        return Verdict("correct", None, "")
    return verdict


def verify(answer: str, gold: str, meta: dict[str, Any]) -> Verdict:
    """Judge one answer; `value` is the scorer's mark. Never raises on any text."""
    return verify_many([(answer, gold, meta)])[0]
