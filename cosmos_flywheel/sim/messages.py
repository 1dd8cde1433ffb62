# SPDX-License-Identifier: Apache-2.0
"""Numbers and pictures to the fields of ROS messages, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import simplejpeg
from numpy.typing import ArrayLike

from cosmos_flywheel.core.types import Picture

JOINT_STATE = 'sensor_msgs/msg/JointState'
COMPRESSED_IMAGE = 'sensor_msgs/msg/CompressedImage'
TEXT = 'std_msgs/msg/String'

JPEG_QUALITY = 90

Fields = Mapping[str, Any]


def header(stamp_ns: int, frame: str = '') -> Fields:
    """A std_msgs Header."""
    seconds, nanoseconds = divmod(stamp_ns, 10**9)
    return {'stamp': {'sec': seconds, 'nanosec': nanoseconds}, 'frame_id': frame}


def joint_state(
    stamp_ns: int,
    names: Sequence[str],
    position: ArrayLike,
    velocity: ArrayLike = (),
    effort: ArrayLike = (),
) -> Fields:
    """A sensor_msgs JointState: rad or m, rad/s or m/s, N·m or N; each (n,) or empty."""
    return {
        'header': header(stamp_ns),
        'name': list(names),
        'position': np.asarray(position, np.float64),
        'velocity': np.asarray(velocity, np.float64),
        'effort': np.asarray(effort, np.float64),
    }


def compressed_image(stamp_ns: int, picture: Picture, frame: str = 'camera') -> Fields:
    """A sensor_msgs CompressedImage: the picture (H, W, 3) RGB as JPEG."""
    data = simplejpeg.encode_jpeg(
        np.ascontiguousarray(picture), JPEG_QUALITY, colorspace='RGB', colorsubsampling='420'
    )
    return {
        'header': header(stamp_ns, frame),
        'format': 'jpeg',
        'data': np.frombuffer(data, np.uint8),
    }


def text(content: str) -> Fields:
    """A std_msgs String."""
    return {'data': content}
