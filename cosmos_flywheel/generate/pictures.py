# SPDX-License-Identifier: Apache-2.0
"""What a candidate begins from and keeps to: keyframes before a failure, films of its clip."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cosmos_flywheel.bags.picture import decode_picture
from cosmos_flywheel.bags.recording import Recording
from cosmos_flywheel.bags.source import BagSource, open_bag
from cosmos_flywheel.bags.stamp import header_stamp_ns
from cosmos_flywheel.core.errors import BagError, PictureError
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.video.encode import encode_webm

KEYFRAMES = 4
"""Pictures before the onset that are kept; the last one is the instant to begin from."""
EDGE_LOW, EDGE_HIGH = 50, 150
"""Grey levels of Canny's hysteresis, 1 to 3 as Canny (1986) recommends."""
BLUR_SIGMA = 1 / 64
"""Of the Gaussian, as a share of the picture's width."""
DEPTH_ENCODINGS = ('16uc1', '32fc1')


def keyframes(clip: Recording, onset: int) -> tuple[list[bytes], tuple[int, ...]]:
    """The last pictures before a tick as PNG, the oldest first, and their stamps.

    Where the clip begins with the failure, its first picture is all there is.
    """
    end = max(1, onset)
    begin = max(0, end - KEYFRAMES)
    stamps = tuple(int(stamp) for stamp in clip.stamps_ns[begin:end])
    return [png(picture) for picture in clip.pictures[begin:end]], stamps


def controls(path: Path, clip: Recording, fps: float) -> dict[str, bytes]:
    """Films of the whole clip by kind: edge, blur, and depth where the clip has a depth topic.

    Each has one picture a tick, at the tick's time.
    """
    times_s = list(clip.times_s)
    films = {
        'edge': encode_webm([edges(p) for p in clip.pictures], fps, times_s=times_s),
        'blur': encode_webm([blurred(p) for p in clip.pictures], fps, times_s=times_s),
    }
    depth = _depth_film(path, clip, fps)
    return films | ({'depth': depth} if depth else {})


def edges(picture: Picture) -> Picture:
    """White lines on black where brightness changes (Canny)."""
    lines = cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), EDGE_LOW, EDGE_HIGH)
    return np.repeat(np.asarray(lines, np.uint8)[:, :, None], 3, axis=2)


def blurred(picture: Picture) -> Picture:
    """Colours and shapes without detail."""
    sigma = BLUR_SIGMA * picture.shape[1]
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8)


def png(picture: Picture) -> bytes:
    """Without loss."""
    _, data = cv2.imencode('.png', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return data.tobytes()


def _depth_film(path: Path, clip: Recording, fps: float) -> bytes | None:
    """For each tick the nearest picture of the first depth topic; None where there is none."""
    begin_ns, end_ns = int(clip.stamps_ns[0]) - NS // 2, int(clip.stamps_ns[-1])
    with open_bag(path) as source:
        for name, topic in sorted(source.topics.items()):
            if not topic.msgtype.endswith('/Image') or not topic.readable:
                continue
            taken = list(_depth(source, name, begin_ns, end_ns))
            if len(taken) > 1:
                stamps_ns = np.array([stamp_ns for stamp_ns, _ in taken])
                nearest = [int(np.abs(stamps_ns - tick_ns).argmin()) for tick_ns in clip.stamps_ns]
                times_s = list(clip.times_s)
                return encode_webm([taken[i][1] for i in nearest], fps, times_s=times_s)
    return None


def _depth(
    source: BagSource, topic: str, start_ns: int, end_ns: int
) -> Iterator[tuple[int, Picture]]:
    size: tuple[int, ...] = ()
    newest_ns = start_ns - 1
    for raw in source.messages({topic}):
        try:
            message: Any = source.deserialize(raw)
            if str(message.encoding).lower() not in DEPTH_ENCODINGS:
                return
            picture = decode_picture(message)
        except (BagError, PictureError):
            continue
        stamp_ns = header_stamp_ns(message) or raw.log_ns
        size = size or picture.shape
        if picture.shape == size and newest_ns < stamp_ns <= end_ns:
            newest_ns = stamp_ns
            yield stamp_ns, picture
