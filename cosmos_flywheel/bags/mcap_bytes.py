# SPDX-License-Identifier: Apache-2.0
"""Turns places in an MCAP file into the bytes of its records, every size checked before use.

Format: https://mcap.dev/spec. A record is an opcode, its length, and that many bytes.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mcap.exceptions import McapError
from mcap.opcode import Opcode

from cosmos_flywheel.bags.compression import (
    MAX_RECORD_BYTES,
    UnpackError,
    unpack,
    unpack_prefix,
)
from cosmos_flywheel.bags.spans import Span
from cosmos_flywheel.core.errors import BagError

MAGIC = b'\x89MCAP0\r\n'

HEAD = struct.Struct('<BQ')
"""Opcode and length of a record."""
MESSAGE = struct.Struct('<HIQQ')
"""Channel, sequence number, log time and publish time of a message; its data follow."""
PARSE_ERRORS = (McapError, struct.error, ValueError)
"""What spoilt bytes lead to."""

_CHUNK = struct.Struct('<QQQII')


@dataclass(frozen=True, slots=True)
class ChunkHead:
    """What a chunk says of itself."""

    start_ns: int
    last_ns: int
    raw_bytes: int
    crc: int
    compression: str
    offset: int
    """Where the packed records begin."""
    packed_bytes: int


class McapBytes:
    """The bytes of one MCAP file. Not for several threads at once."""

    def __init__(self, path: Path) -> None:
        """Open the file; raises BagError when it is no MCAP file."""
        self.path = path
        self._file: BinaryIO = path.open('rb')
        self.size_bytes = os.fstat(self._file.fileno()).st_size
        if self._file.read(len(MAGIC)) != MAGIC:
            self.close()
            raise BagError(f'{path}: not an MCAP file; name a rosbag2 folder, .mcap, .db3 or .bag')

    def close(self) -> None:
        """Release the file."""
        self._file.close()

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Exactly the bytes named; raises UnpackError when they are too many or not there."""
        if not 0 <= size_bytes <= MAX_RECORD_BYTES:
            raise UnpackError(f'it claims {size_bytes} bytes, limit {MAX_RECORD_BYTES}')
        missing_bytes = offset + size_bytes - self.size_bytes
        if missing_bytes > 0:
            raise UnpackError(f'the file ends {missing_bytes} bytes too early')
        self._file.seek(offset)
        return self._file.read(size_bytes)

    def chunk_head(self, offset: int) -> ChunkHead:
        """The head of the chunk at a place; raises UnpackError when there is none."""
        fixed_bytes = HEAD.size + _CHUNK.size
        fixed = self.read(offset, fixed_bytes)
        if fixed[0] != Opcode.CHUNK:
            raise UnpackError('the index points to something else')
        start_ns, last_ns, raw_bytes, crc, name_bytes = _CHUNK.unpack_from(fixed, HEAD.size)
        rest = self.read(offset + fixed_bytes, min(name_bytes, 64) + 8)
        name, (packed_bytes,) = rest[:-8].decode(), struct.unpack('<Q', rest[-8:])
        data_offset = offset + fixed_bytes + len(rest)
        return ChunkHead(start_ns, last_ns, raw_bytes, crc, name, data_offset, packed_bytes)

    def records_of(self, span: Span) -> bytes:
        """The records of a chunk or run, unpacked; of a cut chunk those that are still whole."""
        if span.is_run:
            return self.read(span.offset, span.length_bytes)
        head = self.chunk_head(span.offset)
        if span.is_cut:
            packed = self.read(head.offset, span.offset + span.length_bytes - head.offset)
            return _whole_records(unpack_prefix(packed, head.compression, head.raw_bytes))
        packed = self.read(head.offset, head.packed_bytes)
        return unpack(packed, head.compression, head.raw_bytes, head.crc)


def walk(raw: bytes) -> Iterator[tuple[int, int, int]]:
    """Opcode, start and end of each record's content."""
    at = 0
    while at < len(raw):
        opcode, length_bytes = HEAD.unpack_from(raw, at)
        at += HEAD.size
        if at + length_bytes > len(raw):
            raise UnpackError(f'a record claims {length_bytes} bytes and has {len(raw) - at}')
        yield opcode, at, at + length_bytes
        at += length_bytes


def _whole_records(raw: bytes) -> bytes:
    """Without the record that is cut at the end."""
    whole = 0
    try:
        for _, _, end in walk(raw):
            whole = end
    except (struct.error, UnpackError):
        pass
    return raw[:whole]
