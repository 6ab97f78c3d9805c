"""Files as they may come: long lines, bad lines, pickles, JSON of other kinds. The message names the place."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from r1rl.store.importers import load, records

LINE = b'{"completion": "a"}\n'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("a.jsonl", LINE * 2 + b'{"comp\n' + LINE, "line 3: not JSON", id="a bad line in the middle"),
        pytest.param("a.jsonl", LINE + b"null\n", "line 2: need a JSON object", id="no object"),
        pytest.param("a.jsonl", LINE + b"\xff\xfe\n", "line 2: not JSON", id="no UTF-8"),
        pytest.param("a.jsonl", LINE + b'"' + b"x" * 2000 + b'"', "line 2: longer than 1,000 bytes", id="a long line"),
        pytest.param("a.jsonl", LINE + b'{"a": ' + b"1" * 900 + b"}", "line 2: no completion", id="a long number"),
        pytest.param("a.jsonl", b"", "no rollout in it", id="empty"),
        pytest.param("a.json", b"[" + LINE + b", 3]", "need a list of JSON objects", id="a mixed list"),
        pytest.param("a.json", b"[" * 5000, "too long|not JSON|more than", id="a long file"),
        pytest.param(
            "a.json", b'{"columns": ["a"], "data": [[1, 2]]}', "does not have the table's 1", id="a bad table"
        ),
        pytest.param("a.parquet", b"PAR1" * 9, "not a whole Parquet file", id="no Parquet"),
        *(
            pytest.param(f"a{suffix}", b"\x80\x05cposix\nsystem\n", "so it never is", id=f"a pickle, {suffix}")
            for suffix in sorted(records.EXECUTABLE)
        ),
    ],
)
def test_refused_and_nothing_stays(
    tmp_path: Path, name: str, content: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "LONGEST_LINE", 1000)
    monkeypatch.setattr(records, "LONGEST_JSON", 4000)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load(tmp_path / name, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_bad_line_after_what_was_written_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from r1rl.store.importers import sink

    monkeypatch.setattr(sink, "BUFFERED_ROWS", 2)
    lines = [b'{"completion": "a", "step": %d}\n' % step for step in range(9)]
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines) + b"{")
    with pytest.raises(ValueError, match="line 10: not JSON"):
        load(tmp_path / "a.jsonl", tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_list_of_objects(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"[" + LINE + b"," + LINE + b"]")
    assert load(tmp_path / "a.json", tmp_path / "run").rollouts == 2


@pytest.mark.parametrize("typed", [True, False], ids=["as a dictionary", "as texts"])
def test_a_parquet_file_that_swells_is_held_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: bool
) -> None:
    """Rows that share one text are stored once: 200 of 1 MB are a small file."""
    monkeypatch.setattr(records, "_BATCH_BYTES", 2**24)
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 200, pa.int32()), pa.array(["x" * 2**20]))
    table = pa.table({"step": [1] * 200, "prompt": ["q"] * 200, "completion": text})
    pq.write_table(table, tmp_path / "a.parquet", store_schema=typed)
    assert (tmp_path / "a.parquet").stat().st_size < 2**17
    del table, text
    before, most = pa.total_allocated_bytes(), 0
    tracemalloc.start()
    for _, record in records.records(tmp_path / "a.parquet"):
        assert len(record["completion"]) == 2**20
        most = max(most, pa.total_allocated_bytes() - before)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24, "of Python's strings"
    assert most < 2**26, "of Arrow's"
