# SPDX-License-Identifier: Apache-2.0
"""Turns a message's header stamp into integer nanoseconds."""

from __future__ import annotations

from typing import Any


def header_stamp_ns(message: Any) -> int | None:
    """`header.stamp`, or a bare `stamp`, of a deserialised message; of /tf, its first transform's.

    Works for rosbags and rclpy messages. None where there is no stamp or it is zero, which is
    what a publisher that never set it leaves.
    """
    transforms = getattr(message, 'transforms', None)
    if transforms:
        message = transforms[0]
    stamp = getattr(getattr(message, 'header', message), 'stamp', None)
    seconds, nanoseconds = getattr(stamp, 'sec', None), getattr(stamp, 'nanosec', None)
    if seconds is None or nanoseconds is None:
        return None
    return int(seconds) * 10**9 + int(nanoseconds) or None
