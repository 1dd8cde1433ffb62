# SPDX-License-Identifier: Apache-2.0
"""Turns the bytes of a film back into pictures with their times."""

from __future__ import annotations

from io import BytesIO

import av
from av.error import FFmpegError

from cosmos_flywheel.core.errors import PictureError
from cosmos_flywheel.core.types import Picture


def decode_video(data: bytes, *, max_frames: int = 100_000) -> tuple[list[float], list[Picture]]:
    """Decode the first video stream of a file that is held in memory.

    Args:
        data: A whole file, in any container that FFmpeg knows.
        max_frames: More pictures than this are refused; they are all held in memory.

    Returns:
        Times in seconds and pictures, uint8 (H, W, 3) RGB, both in the order of showing.

    Raises:
        PictureError: Not a video, no video stream, damaged, or too many pictures.
    """
    times_s: list[float] = []
    pictures: list[Picture] = []
    try:
        with av.open(BytesIO(data), 'r') as container:
            if not container.streams.video:
                raise PictureError('The file holds no video stream: give a video file.')
            container.streams.video[0].codec_context.thread_count = 1
            for frame in container.decode(video=0):
                if len(pictures) == max_frames:
                    raise PictureError(f'Over {max_frames} pictures: raise max_frames or cut it.')
                times_s.append(float(frame.time or 0.0))
                pictures.append(frame.to_ndarray(format='rgb24'))
    except FFmpegError as error:
        raise PictureError(f'The video cannot be decoded ({error}): encode it again.') from error
    return times_s, pictures
