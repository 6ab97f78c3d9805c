"""The benchmark of the store: its sides answer alike, and are asked in turns."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import store


def test_every_question_is_asked_of_both_sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ROUNDS", 2)
    monkeypatch.setattr(store, "ASKED_A_ROUND", 1)
    rows = store.compare(tmp_path / "run", 3000, 0)  # fails where the answers differ
    names = [row["name"] for row in rows]
    assert len(names) == len(set(names)) == 1 + len(store.QUESTIONS)
    assert all(row["ours"] > 0 and row["peer"] > 0 for row in rows)
    assert rows[0]["note"].startswith("3,000 rollouts of about 300 tokens in 24 shards of ")


def test_a_side_is_asked_as_often_as_it_says() -> None:
    turns: list[str] = []
    ours, peer, _, _ = store._in_turns(lambda: turns.append("ours"), lambda: turns.append("peer"))
    assert turns == ["peer", *["ours"] * store.ASKED_A_ROUND] * store.ROUNDS
    assert len(ours) == len(peer) == store.ROUNDS
