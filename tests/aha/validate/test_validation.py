"""The hand labels are well formed, the matching rules are what they say, and the detectors reach what is promised."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from fractions import Fraction
from importlib import resources
from itertools import pairwise
from typing import Any

import pytest

from r1rl.aha.detect import markers
from r1rl.aha.validate import validation
from r1rl.aha.validate.scores import Score, wilson
from r1rl.tasks.countdown import apply
from r1rl.verify import expression
from tests.aha.detect.tracing import find_attempts
from tests.aha.validate import shipped_figures
from tests.aha.validate.synthetic import styles, traces

ROWS = validation.labelled()
PROMISED = ("attempts", "transitions", "goal tests")


def of_type(row: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [span for span in row["spans"] if span["type"] == kind]


def covered(row: dict[str, Any], span: dict[str, Any]) -> str:
    return row["completion"][span["start"] : span["end"]]


def test_enough_spans_of_both_models_in_a_small_file() -> None:
    spans = Counter(dict.fromkeys(validation.MODELS, 0))
    for row in ROWS:
        spans[row["model"]] += len(row["spans"])
    assert spans["tiny"] >= 120
    assert spans["smollm2"] >= 100
    assert {row["step"] for row in ROWS if row["model"] == "tiny"} >= {0, 100}
    assert {row["step"] for row in ROWS if row["model"] == "smollm2"} >= {0, 30}
    assert len(resources.files("r1rl.aha.validate").joinpath("labels", "rollouts.jsonl").read_bytes()) < 400_000


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['run']}-{row['step']}-{row['prompt_id']}")
def test_labels_are_well_formed(row: dict[str, Any]) -> None:
    assert set(row["hygiene"]) <= set(validation.HYGIENE)
    assert ("truncated" in row["hygiene"]) == (row["finish_reason"] == "length")
    ends = dict.fromkeys(("attempt", "goal_test", "slip", "marker"), 0)
    for span in row["spans"]:
        assert 0 <= span["start"] < span["end"] <= len(row["completion"])
        assert covered(row, span) == covered(row, span).strip()
        assert span["start"] >= ends[span["type"]], "spans of one type overlap"
        ends[span["type"]] = span["end"]
    attempts = of_type(row, "attempt")
    for attempt in attempts:
        assert str(Fraction(attempt["value"])) == attempt["value"]
        hits = Fraction(attempt["value"]) == Fraction(row["gold"])
        assert attempt["right"] == (hits and attempt.get("status", "complete") == "complete")
    for test in of_type(row, "goal_test"):
        attempt = attempts[test["attempt"]]
        assert attempt["end"] <= test["start"]
        assert test["truth"] == (attempt["value"] == row["gold"])
        assert covered(row, test).endswith("yes" if test["says"] else "no")
    assert row["transitions"] == [kind_of(before, after) for before, after in pairwise(attempts)]


def kind_of(before: dict[str, Any], after: dict[str, Any]) -> str:
    kinds = {(True, True): "right_right", (True, False): "right_wrong", (False, True): "wrong_right"}
    same = "wrong_same" if before["value"] == after["value"] else "wrong_different"
    return kinds.get((before["right"], after["right"]), same)


def test_tiny_values_and_statuses_follow_from_what_is_written() -> None:
    seen = 0
    for row in ROWS:
        if row["model"] != "tiny":
            continue
        given = Counter(json.loads(row["meta"])["numbers"])
        for attempt in of_type(row, "attempt"):
            steps = re.findall(r"(\d+) ([-+]) (\d+) = (\d+)", covered(row, attempt))
            (a, sign, b, made), (c, other, d, last) = steps
            assert apply(sign, Fraction(a), Fraction(b)) == int(made), "no slip is labelled in these"
            assert apply(other, Fraction(c), Fraction(d)) == int(last) == Fraction(attempt["value"])
            used = Counter(map(int, (a, b, c, d))) - Counter([int(made)])
            assert attempt["status"] == ("complete" if used == given else "illegal")
            seen += 1
    assert seen > 100


def test_slips_of_word_problems_are_false_equations() -> None:
    words = {"x": "*", "times": "*"}
    for row in ROWS:
        for slip in of_type(row, "slip"):
            tokens = [words.get(t, t) for t in re.findall(r"[\d.]+|times|\bx\b|[-+*/=]", covered(row, slip))]
            value, *rest = tokens[: tokens.index("=")]
            left: Fraction | None = Fraction(value)
            for sign, number in zip(rest[::2], rest[1::2], strict=True):
                assert left is not None
                left = apply(sign, left, Fraction(number))
            assert left != Fraction(tokens[-1])


@pytest.mark.parametrize("lexicon", markers.LEXICONS)
def test_every_hit_of_a_lexicon_in_the_reasoning_is_judged(lexicon: str) -> None:
    for row in ROWS:
        reasoning = row["completion"].split("</think>")[0].split("<answer>")[0]
        judged = of_type(row, "marker")
        for hit in markers.find(reasoning, lexicon):
            assert any(span["start"] < hit.end and hit.start < span["end"] for span in judged), hit


@pytest.mark.parametrize(
    ("hits", "of", "low", "high"),
    [(0, 0, 0.0, 1.0), (10, 10, 0.7225, 1.0), (0, 10, 0.0, 0.2775), (9, 10, 0.5958, 0.9821), (50, 100, 0.4038, 0.5962)],
)
def test_wilson_interval(hits: int, of: int, low: float, high: float) -> None:
    assert wilson(hits, of) == pytest.approx((low, high), abs=1e-4)


def echo(row: dict[str, Any]) -> dict[str, Any]:
    """What a perfect detector says of a labelled row."""
    found = dict.fromkeys(validation.HYGIENE, False) | dict.fromkeys(row["hygiene"], True)
    attempts = [{"status": "complete", **span} for span in of_type(row, "attempt")]
    slips = len(of_type(row, "slip"))
    tests = of_type(row, "goal_test")
    return {
        **found,
        **{"attempts": attempts, "goal_tests": tests, "slips": slips},
        **{"transitions": row["transitions"], "guess": row["guess"]},
    }


def scores(monkeypatch: pytest.MonkeyPatch, change: Any) -> dict[str, Score]:
    monkeypatch.setattr(validation, "annotate", lambda row: change(echo(row)))
    return {one.detector: one for one in validation.score(ROWS, "labelled")}


def test_a_perfect_detector_has_no_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, one in scores(monkeypatch, lambda found: found).items():
        if not name.startswith("markers"):
            assert (one.fp, one.fn) == (0, 0), name


def moved(found: dict[str, Any], column: str, **change: Any) -> dict[str, Any]:
    return {**found, column: [{**span, **change} for span in found[column]]}


# What a detector gets wrong, the figure that must show it, and whether in false alarms and in misses.
ERRORS = {
    "another value": (lambda f: moved(f, "attempts", value="1000003"), "attempts", True, True),
    "another place": (lambda f: moved(f, "attempts", start=10**6, end=10**6 + 1), "attempts", True, True),
    "calls all wrong": (lambda f: moved(f, "attempts", right=False), "attempts", True, True),
    "calls all partial": (lambda f: moved(f, "attempts", status="partial"), "attempts: complete", False, True),
    "all are restatements": (lambda f: moved(f, "attempts", repeat=True), "attempts", False, True),
    "sees all twice": (lambda f: {**f, "attempts": f["attempts"] * 2}, "attempts", True, False),
    "no transitions": (lambda f: {**f, "transitions": None}, "transitions", False, True),
    "one more transition": (lambda f: {**f, "transitions": [*f["transitions"], "x"]}, "transitions", True, False),
    "always says yes": (lambda f: moved(f, "goal_tests", says=True), "goal tests", True, True),
    "always true": (lambda f: moved(f, "goal_tests", truth=True), "goal tests", True, True),
    "one more slip": (lambda f: {**f, "slips": f["slips"] + 1}, "slips", True, False),
    "no slips": (lambda f: {**f, "slips": None}, "slips", False, True),
    "always loops": (lambda f: {**f, "repetition_loop": True}, "hygiene: repetition_loop", True, False),
    "never guesses": (lambda f: {**f, "guess": False}, "guess", False, True),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_of_a_detector_shows(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    change, detector, false_alarms, misses = ERRORS[name]
    one = scores(monkeypatch, change)[detector]
    assert (one.fp > 0, one.fn > 0) == (false_alarms, misses)


def test_a_marker_inside_a_goal_test_counts_neither_way() -> None:
    text = "3 * 5 = 15. That's not right. Wait, one has to wait for the bus."
    start = text.index("That's")
    row = {
        "completion": text,
        "spans": [
            {"type": "goal_test", "start": start, "end": start + 17, "attempt": 0, "says": False, "truth": False},
            {"type": "marker", "start": text.index("Wait"), "end": text.index("Wait") + 4, "reflective": True},
        ],
    }
    assert validation._markers(row, "strict", [row["spans"][0]]) == (1, 0, 0)
    assert validation._markers(row, "r1-nature", [row["spans"][0]]) == (1, 1, 0)


def test_figure_is_the_stored_one_only_for_these_detectors(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Score("attempts", "labelled", tp=9, fp=1, fn=0, texts=5).as_dict()
    results = {"detector_version": validation.DETECTOR_VERSION, "scores": [row]}
    monkeypatch.setattr(validation, "stored", lambda: results)
    assert validation.figure("attempts") == "precision 0.900 (0.60 to 0.98), recall 1.000 (0.70 to 1.00)"
    assert validation.figure("slips") == "precision and recall not measured"
    results["detector_version"] += 1
    assert validation.figure("attempts") == "precision and recall not measured"


# What follows measures the detectors themselves.


SHIPPED = json.loads(shipped_figures.PATH.read_text("utf-8"))


def test_shipped_figures_are_those_of_the_shipped_detectors() -> None:
    again = "the detectors changed: raise DETECTOR_VERSION and run python -m tests.aha.validate.shipped_figures"
    assert shipped_figures.measure() == SHIPPED, again


def test_a_user_sees_the_hand_labels_measured_and_the_stored_figures_on_traces(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = [row for row in SHIPPED["scores"] if row["corpus"].endswith(("synthetic", "tuned", "untouched"))]
    others = [row for row in SHIPPED["scores"] if row not in stored]
    older = {**SHIPPED, "scores": stored}
    monkeypatch.setattr(validation, "stored", lambda: older)
    assert validation.run() == SHIPPED
    older["detector_version"] -= 1
    found = validation.run()
    assert found["synthetic"] is None
    assert found["scores"] == others


@pytest.mark.parametrize("detector", PROMISED)
@pytest.mark.parametrize(("corpus", "least"), [("synthetic", 0.99), ("labelled", 0.9), ("tiny", 0.9)])
def test_detectors_reach_what_is_promised(detector: str, corpus: str, least: float) -> None:
    (row,) = [row for row in SHIPPED["scores"] if (row["detector"], row["corpus"]) == (detector, corpus)]
    assert row["precision"] is not None
    assert row["precision"] >= least
    assert row["recall"] >= least


def test_attempts_are_found_in_free_text_alone() -> None:
    rows = validation.score([row for row in ROWS if row["model"] == "smollm2"], "smollm2")
    (one,) = [row for row in rows if row.detector == "attempts"]
    assert one.precision is not None
    assert one.recall is not None
    assert one.precision >= 0.95
    assert one.recall >= 0.9


def test_every_tree_of_10_000_traces_is_recovered() -> None:
    assert len(styles.STYLES) >= 8
    lost = Counter()
    for index in range(10_000):
        trace = traces.countdown(random.Random(f"tree|{index}"), styles.STYLES[index % len(styles.STYLES)])
        meta = json.loads(trace["meta"])
        found = find_attempts(
            trace["completion"],
            gold=trace["gold"],
            meta=meta,
            prefill=trace["prefill"],
        )
        for span in of_type(trace, "attempt"):
            lost[trace["style"]] += span["status"] == "complete" and not any(
                attempt.start < span["end"] and span["start"] < attempt.end and is_tree_of(attempt, span, meta)
                for attempt in found
            )
    assert not +lost


def is_tree_of(attempt: Any, span: dict[str, Any], meta: dict[str, Any]) -> bool:
    """Whether the tree that was found uses each number once and is worth what the generator's tree is."""
    if attempt.expression is None or attempt.value != span["value"] or attempt.right != span["right"]:
        return False
    tree = expression.parse(attempt.expression)
    used = sorted(expression.numbers_used(tree).elements())
    return used == sorted(meta["numbers"]) and expression.evaluate(tree) == Fraction(span["value"])
