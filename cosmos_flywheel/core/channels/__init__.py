# SPDX-License-Identifier: Apache-2.0
"""The sources of surprise, one a file; each turns moments into evidence by element."""

from cosmos_flywheel.core.channels.action import ActionChannel
from cosmos_flywheel.core.channels.base import Channel, Moment
from cosmos_flywheel.core.channels.clock import ClockChannel
from cosmos_flywheel.core.channels.outcome import OutcomeChannel
from cosmos_flywheel.core.channels.picture import PictureChannel
from cosmos_flywheel.core.channels.state import StateChannel
from cosmos_flywheel.core.channels.stream import StreamChannel
from cosmos_flywheel.core.channels.tracking import TrackingChannel

__all__ = [
    'ActionChannel',
    'Channel',
    'ClockChannel',
    'Moment',
    'OutcomeChannel',
    'PictureChannel',
    'StateChannel',
    'StreamChannel',
    'TrackingChannel',
]
