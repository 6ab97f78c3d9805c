"""The accuracy reward: columns, verdicts, and what each verdict is worth."""

import json

import pytest

import rewards
from r1rl.verify import Verdict
from rewards.accuracy import reward_of

ROWS = {
    "gold": ["22", "12", "22", "oops", "12"],
    "meta": [json.dumps({"numbers": [3, 5, 7]}), "{}", {"numbers": [3, 5, 7]}, '{"numbers": [1]}', "{}"],
    "verifier": ["countdown", "math", "countdown", "countdown", "math"],
}
COMPLETIONS = [
    "<answer>3*5+7</answer>",
    "<answer>$12.00</answer>",
    "<answer>3*5</answer>",
    "<answer>1</answer>",
    "12",
]


def test_each_row_is_judged_by_its_own_verifier_in_order():
    verdicts = rewards.get("accuracy").verdicts(COMPLETIONS, **ROWS)
    statuses = ["correct", "correct", "wrong", "bad_gold", "unparseable"]
    assert [verdict.status for verdict in verdicts] == statuses
    assert verdicts[2].reason == "leaves out 7"
    assert verdicts[4].reason == "no <answer>"
    assert rewards.get("accuracy")(COMPLETIONS, **ROWS) == [1.0, 1.0, 0.0, None, 0.0]


@pytest.mark.parametrize(
    ("status", "reward"),
    [("correct", 1.0), ("wrong", 0.0), ("unparseable", 0.0), ("timeout", 0.0), ("bad_gold", None)],
)
def test_the_worth_of_a_verdict(status, reward):
    assert reward_of(Verdict(status, None, "")) == reward


@pytest.mark.parametrize("missing", ["gold", "meta", "verifier"])
def test_a_missing_column_is_named(missing):
    rest = {name: values for name, values in ROWS.items() if name != missing}
    with pytest.raises(ValueError, match=rf"reward='accuracy': column '{missing}' is missing"):
        rewards.get("accuracy")(COMPLETIONS, **rest)


def test_an_uneven_column_is_named():
    with pytest.raises(ValueError, match="column 'gold' has 1 values for 5 completions"):
        rewards.get("accuracy")(COMPLETIONS, **{**ROWS, "gold": ["22"]})
    with pytest.raises(ValueError, match="column 'verifier' has one string for 5 completions"):
        rewards.get("accuracy")(COMPLETIONS, **{**ROWS, "verifier": "maths"})


def test_an_unknown_verifier_is_an_error_even_if_no_answer_reaches_it():
    with pytest.raises(ValueError, match="verifier='maths'"):
        rewards.get("accuracy")(["no answer"], gold=["1"], meta=["{}"], verifier=["maths"])


@pytest.mark.parametrize("meta", ["", "{", "[1]", "null", "nonsense"])
def test_meta_that_is_no_object_makes_the_row_unjudgeable(meta):
    verdicts = rewards.get("accuracy").verdicts(["<answer>1</answer>"], gold=["1"], meta=[meta], verifier=["math"])
    assert [verdict.status for verdict in verdicts] == ["bad_gold"]


@pytest.mark.parametrize("completion", ["<answer>1</answer>", "no answer", "<answer>?</answer>"])
@pytest.mark.parametrize(("verifier", "gold"), [("countdown", "one"), ("math", r"\frac{n}{"), ("math", r"\frac{1}{0}")])
def test_unusable_gold_is_none_for_every_sibling(completion, verifier, gold):
    reward = rewards.get("accuracy")([completion], gold=[gold], meta=[{"numbers": [1]}], verifier=[verifier])
    assert reward == [None]


def test_a_hedged_answer_is_not_paid():
    hedged = "<answer>3*5+7</answer> or <answer>3+5+7</answer>"
    verdict = rewards.get("accuracy").verdicts(
        [hedged], gold=["22"], meta=[{"numbers": [3, 5, 7]}], verifier=["countdown"]
    )[0]
    assert (verdict.status, verdict.reason) == ("unparseable", "<answer> 2 times")


def test_a_bug_in_a_verifier_is_raised(monkeypatch):
    def broken(answer, gold, meta):
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr("r1rl.verify.countdown.verify", broken)
    with pytest.raises(RuntimeError, match="a bug of ours"):
        rewards.get("accuracy")(["<answer>1</answer>"], gold=["1"], meta=["{}"], verifier=["countdown"])


@pytest.mark.parametrize(
    ("extraction", "completion", "reward"),
    [
        pytest.param("answer-tag", "<answer>12</answer>", 1.0, id="tag"),
        pytest.param("answer-tag", r"\boxed{12}", 0.0, id="a box is no tag"),
        pytest.param("boxed", r"<answer>12</answer> \boxed{13}", 0.0, id="the box counts"),
        pytest.param("boxed", r"\boxed{13} \boxed{12}", 1.0, id="the last box"),
        pytest.param("boxed-in-answer", r"<answer>\boxed{12}</answer>", 1.0, id="box in the tag"),
        pytest.param("boxed-in-answer", r"\boxed{12}<answer>12</answer>", 0.0, id="box outside the tag"),
        pytest.param("last-number", "3 * 4 is 12 apples.", 1.0, id="last number"),
        pytest.param("last-number", "12, or 13", 0.0, id="another last number"),
    ],
)
def test_the_extraction_is_an_option(extraction, completion, reward):
    columns = {"gold": ["12"], "meta": ["{}"], "verifier": ["math"]}
    assert rewards.get("accuracy", extraction=extraction)([completion], **columns) == [reward]


def test_a_wrong_extraction_is_an_error_at_once():
    with pytest.raises(ValueError, match="extraction='tags': unknown; allowed: answer-tag"):
        rewards.get("accuracy", extraction="tags")


def test_a_verifier_is_asked_once_for_all_its_rows(monkeypatch):
    calls = []

    def verify_many(items):
        calls.append(len(items))
        return [Verdict("wrong", None, "") for _ in items]

    monkeypatch.setattr("r1rl.verify.math.verify_many", verify_many)
    verdicts = rewards.get("accuracy").verdicts(
        ["<answer>1</answer>", "none", "none"], gold=["1"] * 3, meta=["{}"] * 3, verifier=["math"] * 3
    )
    assert calls == [3]
    assert [verdict.status for verdict in verdicts] == ["wrong", "unparseable", "unparseable"]
