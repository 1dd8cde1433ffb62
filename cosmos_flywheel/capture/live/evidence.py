# SPDX-License-Identifier: Apache-2.0
"""A capture's own messages → its strip: what came, what had been predicted, where they part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from cosmos_flywheel.bags.picture import decode_picture
from cosmos_flywheel.bags.snapshot import Snapshot
from cosmos_flywheel.bags.stamp import header_stamp_ns
from cosmos_flywheel.bags.wire import WireTypes
from cosmos_flywheel.capture.report.result import StripColumn
from cosmos_flywheel.capture.strip import MEMORY_S, OFFSETS_S
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import BagError, PictureError
from cosmos_flywheel.core.timeline import NS
from cosmos_flywheel.core.types import Picture, Prediction
from cosmos_flywheel.engines import residual_of

PREDICTION_TYPE = 'cosmos_flywheel/msg/Prediction'
WIDEST_PX = 320
"""Pictures of a strip are no wider."""


def strip_of(
    source: Snapshot, robot: Robot, onset_ns: int, types: WireTypes
) -> tuple[StripColumn, ...]:
    """The pictures around an onset, as `capture/strip.py` chooses them; empty without a camera."""
    pictures = dict(_pictures(source, robot, types))
    predictions = dict(_predictions(source, types))
    columns = []
    for at_ns in _chosen(sorted(pictures), onset_ns):
        try:
            actual = _narrow(decode_picture(pictures[at_ns]))
        except PictureError:
            continue
        prediction = predictions.get(at_ns)
        frames = None if prediction is None else prediction.frames
        columns.append(
            StripColumn(
                (at_ns - onset_ns) / NS,
                actual,
                None if frames is None else frames[-1],
                None if prediction is None else residual_of(prediction, actual),
            )
        )
    return tuple(columns)


def _chosen(stamps_ns: list[int], onset_ns: int) -> Iterator[int]:
    """One picture before the onset, then the first at or after each offset."""
    before_ns = onset_ns + round(OFFSETS_S[0] * NS)
    before = [s for s in stamps_ns if before_ns - MEMORY_S * NS <= s <= before_ns]
    yield from before[-1:]
    last = None
    for offset_s in OFFSETS_S[1:]:
        due_ns = onset_ns + round(offset_s * NS)
        later = next((s for s in stamps_ns if s >= due_ns), None)
        if later is not None and later != last:
            last = later
            yield later


def _pictures(source: Snapshot, robot: Robot, types: WireTypes) -> Iterator[tuple[int, Any]]:
    """Messages of the primary camera by stamp."""
    cameras = [c for c in robot.cameras if c.topic in source.topics]
    if not cameras:
        return
    camera = next((c for c in cameras if c.primary), cameras[0])
    offset_ns = robot.clock.offset_ns(camera.topic)
    for raw in source.messages({camera.topic}):
        try:
            message = types.deserialize(raw.topic, raw.msgtype, raw.log_ns, raw.data)
        except BagError:
            continue
        stamp_ns = header_stamp_ns(message)
        yield (raw.log_ns if stamp_ns is None else stamp_ns) + offset_ns, message


def _predictions(source: Snapshot, types: WireTypes) -> Iterator[tuple[int, Prediction]]:
    """By the instant that they are about; of several, the one made last, from nearest by."""
    made: dict[int, int] = {}
    topics = {t.name for t in source.topics.values() if t.msgtype == PREDICTION_TYPE}
    for raw in source.messages(topics):
        try:
            message = types.deserialize(raw.topic, raw.msgtype, raw.log_ns, raw.data)
            prediction = _prediction(message)
        except (BagError, PictureError, ValueError):
            continue
        about_ns = int(prediction.stamps_ns[-1])
        if prediction.input_stamp_ns >= made.get(about_ns, 0):
            made[about_ns] = prediction.input_stamp_ns
            yield about_ns, prediction


def _prediction(message: Any) -> Prediction:
    """The last frame of a Prediction message, as bags give it."""
    unsure = None
    if len(message.unsure):
        unsure = np.asarray(message.unsure, np.float32).reshape(tuple(message.unsure_shape))
    frames = [decode_picture(frame) for frame in message.frames[-1:]]
    return Prediction(
        header_stamp_ns(message) or 0,
        str(message.level),
        np.asarray(message.stamp_ns, np.int64),
        np.stack(frames) if frames else None,
        unsure=unsure,
    )


def _narrow(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    if width <= WIDEST_PX:
        return picture
    size = WIDEST_PX, max(1, round(height * WIDEST_PX / width))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
