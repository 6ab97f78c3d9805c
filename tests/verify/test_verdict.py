"""Verdict texts are short printable ASCII; the registry of verifiers knows its names."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from r1rl import verify
from r1rl.verify.verdict import MAX_TEXT_CHARS, Verdict, clip, quote


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
    assert verify.names() == ["countdown", "math"]
    for name in verify.names():
        verdict = verify.get(name)("1+1", "2", {"numbers": [1, 1]})
        assert isinstance(verdict, Verdict)
        assert verdict.status == "correct"
        items = [("1+1", "2", {"numbers": [1, 1]}), ("", "2", {"numbers": [1, 1]})]
        assert [verdict.status for verdict in verify.verify_many(name, items)] == ["correct", "unparseable"]


def test_an_unknown_verifier_is_an_error_that_lists_the_names():
    with pytest.raises(ValueError, match=r"verifier='maths': unknown; allowed: countdown, math"):
        verify.get("maths")


def test_importing_verifiers_and_rewards_is_light():
    code = (
        "import r1rl.verify.math, r1rl.verify.countdown, rewards.accuracy, rewards.format, sys;"
        "print([name for name in ('torch', 'transformers', 'trl', 'sympy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
