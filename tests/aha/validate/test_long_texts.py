"""The labels of long text are well formed, and their texts are read from clones and compared with their hashes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from r1rl.aha.validate import long_texts, validation
from r1rl.aha.validate.scores import Score
from tests.aha.validate import shipped_figures
from tests.aha.validate.test_validation import kind_of

ROWS = validation.labelled_long()
TEXTS = os.environ.get("R1RL_LONG_TEXTS")
"""A folder as `r1rl aha validate --texts` wants it."""


def test_enough_spans_traces_sources_and_models() -> None:
    assert len(ROWS) == len({row["sha256"] for row in ROWS}) == 60
    assert sum(len(row["spans"]) for row in ROWS) >= 300
    assert len({row["source"] for row in ROWS}) >= 4
    assert len({row["model"] for row in ROWS}) >= 5
    assert all(400 <= row["words"] <= 3000 for row in ROWS)


def test_the_halves_are_alike_in_size_and_source() -> None:
    halves = Counter(row["half"] for row in ROWS)
    assert halves == {"tuned": 30, "untouched": 30}
    by_source = Counter((row["source"], row["dataset"], row["half"]) for row in ROWS)
    for source, dataset, _ in by_source:
        assert abs(by_source[source, dataset, "tuned"] - by_source[source, dataset, "untouched"]) <= 1


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["id"])
def test_labels_are_well_formed(row: dict[str, Any]) -> None:
    assert "text" not in row
    length = row["cut"][1] - row["cut"][0]
    assert set(row["hygiene"]) <= set(validation.HYGIENE)
    assert ("truncated" in row["hygiene"]) == (row["finish_reason"] == "length")
    for span in row["spans"]:
        assert 0 <= span["start"] < span["end"] <= length
        if span["type"] == "marker":
            assert ("outcome" in span) == ("kind" in span) == span["reflective"]
            assert span.get("outcome") in (None, *validation.OUTCOMES)
    assert [span["start"] for span in row["spans"]] == sorted(span["start"] for span in row["spans"])
    if row["verifier"] is None:
        assert not any(span["type"] == "attempt" for span in row["spans"]), "nothing could judge it"
    new = [span for span in row["spans"] if span["type"] == "attempt" and not span["repeat"]]
    assert row["transitions"] == [kind_of(before, after) for before, after in pairwise(new)]
    last = False
    for span in row["spans"]:
        if span["type"] == "attempt":
            last = span["right"]
        elif span["type"] == "goal_test":
            assert span["truth"] == last


TEXT = "<think>14 + 4 = 18. Wait, let me check. Yes.</think>"


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a clone whose one file holds one labelled text."""
    repository = tmp_path / "some+one"
    repository.mkdir()
    (repository / "runs.jsonl").write_text("{}\n" + json.dumps({"out": [TEXT + " 18"]}) + "\n", encoding="utf-8")
    identity = ("-c", "user.name=a", "-c", "user.email=a@b")
    for words in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "x"]):
        subprocess.run(["git", "-C", str(repository), *words], check=True)
    head = subprocess.run(["git", "-C", str(repository), "rev-parse", "HEAD"], capture_output=True, check=True)
    row = {"id": "a", "source": "some/one", "commit": head.stdout.decode().strip(), "path": "runs.jsonl"}
    row |= {"at": [1, "out", 0], "cut": [0, len(TEXT)], "sha256": hashlib.sha256(TEXT.encode()).hexdigest()}
    monkeypatch.setattr(validation, "labelled_long", lambda: [row])
    return tmp_path


def test_a_text_is_read_from_a_clone_at_its_commit(clone: Path) -> None:
    (clone / "some+one" / "runs.jsonl").write_text("changed later", encoding="utf-8")
    assert long_texts.texts(clone) == {"a": TEXT}


def test_a_copy_does_as_well(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    copies = tmp_path_factory.mktemp("copies")
    row = {"sha256": hashlib.sha256(TEXT.encode()).hexdigest(), "text": TEXT}
    (copies / long_texts.COPIES).write_text(json.dumps(row), encoding="utf-8")
    assert long_texts.texts(copies) == {"a": TEXT}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"source": "no/body"}, "no clone of no/body", id="no clone"),
        pytest.param({"commit": "0" * 40}, "with commit 000000000000", id="no such commit"),
        pytest.param({"cut": [0, 9]}, "is not the text that was labelled", id="another text"),
    ],
)
def test_a_missing_text_is_one_clear_error(
    clone: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any], said: str
) -> None:
    (row,) = validation.labelled_long()
    monkeypatch.setattr(validation, "labelled_long", lambda: [row | change])
    with pytest.raises(ValueError, match=said):
        long_texts.texts(clone)


@pytest.mark.parametrize(
    ("clusters", "low", "high"),
    [
        # drawn twice out of two: 0, 1/2 or 1 of the hits are right
        pytest.param(((10, 0, 0), (0, 10, 0)), 0.0, 1.0, id="texts that differ"),
        pytest.param(((5, 5, 0), (5, 5, 0)), 0.2993, 0.7007, id="alike: Wilson's of 10 in 20"),
        pytest.param((), 0.2993, 0.7007, id="not clustered"),
    ],
)
def test_intervals_draw_texts(clusters: tuple[tuple[int, int, int], ...], low: float, high: float) -> None:
    found = Score("attempts", "x", tp=10, fp=10, fn=0, texts=2, clusters=clusters).as_dict()
    assert found["precision_ci"] == pytest.approx([low, high], abs=1e-4)


def test_outcomes_are_judged_where_a_marker_hits() -> None:
    phrases = [
        {"start": i, "end": i + 4, "outcome": outcome} for i, outcome in ((0, "idle"), (10, "effective"), (20, "idle"))
    ]
    hits = [{"start": 1, "end": 3, "label": "idle"}, {"start": 12, "end": 15, "label": "idle"}]
    assert validation._outcome(phrases, hits, "idle") == (1, 1, 0)
    assert validation._outcome(phrases, hits, "effective") == (0, 0, 1)


def test_the_untouched_half_is_stored_for_this_version() -> None:
    row = validation.shipped_score("attempts", "long maths" + validation.UNTOUCHED)
    assert row is not None
    assert row["texts"] >= 15
    assert row["precision"] > 0.7


@pytest.mark.skipif(TEXTS is None, reason="the labelled texts are not ours to ship: set R1RL_LONG_TEXTS")
def test_stored_figures_of_long_text_are_those_of_the_shipped_detectors() -> None:
    stored = [row for row in validation.stored()["scores"] if row["corpus"].endswith(("tuned", "untouched"))]
    assert [one.as_dict() for one in long_texts.scores(long_texts.texts(Path(str(TEXTS))))] == stored
    assert shipped_figures.PATH.is_file()
