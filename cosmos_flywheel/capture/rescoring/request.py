# SPDX-License-Identifier: Apache-2.0
"""What is asked for: which model looks again, at whose recordings, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import isfinite, nan
from typing import Any

from cosmos_flywheel.capture.incident import CaptureSettings
from cosmos_flywheel.capture.model import Judge
from cosmos_flywheel.core.channels import PictureChannel, StateChannel
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.lineage import config_hash
from cosmos_flywheel.core.scoring import SCORING_REVISION

ASKED = (PictureChannel.name, StateChannel.name)
"""Channels that ask the model. The others say the same whichever model looks on, and the screen
has heard them everywhere."""
WINDOW_S = 2.0
"""Length of a window: a fault of the labelled sets shows for so long or longer."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much the dear model may look at: one of the two."""

    windows: int | None = None
    seconds: float | None = None
    """Of time within the engine."""

    def to_mapping(self) -> Mapping[str, Any]:
        """As a file holds it."""
        return {'windows': self.windows, 'seconds': self.seconds}

    def in_words(self) -> str:
        """For people."""
        if self.windows is not None:
            return f'{self.windows} windows'
        return f'{self.seconds:g} s of engine time'


@dataclass(frozen=True, slots=True)
class Rescoring:
    """Everything that decides which windows are looked at, and what is seen there."""

    robot: Robot
    judge: Judge
    budget: Budget
    settings: CaptureSettings = field(default_factory=CaptureSettings)
    seed: int = 0
    """Of the lot."""

    def check(self) -> None:
        """Raise ConfigError if this model cannot look again at recordings of this robot."""
        calibration = self.judge.calibration
        if calibration is None:
            raise ConfigError('a model that looks again must be calibrated; fit it')
        self.judge.check_robot(self.robot)
        channels = [name for name in ASKED if name in calibration.channels]
        mute = [calibration.muted(name) for name in channels]
        if all(mute):
            raise ConfigError(
                f'calibration {calibration.id} ({self.judge.level}) cannot alarm by '
                f'{" or ".join(ASKED)}, so looking again finds nothing: '
                f'{"; ".join(mute) or "it has no such channel"}'
            )

    def window_s(self) -> float:
        """A window is never shorter than what passes between two predictions."""
        spec = self.judge.make_engine(None).spec
        return max(WINDOW_S, spec.stride / self.robot.clock.hz)

    def hash(self, screens: list[str]) -> str:
        """64 hex digits: under equal ones, equal windows are seen equally.

        Args:
            screens: configuration hashes of what screened.

        """
        return config_hash(
            {
                'rescored': sorted(set(screens)),
                'robot': self.robot.config_hash(),
                'engine': self.judge.engine_sha256,
                'size': self.judge.size,
                'calibration': self.judge.calibration_id,
                'capture': asdict(self.settings),
                'window_s': self.window_s(),
                'scoring_revision': SCORING_REVISION,
            }
        )


def share_of(score: float, threshold: float) -> float:
    """A score in multiples of its threshold; NaN where either is unknown."""
    if not isfinite(score) or not threshold > 0:
        return nan
    return score / threshold
