"""One rollout row -> one row of the annotations table: everything the detectors say about it, as flat columns.

Columns that a task has no detector for are null, never zero: "not looked for" is not "not there".
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

import pyarrow as pa

from r1rl.aha.detect.arithmetic import Check, checks
from r1rl.aha.detect.attempts import Attempt, countdown_problem, from_steps, transitions
from r1rl.aha.detect.backtracking import backtracking
from r1rl.aha.detect.countdown_sources import grade
from r1rl.aha.detect.countdown_trace import Piece, pieces, trace
from r1rl.aha.detect.equations import Value, whole
from r1rl.aha.detect.goal_tests import LONG_JUDGED_CHARS, Says, judged_after
from r1rl.aha.detect.hygiene import hygiene
from r1rl.aha.detect.markers import Marker, find_all, fold, labelled
from r1rl.aha.detect.math_attempts import VERIFIERS, candidates, evaluated, is_number, math_attempts
from r1rl.aha.detect.reasoning import Reasoning, reasoning_spans
from r1rl.aha.detect.text_kind import is_long, text_kind
from r1rl.verify import VERIFIER_OF_TASK
from r1rl.verify import expression as expressions
from r1rl.verify.extraction import answer_tag, boxed

DETECTOR_VERSION: Final = 6
"""Goes up whenever any text may get another annotation."""

FIRST_TOKENS: Final = 64


def _fields(kind: pa.DataType, *names: str) -> list[pa.Field]:
    return [pa.field(name, kind) for name in names]


_TEXT, _COUNT, _FLAG = pa.string(), pa.int32(), pa.bool_()
_SPAN: Final = _fields(_COUNT, "start", "end")
_MARKER: Final = pa.struct([*_SPAN, *_fields(_TEXT, "kind", "label")])
_ATTEMPT: Final = pa.struct(
    [*_SPAN, *_fields(_TEXT, "value", "claimed"), *_fields(_FLAG, "right", "slip", "repeat"), pa.field("status", _TEXT)]
)
_GOAL_TEST: Final = pa.struct([*_SPAN, pa.field("attempt", _COUNT), *_fields(_FLAG, "says", "truth")])
KEY: Final = ("run", "kind", "step", "rank", "group_id", "prompt_id", "sample_idx", "temperature")
_KEY_KINDS: Final = (_TEXT, _TEXT, pa.int64(), _COUNT, _TEXT, _TEXT, _COUNT, pa.float64())
SCHEMA: Final = pa.schema(
    [
        *map(pa.field, KEY, _KEY_KINDS),
        *_fields(_COUNT, "n_tokens", "n_chars"),
        pa.field("correct", _FLAG),  # null where the verdict is missing or the gold unusable
        *_fields(_TEXT, "finish_reason", "text_kind"),
        # hygiene; clean: none of the five
        *_fields(_FLAG, "truncated", "repetition_loop", "continues_after_answer", "code_only", "mixed_language"),
        pa.field("clean", _FLAG),
        # markers in the reasoning; spans count characters of the completion
        pa.field("markers", pa.list_(_MARKER)),
        *_fields(_COUNT, "marker_strict", "marker_r1_nature", "marker_oat", "marker_orz", "marker_simplerl"),
        pa.field("marker_strict_first_n", _COUNT),
        # attempts, repeats marked; null where the task has no detector
        pa.field("attempts", pa.list_(_ATTEMPT)),
        pa.field("n_attempts", _COUNT),
        *_fields(_FLAG, "first_right", "final_right"),
        pa.field("transitions", pa.list_(_TEXT)),
        # self-verification
        pa.field("goal_tests", pa.list_(_GOAL_TEST)),
        *_fields(_COUNT, "slips", "checked_steps"),
        pa.field("guess", _FLAG),
        # backtracking
        *_fields(_COUNT, "resumes", "restarts", "duplicate_retries"),
        *_fields(_COUNT, "dead_left", "dead_seen", "live_left", "live_seen"),
    ]
)
_COPIED: Final = (*KEY, "n_tokens", "finish_reason")
_READ: Final = ("task", "verifier", "prompt", "prefill", "completion", "gold", "meta", "verdict", *_COPIED[len(KEY) :])
"""The columns that an annotation depends on, but for those of KEY, which it only copies."""


def annotate_all(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """`annotate` for many rows. What one prompt's samples often are, the same text again, is read once."""
    known: dict[tuple[Any, ...], dict[str, Any]] = {}
    found = []
    for row in rows:
        read = tuple(map(row.get, _READ))
        if read not in known:
            known[read] = annotate(row)
        found.append(known[read] | {name: row.get(name) for name in KEY})
    return found


def annotate(row: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the detectors say about one rollout row, as one flat row of SCHEMA. Never raises on any text.

    Reads the columns of the store; `verifier` may be missing or null (older shards): the verifier of the task is taken
    then, and `math` for a gold answer that is a plain number. Linear in the text, but for what the verifier does.
    """
    found: dict[str, Any] = dict.fromkeys(SCHEMA.names)
    for name in _COPIED:
        found[name] = row.get(name)
    completion: str = row["completion"] or ""
    prefill: str = row.get("prefill") or ""
    spans = reasoning_spans(completion, prefill)
    found["n_chars"] = len(completion)
    verdict = row.get("verdict")
    found["correct"] = None if verdict is None or verdict == "bad_gold" else verdict == "correct"

    health = hygiene(completion, row.get("finish_reason"), spans)
    found.update(health._asdict(), clean=health.clean)
    found["text_kind"] = text_kind(completion, spans, verifier_of(row), code_only=health.code_only)
    folded = fold(completion)
    strict = _markers(found, completion, folded, spans)
    of_reasoning = pieces(completion, spans, numbers=verifier_of(row) in VERIFIERS)  # one may end a line of free text
    in_text = [equation for piece in of_reasoning for equation in piece.equations]
    held = checks(completion, in_text)
    found["checked_steps"], found["slips"] = len(held), sum(not check.holds for check in held)

    closed = row.get("finish_reason") != "length" or "</think>" in completion
    text = Reasoning(completion, folded, spans, in_text, strict, closed, is_long(completion, spans))
    attempts = _countdown(found, row, text, of_reasoning)
    if attempts is None:
        attempts = _free_text(found, row, text, held)
    if attempts is not None:
        found["attempts"] = [{name: getattr(attempt, name) for name in _ATTEMPT.names} for attempt in attempts]
        found["n_attempts"] = sum(not attempt.repeat for attempt in attempts)
        if attempts:
            found["first_right"], found["final_right"] = attempts[0].right, attempts[-1].right
        found["transitions"] = transitions(attempts)
    labels = labelled(strict, attempts or ())
    found["markers"] = [
        {"start": marker.start, "end": marker.end, "kind": marker.kind, "label": label}
        for marker, label in zip(strict, labels, strict=True)
    ]
    return found


def _markers(found: dict[str, Any], completion: str, folded: str, spans: list[tuple[int, int]]) -> list[Marker]:
    """Fill in the counts of all lexicons; returns the strict markers of the reasoning."""
    inside = {
        name: [marker for marker in hits if any(start <= marker.start < end for start, end in spans)]
        for name, hits in find_all(completion, folded=folded).items()
    }
    for name, hits in inside.items():
        found["marker_" + name.replace("-", "_")] = len(hits)
    strict = inside["strict"]
    n_tokens = found["n_tokens"]
    if n_tokens:
        limit = len(completion) * min(1.0, FIRST_TOKENS / n_tokens)
        found["marker_strict_first_n"] = sum(marker.start < limit for marker in strict)
    return strict


def _goal_test(said: Says, index: int, attempt: Attempt) -> dict[str, Any]:
    return {"start": said.start, "end": said.end, "attempt": index, "says": said.says, "truth": attempt.right}


def _countdown(
    found: dict[str, Any], row: Mapping[str, Any], text: Reasoning, of_reasoning: Sequence[Piece]
) -> list[Attempt] | None:
    """Fill in the columns of Countdown; None where the task is another one or its problem cannot be used."""
    if verifier_of(row) != "countdown":
        return None
    problem = countdown_problem(row.get("gold"), _meta(row.get("meta") or ""))
    if problem is None:
        return None
    numbers, target = problem
    steps = trace(text.folded, numbers, target, of_reasoning)
    attempts = from_steps(text.completion, steps, target)
    committed = [step for step in steps if step.committed]
    found["goal_tests"] = [
        _goal_test(said, index, attempts[index]) for index, step in enumerate(committed) for said in step.says
    ]
    counts = backtracking(steps, numbers, target, closed=text.closed)
    found.update((each.name, getattr(counts, each.name)) for each in fields(counts))  # asdict would copy deeply
    answer = answer_tag(text.completion)
    given = None if answer is None else _worked(answer)
    if given is not None:
        value, form, signs = given
        found["guess"] = not any(
            step.value == value and (_signs(step.expression) == signs or grade(step.expression)[1] == form)
            for step in steps
            if step.expression
        )
    return attempts


def _worked(answer: str) -> tuple[Value | None, str, str] | None:
    """Value, canonical form and signs of an answer, None where it is no expression.

    The form alone would tell two expressions apart that are the same, where an intermediate result equals a given
    number.
    """
    try:
        tree = expressions.parse_equation(answer)[0]
        value: Value | None = whole(expressions.evaluate(tree))
    except expressions.ExpressionError:
        return None
    except ZeroDivisionError:
        value = None
    signs = (node.operator for node in expressions.postorder(tree) if isinstance(node, expressions.Operation))
    return value, expressions.canonical(tree), "".join(sorted(signs))


def _signs(expression: str) -> str:
    return "".join(sorted(char for char in expression if char in "+-*/"))


def _free_text(
    found: dict[str, Any], row: Mapping[str, Any], text: Reasoning, checked: Sequence[Check]
) -> list[Attempt] | None:
    """Fill in the columns of a task whose attempts are found in words; None where the task has no detector."""
    verifier, gold = verifier_of(row), row.get("gold")
    if verifier not in VERIFIERS or not isinstance(gold, str):
        return None
    said = candidates(text, verifier=verifier, gold=gold, question=row.get("prompt") or "")
    try:
        attempts = math_attempts(text, said, checked, verifier=verifier, gold=gold, meta=row.get("meta") or "")
    except ImportError:  # the extra that this verifier needs is not here: not looked for
        return None
    ends = [*(attempt.start for attempt in attempts[1:]), text.spans[-1][1]]
    reach = (LONG_JUDGED_CHARS,) if text.long else ()
    found["goal_tests"] = [
        _goal_test(said, index, attempt)
        for index, (attempt, end) in enumerate(zip(attempts, ends, strict=False))
        for said in judged_after(text.folded, attempt.end, end, *reach)
    ]
    answer = answer_tag(text.completion)
    if answer is None and (closing := text.completion.find("</think>")) >= 0:
        answer = boxed(text.completion[closing:])[0]
    if answer is not None:
        found["guess"] = not evaluated(text, attempts, answer)
    return attempts


def verifier_of(row: Mapping[str, Any]) -> str | None:
    """The name of the verifier that judges this row, None where nothing tells."""
    verifier = row.get("verifier")
    if verifier is not None:
        return str(verifier)
    task, gold = row.get("task"), row.get("gold")
    if task in VERIFIER_OF_TASK:
        return VERIFIER_OF_TASK[task]
    return "math" if isinstance(gold, str) and is_number(gold) else None


def _meta(meta: str) -> dict[str, Any]:
    try:
        columns = json.loads(meta)
    except (ValueError, RecursionError):
        return {}
    return columns if isinstance(columns, dict) else {}
