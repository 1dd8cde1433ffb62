# SPDX-License-Identifier: Apache-2.0
"""Turns the bytes of a film back into pictures with their times."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from math import inf
from pathlib import Path

import av
from av.error import FFmpegError

from cosmos_flywheel.core.errors import PictureError
from cosmos_flywheel.core.types import Picture

MAX_PIXELS = 64 << 20
"""Of one picture."""


@dataclass(frozen=True, slots=True)
class FilmHead:
    """What a film says of itself."""

    size: tuple[int, int]
    """(H, W) in pixels."""
    fps: float
    """Pictures a second on average; 0 where it does not say."""
    seconds: float
    """How long; 0 where it does not say."""


def film_head(path: Path) -> FilmHead:
    """The head of a film; raises PictureError when it is missing, damaged or no film."""
    try:
        with av.open(str(path), 'r') as container:
            stream = _stream_of(path, container)
            rate = stream.average_rate or stream.guessed_rate or Fraction(0)
            size = (stream.codec_context.height, stream.codec_context.width)
            return FilmHead(size, float(rate), max(0.0, (container.duration or 0) / av.time_base))
    except FFmpegError as error:
        raise _damaged(path, error) from error


def film_pictures(
    path: Path, start_s: float = 0.0, end_s: float = inf
) -> Generator[tuple[float, Picture], None, None]:
    """Times and pictures of a stretch of a film, one after the other; memory stays flat.

    Args:
        path: the film, in any container that FFmpeg knows.
        start_s: pictures before it are skipped; seconds from the film's first picture.
        end_s: no picture of this time or later is given.

    Yields:
        Seconds from the film's first picture, and uint8 (H, W, 3) RGB.

    Raises:
        PictureError: The film is missing, damaged, or has too large pictures.

    """
    try:
        with av.open(str(path), 'r') as container:
            stream = _stream_of(path, container)
            stream.codec_context.thread_count = 1
            begin = (stream.start_time or 0) * (stream.time_base or Fraction(0))
            if start_s > 0 and stream.time_base:
                # To the key picture before; what is decoded from there on is skipped.
                container.seek(round((begin + start_s) / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if frame.width * frame.height > MAX_PIXELS:
                    raise PictureError(f'{path}: {frame.width}x{frame.height} is too large')
                time_s = float(frame.time or 0.0) - float(begin)
                if time_s >= end_s:
                    return
                if time_s >= start_s:
                    yield time_s, frame.to_ndarray(format='rgb24')
    except FFmpegError as error:
        raise _damaged(path, error) from error


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
    for time_s, picture in each_picture(data):
        if len(pictures) == max_frames:
            raise PictureError(f'Over {max_frames} pictures: raise max_frames or cut it.')
        times_s.append(time_s)
        pictures.append(picture)
    return times_s, pictures


def each_picture(data: bytes) -> Generator[tuple[float, Picture], None, None]:
    """Decode a file that is held in memory, one picture after the other.

    Args:
        data: A whole film, as for `decode_video`; a PNG or JPEG is one of a single picture.

    Yields:
        Time in seconds, and uint8 (H, W, 3) RGB, in the order of showing.

    Raises:
        PictureError: Not a video, no video stream, damaged, or a picture is too large.
    """
    try:
        with av.open(BytesIO(data), 'r') as container:
            if not container.streams.video:
                raise PictureError('The file holds no video stream: give a video file.')
            container.streams.video[0].codec_context.thread_count = 1
            for frame in container.decode(video=0):
                if frame.width * frame.height > MAX_PIXELS:
                    raise PictureError(f'A picture of {frame.width}x{frame.height} is too large.')
                yield float(frame.time or 0.0), frame.to_ndarray(format='rgb24')
    except FFmpegError as error:
        raise PictureError(f'The video cannot be decoded ({error}): encode it again.') from error


def _stream_of(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    if not container.streams.video:
        raise PictureError(f'{path}: holds no video stream; give a film')
    return container.streams.video[0]


def _damaged(path: Path, error: FFmpegError) -> PictureError:
    return PictureError(f'{path}: cannot be decoded ({error.strerror}); fetch or encode it again')
