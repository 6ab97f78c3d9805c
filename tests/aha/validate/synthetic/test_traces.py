"""The generator's labels, checked again by slow and independent ways."""

from __future__ import annotations

import ast
import json
import operator
import random
import re
from collections import Counter
from fractions import Fraction
from itertools import pairwise, permutations

import pytest

from tests.aha.validate.synthetic import styles, traces

TRACES = list(traces.traces(1_500, seed=7))
COUNTDOWN = [trace for trace in TRACES if trace["verifier"] == "countdown"]
OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def evaluate(expression: str) -> tuple[Fraction, list[int]]:
    """Value and numbers by way of Python's own parser."""

    def go(node: ast.expr) -> tuple[Fraction, list[int]]:
        if isinstance(node, ast.Constant):
            return Fraction(node.value), [node.value]
        assert isinstance(node, ast.BinOp)
        (left, first), (right, second) = go(node.left), go(node.right)
        return OPERATORS[type(node.op)](left, right), [*first, *second]

    return go(ast.parse(expression, mode="eval").body)


def of_type(trace: dict, kind: str) -> list[dict]:
    return [span for span in trace["spans"] if span["type"] == kind]


def test_same_seed_same_traces_and_another_seed_others() -> None:
    assert list(traces.traces(20, seed=7)) == TRACES[:20]
    assert list(traces.traces(20, seed=8)) != TRACES[:20]


def test_every_style_status_transition_and_flag_is_planted() -> None:
    styles = Counter(trace["style"] for trace in TRACES)
    assert len(styles) >= 11
    assert min(styles.values()) >= 20
    attempts = [span for trace in COUNTDOWN for span in of_type(trace, "attempt")]
    assert {span["status"] for span in attempts} == {"complete", "partial", "illegal"}
    assert {kind for trace in TRACES for kind in trace["transitions"]} == {
        *("right_right", "wrong_same", "wrong_different", "wrong_right", "right_wrong")
    }
    assert len({flag for trace in TRACES for flag in trace["hygiene"]}) == 5
    tests = Counter((span["says"], span["truth"]) for trace in TRACES for span in of_type(trace, "goal_test"))
    assert len(tests) == 4
    planted = sum((Counter(trace["counts"]) for trace in COUNTDOWN), Counter())
    assert min(planted[name] for name in ("slips", "duplicate_retries", "dead_left", "live_left", "resumed")) >= 5
    assert any("/" in span["value"] for span in attempts)


def test_expressions_have_the_values_and_numbers_their_labels_say() -> None:
    for trace in COUNTDOWN:
        numbers, target = Counter(json.loads(trace["meta"])["numbers"]), Fraction(trace["gold"])
        for span in of_type(trace, "attempt"):
            value, used = evaluate(span["expression"])
            counted = Counter(used)
            status = "complete" if counted == numbers else "partial" if counted <= numbers else "illegal"
            assert str(value) == span["value"]
            assert status == span["status"]
            assert span["right"] == (status == "complete" and value == target)


def test_what_is_claimed_stands_in_the_span_and_slips_are_where_claims_differ() -> None:
    for trace in COUNTDOWN:
        for span in of_type(trace, "attempt"):
            said = trace["completion"][span["start"] : span["end"]]
            assert said == said.strip()
            claimed = styles.text(Fraction(span["claimed"]))
            assert span["repeat"] or claimed in said
        if not trace["counts"]["slips"]:
            assert all(span["claimed"] == span["value"] for span in of_type(trace, "attempt"))


def test_ascii_chains_are_true_but_for_the_counted_slips() -> None:
    step = re.compile(r"(\(-[\d.]+\)|[\d.]+) ([-+*/]) (\(-[\d.]+\)|[\d.]+) = (-?[\d.]+)")
    seen = 0
    for trace in COUNTDOWN:
        if trace["style"] not in ("tiny", "chain", "monologue"):
            continue
        wrong = 0
        for left, sign, right, claimed in step.findall(trace["completion"]):
            a, b = Fraction(left.strip("()")), Fraction(right.strip("()"))
            wrong += styles.apply(sign, a, b) != Fraction(claimed.rstrip("."))
            seen += 1
        assert wrong == trace["counts"]["slips"]
    assert seen > 300


def test_goal_tests_belong_to_an_attempt_before_them_and_truth_is_its_value() -> None:
    for trace in TRACES:
        attempts = [span for span in of_type(trace, "attempt") if not span["repeat"]]
        for test in of_type(trace, "goal_test"):
            attempt = attempts[test["attempt"]]
            assert attempt["end"] <= test["start"]
            assert test["truth"] == (attempt["value"] == trace["gold"])


def test_transitions_follow_from_the_attempts() -> None:
    for trace in TRACES:
        attempts = [span for span in of_type(trace, "attempt") if not span["repeat"]]
        assert len(trace["transitions"]) == max(0, len(attempts) - 1)
        for kind, (before, after) in zip(trace["transitions"], pairwise(attempts), strict=True):
            first, second = kind.split("_")
            assert first == ("right" if before["right"] else "wrong")
            assert (second == "right") == after["right"]
            assert (second == "same") == (not after["right"] and before["value"] == after["value"]) or before["right"]


def reachable(state: list[Fraction], target: Fraction) -> bool:
    """Whether the numbers make the target, by trying every pair in every order."""
    if len(state) == 1:
        return state[0] == target
    for i, j in permutations(range(len(state)), 2):
        rest = [value for place, value in enumerate(state) if place not in (i, j)]
        for sign in "+-*/":
            made = styles.apply(sign, state[i], state[j])
            if made is not None and reachable([*rest, made], target):
                return True
    return False


def test_abandoned_states_are_dead_or_live_as_labelled() -> None:
    checked = Counter()
    step = re.compile(r"(?:If I take )?(\d+) ([-+*·/]) (\d+) = (-?\d+)\.(?=\s)")
    for trace in COUNTDOWN:
        numbers = json.loads(trace["meta"])["numbers"]
        left = trace["counts"]["dead_left"] + trace["counts"]["live_left"]
        spans = of_type(trace, "attempt")
        steps = [
            found
            for found in step.finditer(trace["completion"])
            if not any(span["start"] <= found.start() < span["end"] for span in spans)
        ]
        if left != 1 or len(steps) != 1 or len(numbers) > 4:
            continue
        rest = list(numbers)
        rest.remove(int(steps[0][1]))
        rest.remove(int(steps[0][3]))
        live = reachable([Fraction(steps[0][4]), *map(Fraction, rest)], Fraction(trace["gold"]))
        assert live == (trace["counts"]["live_left"] == 1)
        checked[live] += 1
    assert min(checked[True], checked[False]) >= 1


def test_answer_is_what_the_verdict_and_guess_say() -> None:
    for trace in COUNTDOWN:
        answer = re.search(r"<answer> (.*) </answer>", trace["completion"])
        assert (answer is None) == (trace["guess"] is None)
        if answer is None:
            continue
        value, used = evaluate(answer[1])
        legal = sorted(used) == sorted(json.loads(trace["meta"])["numbers"])
        assert (trace["verdict"] == "correct") == (legal and str(value) == trace["gold"])
        evaluated = {span["value"] for span in of_type(trace, "attempt")}
        assert (str(value) not in evaluated) == trace["guess"]


def test_mathematics_commits_to_the_numbers_its_labels_say() -> None:
    for trace in TRACES:
        if trace["verifier"] != "math":
            continue
        for span in of_type(trace, "attempt"):
            said = trace["completion"][span["start"] : span["end"]]
            assert re.findall(r"\d+", said)[-1] == span["value"]
            assert span["right"] == (span["value"] == trace["gold"])
        for span in of_type(trace, "slip"):
            left, claimed = trace["completion"][span["start"] : span["end"]].split(" = ")
            signs = left.replace("×", "*").replace("−", "-").replace("÷", "/")
            assert evaluate(signs)[0] != Fraction(claimed)


@pytest.mark.parametrize("style", styles.STYLES, ids=lambda style: style.name)
def test_each_style_writes_what_the_tree_is(style: styles.Style) -> None:
    trace = traces.countdown(random.Random(3), style)
    assert trace["style"] == style.name
    assert of_type(trace, "attempt")


def test_unreflective_sentences_hold_words_of_a_lexicon() -> None:
    words = re.compile(r"wait|check|but|however|error|evaluat|wrong|mistake|alternatively|verif", re.IGNORECASE)
    assert all(words.search(sentence) for sentence in styles.UNREFLECTIVE)
