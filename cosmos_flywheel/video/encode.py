# SPDX-License-Identifier: Apache-2.0
"""Turns pictures into a small VP9/WebM film, the form that every Chromium and Firefox plays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from io import BytesIO
from itertools import pairwise

import av
import numpy as np

from cosmos_flywheel.core.errors import PictureError
from cosmos_flywheel.core.types import Picture

CRF = 34
"""Constant quality, 0 … 63; a few tens of kB per second of 320×240 robot video."""

_ENCODER = {
    'crf': str(CRF),
    'b:v': '0',  # with crf: constant quality, no bit-rate target
    'deadline': 'realtime',
    'cpu-used': '8',
    'lag-in-frames': '0',
    'row-mt': '0',
}


def encode_webm(
    frames: Sequence[Picture],
    fps: float,
    *,
    times_s: Sequence[float] | None = None,
    threads: int = 1,
) -> bytes:
    """Encode pictures as a VP9/WebM file, held in memory.

    Args:
        frames: uint8 (H, W, 3) RGB, all of one size.
        fps: Pictures per second; with `times_s` only how long the last picture stays.
        times_s: When each picture is shown, strictly increasing; the first becomes zero. Without
            it the pictures are evenly spaced.
        threads: Of the encoder; with 1 equal pictures give equal bytes.

    Raises:
        PictureError: No picture, a picture of another size or type, or times that do not increase.
    """
    _check_frames(frames)
    stamps_ms = _stamps_ms(len(frames), fps, times_s)
    height, width = frames[0].shape[:2]
    buffer = BytesIO()
    # bitexact: no random track and segment ids, no library version in the header
    with av.open(buffer, 'w', format='webm', options={'fflags': '+bitexact'}) as container:
        stream = container.add_stream('libvpx-vp9', rate=max(1, round(fps)), options=_ENCODER)
        stream.width, stream.height, stream.pix_fmt = width, height, 'yuv420p'
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.thread_count = threads
        stream.codec_context.gop_size = max(1, round(2 * fps))
        for frame in _video_frames(frames, stamps_ms):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _video_frames(frames: Sequence[Picture], stamps_ms: Sequence[int]) -> Iterator[av.VideoFrame]:
    for picture, (stamp_ms, end_ms) in zip(frames, pairwise(stamps_ms), strict=True):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format='rgb24')
        frame.pts, frame.time_base = stamp_ms, Fraction(1, 1000)
        frame.duration = end_ms - stamp_ms
        yield frame


def _stamps_ms(count: int, fps: float, times_s: Sequence[float] | None) -> list[int]:
    """When each picture begins, and after them when the last one ends."""
    if not fps > 0:
        raise PictureError(f'A video of {fps} pictures per second cannot be made: give fps > 0.')
    if times_s is None:
        times_s = [i / fps for i in range(count)]
    if len(times_s) != count:
        raise PictureError(f'{count} pictures with {len(times_s)} times: give one time each.')
    stamps_ms = [round((t - times_s[0]) * 1000) for t in times_s]
    if any(later <= earlier for earlier, later in pairwise(stamps_ms)):
        raise PictureError('Picture times of a video must increase by 1 ms or more: sort them.')
    return [*stamps_ms, stamps_ms[-1] + max(1, round(1000 / fps))]


def _check_frames(frames: Sequence[Picture]) -> None:
    if not frames:
        raise PictureError('A video needs one picture or more: none was given.')
    shape = frames[0].shape
    for index, frame in enumerate(frames):
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3 or not frame.size:
            raise PictureError(
                f'Picture {index} is {frame.dtype} {frame.shape}: give uint8 (H, W, 3) RGB.'
            )
        if frame.shape != shape:
            raise PictureError(
                f'Picture {index} is {frame.shape}, the first is {shape}: resize them to one size.'
            )
