# SPDX-License-Identifier: Apache-2.0
"""The values that stages hand to one another; numpy and the standard library only.

Instants are integer nanoseconds of the message header's clock. Ranges are half-open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""One picture: uint8 (H, W, 3), RGB."""

Vector = NDArray[np.float32]
"""Numbers of one instant: float32 (N,), NaN where nothing is known."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What the robot sensed at one instant."""

    stamp_ns: int
    pictures: Mapping[str, Picture]
    """By camera name; a camera without a fresh picture is absent."""
    state: Vector
    """(S,), in the order of the robot file."""
    command: Vector | None = None
    """(A,), the newest command at that instant; None where none is known."""


@dataclass(frozen=True, slots=True)
class ActionChunk:
    """T consecutive commands; T actions join T + 1 pictures."""

    stamps_ns: NDArray[np.int64]
    """(T,), when each command is in force."""
    values: NDArray[np.float32]
    """(T, A), in the order of the robot file; NaN where nothing is known."""
    is_plan: bool = False
    """Whether the commands alone are to be read, though the robot may have carried them out; if
    not, an engine may look at what was measured since."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a world model expects at T later instants; any of the three forms may be absent."""

    input_stamp_ns: int
    level: str
    stamps_ns: NDArray[np.int64]
    """(T,), the instants that are predicted."""
    frames: NDArray[np.uint8] | None = None
    """(T, H, W, 3) RGB of the primary camera, at the engine's size."""
    latents: NDArray[np.float32] | None = None
    """(48, T', h, w), for engines that never leave latent space."""
    state: NDArray[np.float32] | None = None
    """(T, S)."""
    unsure: NDArray[np.float32] | None = None
    """(T, H, W) grey levels by which the frames may be off, from engines that know."""


@dataclass(frozen=True, slots=True)
class ChannelScore:
    """One channel's word on one instant."""

    name: str
    score: float
    """Surprise in multiples of what was normal; NaN while the channel has nothing to say."""
    threshold: float
    """An alarm asks for a score above this; NaN while warming up."""
    alarm: bool
    guaranteed: bool
    """Whether a false-alarm rate is proved for this threshold."""
    detail: str = ''
    """What was most surprising, in a few words: a joint, a region, a sub-check."""


@dataclass(frozen=True, slots=True)
class AnomalyScore:
    """All channels at one instant."""

    stamp_ns: int
    channels: tuple[ChannelScore, ...]
    calibration_id: str
    level: str
    action_grounding: float = float('nan')
    """0 … 1; NaN where it is unknown."""

    @property
    def alarms(self) -> tuple[str, ...]:
        """Names of the channels in alarm."""
        return tuple(c.name for c in self.channels if c.alarm)
