# SPDX-License-Identifier: Apache-2.0
"""Turns an Image or CompressedImage message into one RGB picture, by fixed rules.

What a message claims about its size is checked before anything of that size is made. Encodings
are those of sensor_msgs/image_encodings.hpp; sixteen-bit intensities keep their upper eight bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.bags.compressed_picture import decode_compressed, peek_compressed
from cosmos_flywheel.bags.depth import picture_of_depth
from cosmos_flywheel.core.errors import PictureError
from cosmos_flywheel.core.types import Picture

MAX_PIXELS = 64 << 20
"""67 million: twice an 8K picture, 200 MB once decoded."""

Samples = NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Encoding:
    dtype: str
    """Of one sample, without its byte order."""
    channels: int
    to_rgb: Callable[[Samples], Samples]
    """From (H, W) or (H, W, channels) to uint8 (H, W, 3)."""
    even: int = 1
    """Width, and for planar encodings height too, must be a multiple of it."""
    is_planar: bool = False
    """Half a plane of colour follows the plane of brightness (NV12, NV21)."""


def decode_picture(
    message: Any,
    *,
    max_pixels: int = MAX_PIXELS,
    shrink_to: tuple[int, int] | None = None,
) -> Picture:
    """Decode a sensor_msgs Image or CompressedImage of rosbags or rclpy to RGB (H, W, 3).

    `shrink_to` is (height, width): the picture is brought to exactly that size, by area. A JPEG
    is then decoded at the smallest of its reduced sizes that is no smaller, which is faster; the
    rule depends on the two sizes only, so that one camera's pictures are all treated alike.

    Depth (16UC1 in millimetres, 32FC1 in metres, by REP 118) becomes grey by `picture_of_depth`.
    8UC3 and 8UC4 are taken as BGR and BGRA, as cv_bridge does.

    Raises PictureError for no pixels, more than `max_pixels`, data that are corrupt, cut or
    disagree with the header, and unknown encodings. JPEG carries no checksum: a flipped bit that
    still decodes passes.
    """
    if _is_compressed(message):
        data = _buffer(message.data).tobytes()
        picture: Samples = decode_compressed(data, str(message.format), max_pixels, shrink_to)
    else:
        picture = _decode_raw(message, max_pixels)
    if shrink_to is not None and picture.shape[:2] != shrink_to:
        picture = _resize(picture, *shrink_to)
    return np.ascontiguousarray(picture, dtype=np.uint8)


def _resize(picture: Samples, height: int, width: int) -> Samples:
    """To exactly this size; averaging costs ten times more and pays only from half size down."""
    is_half = picture.shape[0] >= 2 * height or picture.shape[1] >= 2 * width
    way = cv2.INTER_AREA if is_half else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=way))


def peek_size(message: Any) -> tuple[int, int]:
    """Height and width in pixels as the message states them, without decoding.

    Raises PictureError when the header of a compressed picture cannot be read.
    """
    if _is_compressed(message):
        return peek_compressed(_buffer(message.data).tobytes(), str(message.format))
    return int(message.height), int(message.width)


def _is_compressed(message: Any) -> bool:
    if hasattr(message, 'encoding'):
        return False
    if hasattr(message, 'format'):
        return True
    raise PictureError(
        f'{type(message).__name__} is no picture; name a topic of sensor_msgs/msg/Image or '
        'CompressedImage as camera'
    )


def _buffer(data: Any) -> NDArray[np.uint8]:
    """Bytes of a message field: a numpy array, array.array, bytes or a list of numbers."""
    if isinstance(data, (list, tuple)):
        return np.asarray(data, np.uint8)
    return np.frombuffer(data, np.uint8)


def _decode_raw(message: Any, max_pixels: int) -> Samples:
    height, width = int(message.height), int(message.width)
    encoding = _ENCODINGS.get(str(message.encoding).lower())
    if encoding is None:
        raise PictureError(
            f'encoding {message.encoding!r} is unknown; convert it to rgb8 before recording'
        )
    _check_size(height, width, max_pixels)
    if width % encoding.even or (encoding.is_planar and height % encoding.even):
        raise PictureError(f'{width}x{height} is not even, as {message.encoding} must be')
    rows = height * 3 // 2 if encoding.is_planar else height
    return encoding.to_rgb(_samples(message, encoding, rows, width))


def _check_size(height: int, width: int, max_pixels: int) -> None:
    if height < 1 or width < 1:
        raise PictureError(
            f'the picture has no pixels ({width}x{height}); check the camera driver'
        )
    if height * width > max_pixels:
        raise PictureError(f'{width}x{height} is more than {max_pixels} pixels; raise the limit')


def _samples(message: Any, encoding: _Encoding, rows: int, width: int) -> Samples:
    """The pixels without the padding of each row, in the machine's byte order."""
    data = _buffer(message.data)
    step_bytes = int(message.step)
    dtype = np.dtype(encoding.dtype).newbyteorder('>' if message.is_bigendian else '<')
    row_bytes = width * encoding.channels * dtype.itemsize
    if step_bytes < row_bytes or rows * step_bytes != len(data):
        raise PictureError(
            f'the header says {width}x{rows} {message.encoding} in rows of {step_bytes} bytes '
            f'(at least {row_bytes}), but there are {len(data)} bytes; the message is corrupt'
        )
    packed = data.reshape(rows, step_bytes)[:, :row_bytes]
    samples: Samples = (
        np.ascontiguousarray(packed).view(dtype).astype(dtype.newbyteorder('='), copy=False)
    )
    return samples if encoding.channels == 1 else samples.reshape(rows, width, encoding.channels)


def _upper_byte(samples: Samples) -> Samples:
    return (samples >> 8).astype(np.uint8) if samples.dtype.itemsize == 2 else samples


def _colour(code: int) -> Callable[[Samples], Samples]:
    return lambda samples: cv2.cvtColor(_upper_byte(samples), code)


def _bayer(code: int) -> Callable[[Samples], Samples]:
    """Demosaic at full depth, bilinear; needs two rows and columns to interpolate between."""

    def convert(samples: Samples) -> Samples:
        if min(samples.shape) < 4:
            raise PictureError(f'{samples.shape[1]}x{samples.shape[0]} is too small for a mosaic')
        return _upper_byte(cv2.cvtColor(samples, code))

    return convert


_BAYER = {
    'rggb': cv2.COLOR_BayerRGGB2RGB,
    'bggr': cv2.COLOR_BayerBGGR2RGB,
    'gbrg': cv2.COLOR_BayerGBRG2RGB,
    'grbg': cv2.COLOR_BayerGRBG2RGB,
}
_UYVY = _Encoding('u1', 2, _colour(cv2.COLOR_YUV2RGB_UYVY), even=2)
_YUYV = _Encoding('u1', 2, _colour(cv2.COLOR_YUV2RGB_YUY2), even=2)

_ENCODINGS: dict[str, _Encoding] = {
    'rgb8': _Encoding('u1', 3, lambda samples: samples),
    'bgr8': _Encoding('u1', 3, _colour(cv2.COLOR_BGR2RGB)),
    'rgba8': _Encoding('u1', 4, _colour(cv2.COLOR_RGBA2RGB)),
    'bgra8': _Encoding('u1', 4, _colour(cv2.COLOR_BGRA2RGB)),
    'rgb16': _Encoding('u2', 3, _upper_byte),
    'bgr16': _Encoding('u2', 3, _colour(cv2.COLOR_BGR2RGB)),
    'rgba16': _Encoding('u2', 4, _colour(cv2.COLOR_RGBA2RGB)),
    'bgra16': _Encoding('u2', 4, _colour(cv2.COLOR_BGRA2RGB)),
    'mono8': _Encoding('u1', 1, _colour(cv2.COLOR_GRAY2RGB)),
    'mono16': _Encoding('u2', 1, _colour(cv2.COLOR_GRAY2RGB)),
    '8uc1': _Encoding('u1', 1, _colour(cv2.COLOR_GRAY2RGB)),
    '8uc3': _Encoding('u1', 3, _colour(cv2.COLOR_BGR2RGB)),
    '8uc4': _Encoding('u1', 4, _colour(cv2.COLOR_BGRA2RGB)),
    '16uc1': _Encoding('u2', 1, picture_of_depth),
    '32fc1': _Encoding('f4', 1, picture_of_depth),
    'yuv422': _UYVY,
    'uyvy': _UYVY,
    'yuv422_yuy2': _YUYV,
    'yuyv': _YUYV,
    'nv12': _Encoding('u1', 1, _colour(cv2.COLOR_YUV2RGB_NV12), even=2, is_planar=True),
    'nv21': _Encoding('u1', 1, _colour(cv2.COLOR_YUV2RGB_NV21), even=2, is_planar=True),
}
for _pattern, _code in _BAYER.items():
    _ENCODINGS[f'bayer_{_pattern}8'] = _Encoding('u1', 1, _bayer(_code))
    _ENCODINGS[f'bayer_{_pattern}16'] = _Encoding('u2', 1, _bayer(_code))
