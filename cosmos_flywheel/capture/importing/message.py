# SPDX-License-Identifier: Apache-2.0
"""Numbers and pictures of an episode into messages with invented but repeatable instants."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosmos_flywheel.sim.messages import Fields, header

EPOCH_S = 1_700_000_000
"""Invented: data sets tell times from an episode's start only. Episode 0 begins here …"""
APART_S = 3600
"""… and every episode so much after the one before."""
EPISODES_APART = 100_000
"""Beyond so many episodes the same instants come again: stamps must fit 32 bits."""

PICTURE_LATE_NS, ACTION_LATE_NS = 1_000_000, 2_000_000
"""A row's state is recorded at its stamp, its picture so much later, and then the action, which a
policy gives when it has seen both."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message to write; see `bags/record.py`."""

    topic: str
    msgtype: str
    log_ns: int
    content: Fields


def start_ns(index: int) -> int:
    """When an episode begins."""
    return (EPOCH_S + APART_S * (index % EPISODES_APART)) * 10**9


def stored_image(stamp_ns: int, form: str, data: bytes) -> Fields:
    """A CompressedImage of bytes that are JPEG or PNG already."""
    return {
        'header': header(stamp_ns, 'camera'),
        'format': form,
        'data': np.frombuffer(data, np.uint8),
    }
