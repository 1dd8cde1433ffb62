# SPDX-License-Identifier: Apache-2.0
"""Faces in a picture → places, and a picture without them.

`centerface` is a network (travel/centerface.py). `haar` is the Viola-Jones cascade that OpenCV 4
brings along; OpenCV 5 brings none. docs/travel.md has what was measured.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from cosmos_flywheel.bags.picture import decode_picture
from cosmos_flywheel.core.errors import PictureError, TravelError
from cosmos_flywheel.core.types import Picture
from cosmos_flywheel.travel.centerface import Box, CenterFace
from cosmos_flywheel.travel.policy import CENTERFACE, HAAR

Detector = Callable[[Picture], Sequence[Box]]
"""From RGB uint8 (H, W, 3)."""

MARGIN = 0.25
"""Of a box, on each side: detectors frame eyes and mouth, a face is more."""
BLOCKS = 4
"""What is left of a face has so many blocks across: too few to tell anyone by."""
JPEG_QUALITY = 95
SMALLEST_FACE_PX = 20
_CASCADES = ('haarcascade_frontalface_default.xml', 'haarcascade_frontalface_alt2.xml',
             'haarcascade_profileface.xml')  # fmt: skip
_DEPTH = ('16uc1', '32fc1')


def find_detector(name: str) -> Detector:
    """The detector of that name; TravelError if it cannot work here, and then nothing leaves."""
    if name == CENTERFACE:
        return CenterFace()
    if name == HAAR:
        return _haar()
    module, _, function = name.partition(':')
    try:
        found: Detector = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise TravelError(
            f'detector {name!r} cannot be imported ({error}); write module:function of one that '
            'takes an RGB picture and returns boxes (left, top, width, height)'
        ) from error
    return found


def find_faces(picture: Picture, detect: Detector) -> list[Box]:
    """Boxes in pixels; TravelError if the detector fails."""
    try:
        found = [tuple(map(int, box)) for box in detect(picture)]
        boxes = [(left, top, width, height) for left, top, width, height in found]
    except Exception as error:  # it is the user's own code
        raise TravelError(f'the detector of faces failed ({error}); mend or change it') from error
    return boxes


def hide(picture: Picture, boxes: Sequence[Box]) -> Picture:
    """A copy of an RGB picture with a few coarse blocks where the boxes and their margins are."""
    hidden: Picture = picture.copy()
    for left, top, width, height in boxes:
        across, down = round(width * MARGIN), round(height * MARGIN)
        part = hidden[
            max(0, top - down) : max(0, top + height + down),
            max(0, left - across) : max(0, left + width + across),
        ]
        if part.size:
            few = cv2.resize(part, (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA)
            size = (part.shape[1], part.shape[0])
            part[:] = cv2.resize(few, size, interpolation=cv2.INTER_NEAREST)
    return hidden


def is_depth(message: Any) -> bool:
    """Whether a picture message holds distances, in which nobody looks for faces."""
    kind = str(getattr(message, 'encoding', '') or getattr(message, 'format', '')).lower()
    return kind in _DEPTH or 'compresseddepth' in kind


def picture_of(message: Any) -> Picture:
    """RGB (H, W, 3); PictureError where it cannot be searched for faces."""
    if is_depth(message):
        raise PictureError('a depth picture cannot be searched for faces')
    return decode_picture(message)


def with_picture(message: Any, picture: Picture) -> Any:
    """The message with another picture of the same size: rgb8, or JPEG or PNG as it was."""
    if hasattr(message, 'encoding'):
        height, width = picture.shape[:2]
        data = np.ascontiguousarray(picture).reshape(-1)
        return replace(
            message, height=height, width=width, encoding='rgb8', is_bigendian=0, step=3 * width,
            data=data,
        )  # fmt: skip
    is_png = bytes(message.data[:4]) == b'\x89PNG'
    settings = [] if is_png else [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    swapped = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    is_made, data = cv2.imencode('.png' if is_png else '.jpg', swapped, settings)
    if not is_made:
        raise PictureError('cannot be encoded again')
    return replace(message, format='png' if is_png else 'jpeg', data=data.reshape(-1))


def _haar() -> Detector:
    folder = Path(cv2.__file__).parent / 'data'
    missing = [name for name in _CASCADES if not (folder / name).is_file()]
    if missing or not hasattr(cv2, 'CascadeClassifier'):
        raise TravelError(
            f'redaction: OpenCV {cv2.__version__} brings no Haar cascades, so no faces can be '
            'found and nothing leaves; take detector centerface, pip install '
            "'opencv-python-headless<5', or name one of your own as module:function"
        )
    cascades = [cv2.CascadeClassifier(str(folder / name)) for name in _CASCADES]
    size = (SMALLEST_FACE_PX, SMALLEST_FACE_PX)

    def detect(picture: Picture) -> list[Box]:
        grey = cv2.equalizeHist(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))
        found = [box for c in cascades for box in _boxes(c, grey, size)]
        mirrored = cv2.flip(grey, 1)  # the cascade of profiles knows one side only
        width = grey.shape[1]
        other = _boxes(cascades[-1], mirrored, size)
        return found + [(width - left - w, top, w, h) for left, top, w, h in other]

    return detect


def _boxes(cascade: Any, grey: Any, size: tuple[int, int]) -> list[Box]:
    """Few neighbours asked for: a blurred wall does less harm than a face that is not."""
    found = cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=2, minSize=size)
    return [(int(x), int(y), int(w), int(h)) for x, y, w, h in found]
