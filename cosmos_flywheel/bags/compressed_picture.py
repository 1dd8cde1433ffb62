# SPDX-License-Identifier: Apache-2.0
"""Turns the bytes of a JPEG, PNG or compressedDepth picture into RGB.

The bytes say what they are, not the `format` text. Every header is checked before decoding.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from cosmos_flywheel.bags.depth import picture_of_depth
from cosmos_flywheel.core.errors import PictureError
from cosmos_flywheel.core.types import Picture

_JPEG = b'\xff\xd8\xff'
_PNG = b'\x89PNG\r\n\x1a\n'
_START_OF_SCAN = b'\xff\xda'
_MAX_SCANS = 100
"""A progressive JPEG has about ten; thousands in a few kilobytes keep a decoder busy for minutes
(libjpeg-turbo's own advice against that attack)."""

_DEPTH_HEADER = struct.Struct('<iff')
"""compressed_depth_image_transport's ConfigHeader: format, quantisation A, quantisation B."""
_RGB_INSIDE = re.compile(r'compressed rgb')
_IHDR = struct.Struct('>I4sII')


def decode_compressed(
    data: bytes, format_text: str, max_pixels: int, shrink_to: tuple[int, int] | None
) -> Picture:
    """RGB (H, W, 3); a JPEG not smaller than `shrink_to`, where it can be had reduced.

    Raises PictureError when the bytes are neither JPEG nor PNG, corrupt, cut, or too large.
    """
    height, width = peek_compressed(data, format_text)
    if height < 1 or width < 1:
        raise PictureError(
            f'the picture has no pixels ({width}x{height}); check the camera driver'
        )
    if height * width > max_pixels:
        raise PictureError(
            f'{width}x{height} in {len(data)} bytes is more than {max_pixels} pixels; '
            'raise the limit if that is no decompression bomb'
        )
    if _is_depth(format_text):
        return _decode_depth(data, format_text)
    # image_transport names the order it handed to an encoder that takes BGR for granted.
    is_swapped = bool(_RGB_INSIDE.search(format_text))
    if data.startswith(_JPEG):
        return _decode_jpeg(data, shrink_to, 'BGR' if is_swapped else 'RGB')
    picture = _decode_png(data, format_text)
    return np.ascontiguousarray(picture[:, :, ::-1]) if is_swapped else picture


def peek_compressed(data: bytes, format_text: str) -> tuple[int, int]:
    """Height and width that the header states; raises PictureError where there is none."""
    if _is_depth(format_text):
        data = data[_DEPTH_HEADER.size :]
    if data.startswith(_PNG):
        return _png_size(data)
    if data.startswith(_JPEG):
        try:
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        except ValueError as error:
            raise PictureError(f'corrupt JPEG header ({error})') from error
        return int(height), int(width)
    raise PictureError(
        f'neither JPEG nor PNG (format {format_text!r}, first bytes {data[:8].hex()!r}); record '
        'the camera with the jpeg or png of image_transport'
    )


def _decode_jpeg(data: bytes, shrink_to: tuple[int, int] | None, order: str) -> Picture:
    if data.count(_START_OF_SCAN) > _MAX_SCANS:
        raise PictureError(f'the JPEG has more than {_MAX_SCANS} scans: a decompression bomb')
    min_height, min_width = shrink_to or (0, 0)
    try:
        picture: Picture = simplejpeg.decode_jpeg(
            data, order, min_height=min_height, min_width=min_width, strict=True
        )
    except ValueError as error:
        raise PictureError(f'corrupt JPEG ({error})') from error
    return picture


def _decode_png(data: bytes, format_text: str) -> Picture:
    samples = _png_samples(data)
    if samples.ndim == 2 and samples.dtype == np.uint16 and format_text.startswith('16UC1'):
        return picture_of_depth(samples)
    if samples.dtype == np.uint16:
        samples = (samples >> 8).astype(np.uint8)
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    code = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}[channels]
    return cv2.cvtColor(samples, code)  # type: ignore[return-value]


def _decode_depth(data: bytes, format_text: str) -> Picture:
    """Undo compressedDepth; 32FC1 is stored as 16-bit inverse depth."""
    _, scale, offset = _DEPTH_HEADER.unpack_from(data)
    samples = _png_samples(data[_DEPTH_HEADER.size :])
    if samples.ndim != 2 or samples.dtype != np.uint16:
        raise PictureError('compressedDepth without 16-bit samples; the message is corrupt')
    if not format_text.startswith('32FC1'):
        return picture_of_depth(samples)
    metres = np.full(samples.shape, np.nan, np.float32)
    np.divide(scale, samples - np.float32(offset), out=metres, where=samples > 0)
    return picture_of_depth(metres)


def _is_depth(format_text: str) -> bool:
    return 'compresseddepth' in format_text.lower()


def _png_samples(data: bytes) -> NDArray[Any]:
    _check_png(data)
    samples = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if samples is None or samples.shape[:2] != _png_size(data):
        raise PictureError('corrupt PNG: its pixels do not unpack')
    return samples


def _png_size(data: bytes) -> tuple[int, int]:
    if len(data) < len(_PNG) + _IHDR.size:
        raise PictureError(f'cut PNG of {len(data)} bytes')
    _, kind, width, height = _IHDR.unpack_from(data, len(_PNG))
    if kind != b'IHDR':
        raise PictureError('corrupt PNG: it does not start with its header')
    return int(height), int(width)


def _check_png(data: bytes) -> None:
    """Every chunk's length and checksum, so that the decoder meets no surprise."""
    at, view = len(_PNG), memoryview(data)
    while at + 12 <= len(data):
        (length_bytes,) = struct.unpack_from('>I', data, at)
        end = at + 8 + length_bytes
        if end + 4 > len(data):
            break
        if zlib.crc32(view[at + 4 : end]) != struct.unpack_from('>I', data, end)[0]:
            raise PictureError(f'corrupt PNG: wrong checksum at byte {at}')
        if data[at + 4 : at + 8] == b'IEND':
            return
        at = end + 4
    raise PictureError(f'cut PNG of {len(data)} bytes: its end is missing')
