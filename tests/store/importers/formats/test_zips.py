"""Archives that nobody vouches for: bombs, lies about lengths, damage. Nothing half-imported stays."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path

import pytest

from r1rl.store.importers import load
from r1rl.store.importers.formats import zips

SUMS = Path(__file__).parents[1] / "files" / "inspect" / "sums.eval"
HEAD = json.dumps({"eval": {"task": "t"}, "plan": {}})
SAMPLE = json.dumps({"id": 1, "epoch": 1, "input": "q", "target": "t", "output": {"completion": "a"}})


def archive(path: Path, sample: str | bytes = SAMPLE, name: str = "samples/1_epoch_1.json") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("header.json", HEAD)
        made.writestr(name, sample)
    return path


def with_size(path: Path, size: int) -> Path:
    """The archive of the real tool, whose list says that its first sample is as long."""
    data = bytearray(SUMS.read_bytes())
    at = data.index(b"PK\x01\x02")
    while b"samples/" not in data[at + 46 : at + 60]:
        at = data.index(b"PK\x01\x02", at + 4)
    data[at + 24 : at + 28] = struct.pack("<I", size)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda p: archive(p, b" " * 2**21), "bytes, more than 1,048,576", id="a bomb"),
        pytest.param(lambda p: with_size(p, 10), "not what the archive's list says", id="longer than declared"),
        pytest.param(lambda p: with_size(p, 2**20), "not what the archive's list says", id="shorter than declared"),
        pytest.param(lambda p: with_size(p, 2**31), "more than 1,048,576", id="declared as a bomb"),
        pytest.param(lambda p: archive(p, "[" * 100_000), "not JSON", id="deeply nested"),
        pytest.param(lambda p: archive(p, SAMPLE[:-9]), "member 'samples/1_epoch_1.json': not JSON", id="torn JSON"),
        pytest.param(lambda p: archive(p, name="other"), "no rollout in it", id="no samples"),
        pytest.param(lambda p: p.write_bytes(SUMS.read_bytes()[:-100]), "not a whole zip", id="cut off"),
        pytest.param(lambda p: p.write_bytes(b"\x80\x05cos\nsystem\n"), "not a whole zip", id="a pickle in disguise"),
    ],
)
def test_refused_and_nothing_stays(tmp_path: Path, make, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zips, "LONGEST_MEMBER", 2**20)
    make(tmp_path / "a.eval")
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "a.eval", tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["a.eval"]


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    data = bytearray(SUMS.read_bytes())
    at = data.index(b"_epoch_1.json") + 400
    data[at] ^= 0xFF
    (tmp_path / "a.eval").write_bytes(data)
    with pytest.raises(ValueError, match=r"damaged|not JSON"):
        load(tmp_path / "a.eval", tmp_path / "run")


def test_many_members_together_are_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zips, "LONGEST_ARCHIVE", 100)
    with pytest.raises(ValueError, match="unpacks to"):
        load(archive(tmp_path / "a.eval"), tmp_path / "run")


@pytest.mark.parametrize("name", ["samples/../../../etc/cron_epoch_1.json", "samples//tmp/x_epoch_1.json"])
def test_names_that_are_paths_are_only_names(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    load(archive(tmp_path / "in" / "a.eval", name=name), tmp_path / "in" / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
