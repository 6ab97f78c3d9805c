"""The graders' measure: which pairs it takes, what its rows hold, and what it says where data is missing."""

import argparse
import json

import pytest

from benchmarks import graders


@pytest.fixture
def data_dir(tmp_path):
    """Small files in the two data sets' formats."""
    gsm8k = [{"question": "?", "answer": f"so 1 + {n} = <<1+{n}={n + 1}>>\n#### {n + 1}"} for n in range(20)]
    math500 = [{"problem": "?", "answer": rf"\frac{{{n}}}{{x+1}}"} for n in range(2, 12)]
    for name, rows in {"gsm8k_test": gsm8k, "math500_test": math500}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def measured(data_dir, pairs):
    return graders.measure(argparse.Namespace(data=data_dir, pairs=pairs, seed=0))


def test_pairs_are_different_half_right_and_repeatable(data_dir):
    pairs = graders.answer_pairs(data_dir, 50, seed=3)
    assert len(set(pairs)) == 50
    assert sum("frac" in gold for _, gold in pairs) == 10
    assert sum(answer == gold for answer, gold in pairs) == 25
    assert pairs == graders.answer_pairs(data_dir, 50, seed=3)
    assert pairs != graders.answer_pairs(data_dir, 50, seed=4)
    assert all("#" not in text for pair in pairs for text in pair)


def test_it_measures_both_sides(data_dir):
    rows = measured(data_dir, 20)
    assert [row["name"].partition(", ")[2] for row in rows] == ["first pass", "cached pass"]
    for row in rows:
        assert list(row) == ["name", "ours", "peer", "ratio", "unit", "machine", "spread"]
        assert row["unit"] == "pairs/s"
        assert min(row["ours"], row["peer"], row["ratio"]) > 0
    json.dumps(rows)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(lambda path: (path / "gsm8k_test.jsonl").unlink(), r"no gsm8k_\*.jsonl there", id="no gsm8k"),
        pytest.param(lambda path: (path / "math500_test.jsonl").unlink(), r"no math500_\*.jsonl", id="no math500"),
        pytest.param(
            lambda path: (path / "gsm8k_test.jsonl").write_text('{"question": "?"}\n'), "no 'answer'", id="no answers"
        ),
        pytest.param(
            lambda path: (path / "math500_test.jsonl").write_text('{"answer": "1"}\n'), "try fewer", id="one answer"
        ),
    ],
)
def test_missing_data_is_an_error(data_dir, change, message):
    change(data_dir)
    with pytest.raises(ValueError, match=message):
        measured(data_dir, 20)


def test_more_pairs_than_there_are_is_an_error(data_dir):
    with pytest.raises(ValueError, match=r"pairs=5000: math500 in .* has 10 different answers; try fewer"):
        measured(data_dir, 5000)
