"""Verdict texts are short printable ASCII; the registry of verifiers knows its names."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1rl import verify
from r1rl.verify.verdict import MAX_TEXT_CHARS, OUTCOMES, Verdict, clip, outcome, quote


@given(st.text(max_size=400))
def test_clipped_and_quoted_text_can_be_stored_and_printed(text):
    for shown in (clip(text), quote(text)):
        assert len(shown) <= MAX_TEXT_CHARS
        assert shown.isascii()
        assert shown.isprintable()


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=MAX_TEXT_CHARS))
def test_short_plain_text_is_kept(text):
    assert clip(text) == text


def test_every_verifier_judges():
    right = {"choice": ("(b)", "B"), "countdown": ("1+1", "2"), "exact": (" Two", "two"), "math": ("1+1", "2")}
    assert {*right, "gym"} <= set(verify.names())
    meta = {"numbers": [1, 1]}
    for name, (answer, gold) in right.items():
        verdict = verify.get(name)(answer, gold, meta)
        assert isinstance(verdict, Verdict)
        assert verdict.status == "correct"
        items = [(answer, gold, meta), ("", gold, meta)]
        assert [verdict.status for verdict in verify.verify_many(name, items)] == ["correct", "unparseable"]


def test_an_unknown_verifier_is_an_error_that_lists_the_names():
    with pytest.raises(ValueError, match=r"verifier='maths': unknown; allowed: .*countdown, .*math"):
        verify.get("maths")


def test_importing_verifiers_and_rewards_is_light():
    code = (
        "import rewards, sys; from r1rl import verify; from importlib import import_module;"
        "[verify.get(name) for name in verify.names()];"
        "[rewards.describe(name) for name in rewards.names()];"
        "heavy = ('torch', 'transformers', 'trl', 'sympy', 'numpy', 'reasoning_gym', 'py3langid');"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("status", "reason", "finish_reason", "expected"),
    [
        ("correct", "", "length", "correct"),  # it had answered before the cap
        ("wrong", "value 3 is not 4", "stop", "wrong"),
        ("unparseable", "no <answer>", "length", "truncated"),
        ("unparseable", "no <answer>", "eos", "no_answer"),
        ("unparseable", "no </answer>", "stop", "no_answer"),
        ("unparseable", "answer is empty", "stop", "unparseable"),
        ("unparseable", "<answer> 2 times", "stop", "unparseable"),
        ("timeout", "no result within 5 s", "length", "timeout"),
        ("bad_gold", "gold: empty", "stop", "bad_gold"),
    ],
)
def test_outcomes(status, reason, finish_reason, expected):
    assert outcome(status, reason, finish_reason) == expected
    assert expected in OUTCOMES
