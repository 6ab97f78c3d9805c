"""verifiers' traces and prime-rl's, written by verifiers 0.4.0's own classes, from PyPI and unchanged.

`verifiers/traces.jsonl` is `write_episode` of made-up episodes, the last with a tool. prime-rl is in no registry:
`prime_rl` are the same episodes as its `FileMonitor.log_episodes` (commit 559b4477) puts them on disk.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from r1rl.store import store
from r1rl.store.importers import Settings, guess, load
from r1rl.store.importers.formats.traces import FORMAT

FILES = Path(__file__).parents[1] / "files"


def test_prime_rl(tmp_path: Path) -> None:
    done = load(FILES / "prime_rl", tmp_path / "run", settings=Settings(correct="correct_answer"))
    rows = store.read(tmp_path / "run").to_pylist()
    assert Counter((row["kind"], row["step"]) for row in rows) == {
        ("train", 0): 4, ("train", 1): 4, ("eval", 0): 4, ("eval", 1): 4,
    }, "batch k follows k - 1 updates, and of `all` and `effective` only the first is read"  # fmt: skip
    assert all(row["policy_step"] == row["step"] for row in rows)
    assert [row["verdict"] for row in rows[:4]] == ["correct", "wrong"] * 2
    first = rows[0]
    assert first["prompt"] == "system: Think first.\nuser: What is 6 * 7?"
    assert first["completion"] == "It is 41. Wait, no: it is 42. \\boxed{42}"
    assert (first["gold"], first["task"], first["temperature"], first["top_p"], first["cap"]) == (
        "42",
        "sums",
        0.8,
        0.95,
        64,
    )
    assert first["reward"] == pytest.approx(1.2), "the weighted sum"
    assert (first["reward_correct_answer"], first["reward_format"], first["advantage"]) == (1, 1, 0.5)
    assert len(first["token_ids"]) == len(first["logprobs"]) == first["n_tokens"] == 9, "what was sampled"
    assert first["logprobs"][1] == pytest.approx(-0.1235)
    assert [row["finish_reason"] for row in rows[:2]] == ["stop", "length"]
    assert len({(row["group_id"]) for row in rows}) == 8
    assert any(note.startswith("records without a completion") and note.endswith(": 1") for note in done.notes)


def test_prime_rl_before_episodes(tmp_path: Path) -> None:
    """A trace a line, with what prime-rl 0.7 adds to it, read at its tag (`Rollout.to_record`)."""
    source = FILES / "prime_rl" / "rollouts" / "step_2" / "eval" / "all" / "traces.jsonl"
    more = {"kind": "eval", "env_name": "sums", "group_id": "0b0e", "policy_version": 20, "eval_step": 21}
    traces = [json.loads(line)["traces"][0] | more for line in source.read_text().splitlines()]
    for folder in ("rollouts/step_21/eval/all", "elsewhere"):
        path = tmp_path / folder / "traces.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(trace) + "\n" for trace in traces))
        load(path, tmp_path / folder / "run")
        rows = store.read(tmp_path / folder / "run").to_pylist()
        assert {(row["kind"], row["step"], row["policy_step"], row["task"]) for row in rows} == {
            ("eval", 20, 20, "sums")
        }
        assert len({row["group_id"] for row in rows}) == 1


def test_verifiers(tmp_path: Path) -> None:
    assert guess([FILES / "verifiers" / "traces.jsonl"]) == "traces"
    done = load(FILES / "verifiers", tmp_path / "run")
    rows = store.read(tmp_path / "run").to_pylist()
    assert {(row["kind"], row["step"]) for row in rows} == {("eval", 0)}
    assert rows[-1]["completion"].startswith("<think>\nI have a tool.\n</think>\nLet me compute.\n<tool_call>")
    assert rows[-1]["completion"].endswith("\n\nIt says 42. Double-check: 6 * 7 = 42. \\boxed{42}")
    assert (rows[-1]["token_ids"], rows[-1]["n_tokens"]) == (None, 13)
    assert any(note.startswith("rollouts of several turns") and note.endswith(": 1") for note in done.notes)


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        pytest.param(
            {"nodes": [{"parent": 0, "message": {}}]}, {"completion": None}, id="a message that follows itself"
        ),
        pytest.param({"nodes": [{"parent": 1}, {"parent": 0}]}, {"completion": None}, id="a circle"),
        pytest.param({"nodes": "x", "calls": 3, "rewards": [], "task": 1}, {"completion": None}, id="other types"),
        pytest.param({"rewards": {"a": {"score": "x"}, "b": None}}, {"reward": None}, id="no number"),
        pytest.param({"rewards": {"a": {"score": float("inf")}}}, {"reward": None}, id="infinite"),
        pytest.param(
            {
                "nodes": [
                    {"message": {"role": "user", "content": "q"}},
                    {"parent": 0, "sampled": True, "message": {"role": "assistant", "content": "left"}},
                    {"parent": 0, "sampled": True, "message": {"role": "assistant", "content": "right"}},
                ]
            },
            {"completion": [{"role": "assistant", "content": "right"}]},
            id="the last branch",
        ),
    ],
)
def test_records(trace: dict[str, Any], expected: dict[str, Any]) -> None:
    (row,) = FORMAT.rollouts({"task": {}, "traces": [trace]}, Path("traces.jsonl"), Counter())
    assert {name: row[name] for name in expected} == expected
