"""Imports from begin to end: what comes back, what is held, what does not fit and leaves nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from r1rl import cli
from r1rl.store import store
from r1rl.store.export import export
from r1rl.store.importers import load, sink


def test_plain_lines_with_other_names(tmp_path: Path) -> None:
    source = tmp_path / "mine.jsonl"
    made = [
        {"text": "a", "q": "1?", "label": 1.0, "correct": True, "global": 4, "n_tokens": 3.0, "finish_reason": "eos"},
        {"text": "b", "q": [{"role": "system", "content": "s"}, {"role": "user", "content": "2?"}], "style": 0.5},
    ]
    source.write_text("\n\n".join(map(json.dumps, made)))
    arguments = ["import", str(source), "--to", str(tmp_path / "run")]
    for pair in ("completion=text", "prompt=q", "gold=label", "step=global"):
        arguments += ["--column", pair]
    assert cli.main(arguments) == 0
    second, first = store.read(tmp_path / "run").to_pylist()
    assert (first["step"], first["prompt"], first["completion"], first["gold"]) == (4, "1?", "a", "1")
    assert (first["verdict"], first["n_tokens"], first["finish_reason"]) == ("correct", 3, "eos")
    assert (second["step"], second["prompt"], second["gold"]) == (0, "system: s\nuser: 2?", "")
    assert (second["verdict"], second["reward_style"]) == (None, 0.5)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_what_was_exported_comes_back(tmp_path: Path, capsys: pytest.CaptureFixture[str], suffix: str) -> None:
    """Kinds, steps, temperatures and groups are kept, and reflection is measured in what comes back."""
    source = tmp_path / "a.jsonl"
    rows = [
        {
            "completion": "1 + 1 = 3. Wait, that is wrong. <answer>2</answer>", "prompt": f"p{i % 2}", "step": i // 6,
            "kind": "train" if i % 6 < 2 else "eval", "temperature": 0.0 if i % 6 == 5 else 1.0, "reward": i / 2,
            "verdict": "correct", "verdict_reason": None, "finish_reason": "eos", "n_tokens": 9, "task": "countdown",
            "gold": "2", "meta": '{"numbers": [1, 1]}', "verifier": "countdown", "cap": 40, "top_p": 1.0,
        }
        for i in range(12)
    ]  # fmt: skip
    source.write_text("\n".join(map(json.dumps, rows)))
    load(source, tmp_path / "run")
    export(tmp_path / "run", tmp_path / f"b{suffix}")
    load(tmp_path / f"b{suffix}", tmp_path / "again")
    first, second = (store.read(tmp_path / name).drop_columns(["run"]) for name in ("run", "again"))
    assert first.to_pylist() == second.to_pylist()
    kinds = second.column("kind").to_pylist()
    assert (kinds.count("train"), kinds.count("eval")) == (4, 8)
    found = []
    for name in ("run", "again"):
        capsys.readouterr()
        assert cli.main(["aha", str(tmp_path / name), "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out) | {"runs": []})
    assert found[0] == found[1]
    assert (found[0]["steps"], found[0]["rollouts_per_step"]) == ([0, 1], 3)


def test_few_rows_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sink, "BUFFERED_ROWS", 10)
    steps = [i // 7 for i in range(70)] + [0, 3]  # and two stragglers
    source = tmp_path / "a.jsonl"
    source.write_text("\n".join(json.dumps({"completion": str(i), "step": s}) for i, s in enumerate(steps)))
    done = load(source, tmp_path / "run")
    assert (done.rollouts, done.steps) == (72, 10)
    found = store.read(tmp_path / "run", columns=["step", "completion"]).to_pylist()
    assert sorted(int(r["completion"]) for r in found) == list(range(72))
    assert all(r["step"] == steps[int(r["completion"])] for r in found)
    assert [s.rank for s in store.shards(tmp_path / "run") if s.step in (1, 3)] == [0, 0, 1]


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        pytest.param('{"completion": "a"}\n{"comp', [], "a.jsonl, line 2: not JSON", id="torn line"),
        pytest.param("[1]\n", [], "need a JSON object", id="no object"),
        pytest.param("[" * 100_000, [], "not JSON", id="deeply nested"),
        pytest.param('{"answer": "a"}\n', [], "--column completion=text", id="no completion"),
        pytest.param('{"completion": "a", "step": "x"}\n', [], "step='x': need a whole number", id="no step"),
        pytest.param('{"completion": "a", "step": -1}\n', [], "need at least 0", id="negative step"),
        pytest.param('{"completion": "a", "kind": "x"}\n', [], "kind='x'", id="kind"),
        pytest.param('{"completion": "a", "finish_reason": "x"}\n', [], "finish_reason='x'", id="finish reason"),
        pytest.param('{"completion": "a"}\n', ["--column", "colour=a"], "column=colour: need one of", id="column"),
        pytest.param('{"completion": "a"}\n', ["--column", "gold"], "need NAME=VALUE", id="pair"),
        pytest.param('{"completion": "a"}\n', ["--weight", "a=b"], "expected a number", id="weight"),
        pytest.param('{"completion": "a"}\n', ["--verifier", "oracle"], "verifier='oracle'", id="verifier"),
        pytest.param('{"completion": "a"}\n', ["--verifier", "exact", "--extraction", "eyes"], "eyes", id="extraction"),
    ],
)
def test_what_does_not_fit_is_said_and_no_run_appears(
    tmp_path: Path, content: str, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    try:
        code: Any = cli.main(["import", str(tmp_path / "a.jsonl"), "--to", str(tmp_path / "run"), *arguments])
    except SystemExit as stop:  # argparse's own
        code = stop.code
    assert code == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not (tmp_path / "run").exists()


def test_sources_and_targets(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file or folder"):
        load(tmp_path / "nowhere", tmp_path / "run")
    with pytest.raises(ValueError, match=r"no .parquet, .jsonl, .eval or .json file"):
        load(tmp_path, tmp_path / "run")
    (tmp_path / "a.jsonl").write_text('{"completion": "a"}\n')
    (tmp_path / "b.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(ValueError, match="name one file"):
        load(tmp_path, tmp_path / "run")
    with pytest.raises(ValueError, match="not a whole Parquet file"):
        load(tmp_path / "b.parquet", tmp_path / "run")
    assert load(tmp_path / "a.jsonl", tmp_path / "run").rollouts == 1, "what the failed one left is in nobody's way"
    with pytest.raises(ValueError, match="exists; give another"):
        load(tmp_path / "a.jsonl", tmp_path / "run")
    assert not list(tmp_path.glob(".*"))
