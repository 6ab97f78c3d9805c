"""The benchmark of the store: its sides answer alike, and it can do without the plain files."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import store


@pytest.mark.parametrize("with_peers", [True, False])
def test_every_question_is_asked_of_both_sides(
    tmp_path: Path, with_peers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ROUNDS", 2)
    monkeypatch.setattr(store, "ASKED_A_ROUND", 1)
    rows = store.compare(tmp_path, 3000, 0, with_peers=with_peers)  # fails where the answers differ
    names = [row["name"] for row in rows]
    assert len(names) == len(set(names)) == 4 + len(store.questions(3))
    asked = [row for row in rows if ", peer: " in row["name"]]
    assert all((row["peer"] is not None) == with_peers for row in asked)
    assert all(row["ours"] > 0 for row in asked)


def test_a_side_is_asked_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []
    store._in_turns(lambda: turns.append("ours"), lambda: turns.append("peer"))
    assert turns == ["peer", *["ours"] * store.ASKED_A_ROUND] * store.ROUNDS
