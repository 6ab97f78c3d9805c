"""Markers as a metric."""

import pytest

import rewards
from r1rl.aha.detect import markers

TWO = "3+5=8. Wait, that is wrong. Let me check again: 3*5=15."


@pytest.mark.parametrize(
    ("text", "tokens", "options", "value"),
    [
        pytest.param("3+5=8.", 10, {}, 0.0, id="none"),
        pytest.param("", 0, {}, 0.0, id="nothing written"),
        pytest.param(TWO, 10, {}, 1.0, id="present"),
        pytest.param("Wait, no.", 10, {"measure": "count"}, 1.0, id="count of one"),
        pytest.param("Wait, no. Wait, no.", 10, {"measure": "count"}, 2.0, id="count of two"),
        pytest.param("Wait, no.", 10, {"measure": "density"}, 100.0, id="density per 1,000 tokens"),
        pytest.param("", 0, {"measure": "density"}, 0.0, id="density of nothing"),
        pytest.param("<wait>", 10, {}, 0.0, id="a tag is no marker"),
        pytest.param("However, it is 3.", 10, {}, 0.0, id="not in the strict list"),
        pytest.param("However, it is 3.", 10, {"lexicon": "r1-nature"}, 1.0, id="in the paper's list"),
    ],
)
def test_what_is_measured(text, tokens, options, value):
    assert rewards.get("reflection", **options)([text], completion_ids=[[1] * tokens]) == [value]


def test_it_counts_what_the_detector_finds():
    assert rewards.get("reflection", measure="count")([TWO]) == [float(len(markers.find(TWO)))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"measure": "rate"}, "measure='rate': expected one of present, count, density", id="measure"),
        pytest.param({"lexicon": "mine"}, "lexicon='mine': need one of strict", id="lexicon"),
    ],
)
def test_options_are_checked_at_once(options, message):
    with pytest.raises(ValueError, match=message):
        rewards.get("reflection", **options)


def test_only_density_needs_token_ids():
    assert rewards.get("reflection")([TWO]) == [1.0]
    with pytest.raises(ValueError, match="column 'completion_ids' is missing"):
        rewards.get("reflection", measure="density")([TWO])
