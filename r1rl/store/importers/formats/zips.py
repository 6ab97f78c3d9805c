"""JSON in a zip archive that nobody vouches for: read in memory by name, never extracted, never past what it declares.

Inspect packs with Zstandard, which Python's zipfile knows from 3.14 on; Arrow unpacks it.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

import pyarrow as pa

LONGEST_MEMBER: Final = 256 * 2**20
LONGEST_ARCHIVE: Final = 64 * 2**30
_ZSTANDARD: Final = 93
_LOCAL_HEADER: Final = 30
_T = TypeVar("_T", dict[str, Any], list[Any])


def content(value: object, kind: type[_T]) -> _T:
    """A mapping or list of JSON that should be one, else an empty one."""
    return value if isinstance(value, kind) else kind()


class Archive:
    """An archive's JSON members.

    Raises:
        ValueError: no whole archive, a member that is not there, damaged, encrypted, too long or no JSON.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OSError) as error:
            raise ValueError(f"{file}: not a whole zip archive ({error})") from error
        # The last of several members of one name counts, as everywhere.
        self._members = {member.filename: member for member in self._zip.infolist()}
        self.names = self._members.keys()
        if (size := sum(member.file_size for member in self._members.values())) > LONGEST_ARCHIVE:
            self._zip.close()
            raise ValueError(f"{file}: unpacks to {size:,} bytes, more than {LONGEST_ARCHIVE:,}; not read")

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._zip.close()

    def json(self, name: str) -> Any:
        """A member's JSON value."""
        where = f"{self._file}, member {name[:200]!r}"
        member = self._members.get(name)
        if member is None:
            raise ValueError(f"{where}: missing")
        if member.file_size > LONGEST_MEMBER:
            raise ValueError(f"{where}: {member.file_size:,} bytes, more than {LONGEST_MEMBER:,}; not read")
        if member.flag_bits & 1:
            raise ValueError(f"{where}: encrypted")
        try:
            packed = member.compress_type == _ZSTANDARD
            data = self._unpacked(member) if packed else self._zip.open(member).read(member.file_size + 1)
        except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError, zlib.error) as error:
            raise ValueError(f"{where}: damaged ({error})") from error
        if len(data) != member.file_size or (packed and zlib.crc32(data) != member.CRC):
            raise ValueError(f"{where}: damaged (not what the archive's list says)")
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where}: not JSON ({error})") from error

    def _unpacked(self, member: zipfile.ZipInfo) -> bytes:
        stream = self._zip.fp
        assert stream is not None
        stream.seek(member.header_offset)
        header = stream.read(_LOCAL_HEADER)
        if len(header) < _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
            raise zipfile.BadZipFile("no header where one should be")
        name, extra = struct.unpack("<HH", header[26:30])
        stream.seek(name + extra, io.SEEK_CUR)
        packed = stream.read(member.compress_size)
        # One byte more than declared shows that there are more.
        with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as unpacked:
            return bytes(unpacked.read(member.file_size + 1))
