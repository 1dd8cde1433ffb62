# SPDX-License-Identifier: Apache-2.0
"""Turns compressed bytes into plain ones without ever trusting what they claim to unpack to."""

from __future__ import annotations

import bz2
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lz4.frame  # type: ignore[import-untyped]
import zstandard

from cosmos_flywheel.core.errors import BagError

ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'

MAX_RECORD_BYTES = 512 << 20
"""Most that one chunk or message may unpack to.

rosbag2 writes chunks of 0.8 to 4 MB, and an 8K RGB picture is 100 MB: five times that is no
recording but a decompression bomb.
"""

FREE_FILE_BYTES = 4 << 30
MAX_FILE_RATIO = 100
"""A compressed file may unpack to FREE_FILE_BYTES, and beyond that to 100 times its own size.

Robot logs shrink by 1 to 5, so no recording comes near.
"""

_STEP_BYTES = 64 << 10
_CODEC_ERRORS = (zstandard.ZstdError, RuntimeError, OSError, EOFError)


class UnpackError(ValueError):
    """Compressed bytes that are corrupt, cut, or larger than they may be."""


def unpack(data: bytes, compression: str, size_bytes: int, crc: int = 0) -> bytes:
    """Unpack a chunk that says it holds `size_bytes`; a `crc` of 0 means unchecked.

    Raises UnpackError when the claim is too large or untrue, or the checksum fails.
    """
    if size_bytes > MAX_RECORD_BYTES:
        raise UnpackError(f'it claims to unpack to {size_bytes} bytes, limit {MAX_RECORD_BYTES}')
    if compression not in _UNPACKERS:
        raise UnpackError(f'its compression {compression!r} is unknown')
    try:
        raw = _UNPACKERS[compression](data, size_bytes)
    except _CODEC_ERRORS as error:
        raise UnpackError(f'its {compression} data are corrupt ({error})') from error
    if len(raw) != size_bytes:
        raise UnpackError(f'it unpacks to {len(raw)} bytes instead of {size_bytes}')
    if crc and zlib.crc32(raw) != crc:
        raise UnpackError('its checksum does not match')
    return raw


def unpack_prefix(data: bytes, compression: str, size_bytes: int) -> bytes:
    """Whatever the first bytes of a cut chunk still unpack to; at most `size_bytes`."""
    limit = min(size_bytes, MAX_RECORD_BYTES)
    raw = bytearray()
    try:
        for piece in _pieces(data, compression):
            raw += piece
            if len(raw) >= limit:
                break
    except _CODEC_ERRORS:
        pass  # what came before the corrupt byte is still good
    return bytes(raw[:limit])


def unpack_message(data: bytes) -> bytes:
    """Undo rosbag2's message compression; plain messages pass through.

    The zstd magic is no valid CDR encapsulation, so the bytes themselves say which it is.
    """
    if data[:4] != ZSTD_MAGIC:
        return data
    try:
        claimed = zstandard.frame_content_size(data)
        size_bytes = claimed if claimed >= 0 else len(_unzstd(data, MAX_RECORD_BYTES))
    except zstandard.ZstdError as error:
        raise UnpackError(f'its zstd data are corrupt ({error})') from error
    return unpack(data, 'zstd', size_bytes)


def unpack_file(path: Path, target: Path) -> None:
    """Unpack a .zstd file to `target`; raises BagError when it is corrupt or a bomb."""
    limit = max(FREE_FILE_BYTES, MAX_FILE_RATIO * path.stat().st_size)
    try:
        with path.open('rb') as packed, target.open('wb') as plain:
            for piece in zstandard.ZstdDecompressor().read_to_iter(packed):
                plain.write(piece)
                if plain.tell() > limit:
                    raise BagError(
                        f'{path}: unpacks to more than {limit} bytes, which no recording does; '
                        'unpack it with `zstd -d` if you trust it, and name the result'
                    )
    except zstandard.ZstdError as error:
        raise BagError(
            f'{path}: corrupt zstd file ({error}); copy it from the robot anew'
        ) from error
    except OSError as error:
        free = shutil.disk_usage(target.parent).free
        raise BagError(
            f'{path}: cannot be unpacked into {target.parent} ({error.strerror}; {free} bytes '
            'free); check its permissions, or point TMPDIR to a larger disk'
        ) from error


def _plain(data: bytes, _size_bytes: int) -> bytes:
    return data


def _unzstd(data: bytes, size_bytes: int) -> bytes:
    claimed = zstandard.frame_content_size(data)
    if claimed > size_bytes:
        raise UnpackError(f'it unpacks to {claimed} bytes instead of {size_bytes}')
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=size_bytes)


def _unlz4(data: bytes, size_bytes: int) -> bytes:
    return _bounded(lz4.frame.LZ4FrameDecompressor(), data, size_bytes)


def _unbz2(data: bytes, size_bytes: int) -> bytes:
    return _bounded(bz2.BZ2Decompressor(), data, size_bytes)


def _bounded(unpacker: Any, data: bytes, size_bytes: int) -> bytes:
    raw: bytes = unpacker.decompress(data, max_length=size_bytes)
    if not unpacker.eof and unpacker.decompress(b'', max_length=1):
        raise UnpackError(f'it unpacks to more than {size_bytes} bytes')
    return raw


def _pieces(data: bytes, compression: str) -> Iterator[bytes]:
    """Unpack step by step, so that a cut or a flipped byte costs no more than one step.

    Knows what MCAP knows: a cut ROS 1 bag is never read.
    """
    if compression in ('', 'none'):
        yield data
        return
    step: Callable[[bytes], bytes]
    if compression == 'zstd':
        step = zstandard.ZstdDecompressor().decompressobj().decompress
    elif compression == 'lz4':
        step = lz4.frame.LZ4FrameDecompressor().decompress
    else:
        return
    for start in range(0, len(data), _STEP_BYTES):
        yield step(data[start : start + _STEP_BYTES])


_UNPACKERS: dict[str, Callable[[bytes, int], bytes]] = {
    '': _plain,
    'none': _plain,
    'zstd': _unzstd,
    'lz4': _unlz4,
    'bz2': _unbz2,
}
