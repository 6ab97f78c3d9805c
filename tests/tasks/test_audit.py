"""The audit of a file: golds against themselves, wrong golds against each other, and what "different" means."""

import json

import pytest

from r1rl import verify
from r1rl.ground.errors import RecipeError
from r1rl.tasks.audit import audit, plain_value
from r1rl.tasks.files import FileTask
from r1rl.verify.verdict import Verdict


def audited(path, *, answer_column="a", **settings):
    return audit(FileTask(path=str(path), question_column="q", answer_column=answer_column), **settings)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("R1RL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def write(tmp_path):
    def write(*golds):
        path = tmp_path / "problems.jsonl"
        lines = [json.dumps({"q": f"question {index}?", "a": gold}) for index, gold in enumerate(golds)]
        path.write_text("\n".join(lines))
        return path

    return write


def test_figures_of_a_file(write):
    found = audited(write("12", "12.0", "x+1", "12?", None, r"11,\! 111"))
    assert (found.rows, found.unreadable, found.pairs, found.paid, found.timeouts) == (5, 1, 5, [], [])
    assert found.lines() == [
        "problems.jsonl: 4 of 5 golds (80.00%) are correct against themselves",
        "  problems:4: 12?: gold: unexpected '?': '12?'; the verifier exact compares it as text",
        "  1 rows have no question or no answer",
        "problems.jsonl: 5 wrong answers, 0 paid, 0 timeouts",
    ]


@pytest.mark.parametrize(
    ("golds", "wrong_per_row", "pairs"),
    [
        pytest.param(["1", "2", "3", "2/2"], 1, [("2", "1"), ("3", "2"), ("2/2", "3"), ("2", "2/2")], id="the next"),
        pytest.param(["1", "2", "1"], 2, [("2", "1"), ("1", "2"), ("1", "2"), ("2", "1")], id="two, with repeats"),
        pytest.param(["1", "2", "2", "1"], None, [("2", "1"), ("1", "2")], id="every pair of distinct golds"),
        pytest.param(["1", "2/2"], 5, [], id="no different value"),
    ],
)
def test_wrong_answers_are_golds_of_another_value(write, monkeypatch, golds, wrong_per_row, pairs):
    asked = []

    def verify_many(name, items):
        asked.extend((answer, gold) for answer, gold, _ in items)
        return [Verdict("correct", None, "")] * len(items)

    path = write(*golds)
    monkeypatch.setattr("r1rl.tasks.audit.check", lambda verifier, rows, progress: [""] * len(rows))
    monkeypatch.setattr(verify, "verify_many", verify_many)
    found = audited(path, wrong_per_row=wrong_per_row)
    assert sorted(asked) == sorted(pairs)
    assert found.pairs == len(found.paid) == len(pairs)  # a grader that pays everything is found out


def test_what_was_paid_or_late_is_listed(write, monkeypatch):
    statuses = iter(["correct", "timeout"])
    path = write("1", "2")
    monkeypatch.setattr("r1rl.tasks.audit.check", lambda verifier, rows, progress: [""] * len(rows))
    monkeypatch.setattr(verify, "verify_many", lambda name, items: [Verdict(next(statuses), "", "") for _ in items])
    assert audited(path).lines()[1:] == [
        "problems.jsonl: 2 wrong answers, 1 paid, 1 timeouts",
        "  problems:1: 2 for 1: correct",
        "  problems:2: 1 for 2: timeout",
    ]


def test_a_wrong_column_is_named(write):
    with pytest.raises(RecipeError, match="answer_column='answr'"):
        audited(write("1", "2"), answer_column="answr")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("12", "12.0"), ("0.25", r"\frac{1}{4}"), (r"\frac14", "1/4"), (r"\$36", "36"), ("36", r"36^\circ"),
        (r"10,\!080", "10080"), ("x=5", "5"), (r"15\mbox{ cm}^2", "15"), (r"2 \sqrt{5}", r"2\sqrt{5}"),
        ("1,-2", "-2, 1"), (r"\left( 1, 2 \right)", "(1,2)"), (r"\text{(C)}", "C"), (r"-\frac{1}{2}", "-0.5"),
    ],
)  # fmt: skip
def test_equal_values_are_read_as_equal(left, right):
    assert plain_value(left) == plain_value(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("12", "-12"), ("12", "1.2"), (r"\frac{1}{4}", r"\frac{4}{1}"), ("(1,2)", "(2,1)"), ("(1,2)", "1,2"),
        ("(1,2)", "[1,2]"), ("40_9", "40"), ("1,2", "1,3"), (r"\text{(C)}", r"\text{(D)}"), ("x", "y"),
        ("3R^2", "3r^2"), ("1,000", "1"), ("x=5", "y"), ("1/0", "1"),
    ],
)  # fmt: skip
def test_other_values_are_read_as_different(left, right):
    assert plain_value(left) != plain_value(right)
