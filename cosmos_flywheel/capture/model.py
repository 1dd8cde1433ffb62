# SPDX-License-Identifier: Apache-2.0
"""A fitted model folder ↔ what judges a recording: an engine and what is normal for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from cosmos_flywheel import schemas
from cosmos_flywheel.core.calibration import SCHEMA, Calibration
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.lineage import config_hash
from cosmos_flywheel.core.scoring import SCORING_REVISION
from cosmos_flywheel.engines import WorldModel, make_engine
from cosmos_flywheel.store.files import storing, write_document

CALIBRATION = 'calibration.json'
DEFAULT_LEVEL = 'flow'
WIDTH_PX = 128
"""Width at which pictures are compared: a third less optical flow to compute than at 160, and on
the project's data sets nothing more or less is found."""
MIN_HEIGHT_PX, MAX_HEIGHT_PX = WIDTH_PX // 4, 4 * WIDTH_PX
BLOCK_PX = 8


@dataclass(frozen=True, slots=True)
class Judge:
    """Which engine looks, and, if anyone ever measured it, what is normal."""

    level: str = DEFAULT_LEVEL
    calibration: Calibration | None = None
    size: tuple[int, int] | None = None
    """(H, W) at which pictures are compared; None lets each recording's pictures decide."""

    def make_engine(self, picture_size: tuple[int, int] | None) -> WorldModel:
        """The engine for pictures of this (H, W); None for a recording without a camera.

        Raises:
            ConfigError: the engine of this version is not the one that was calibrated.

        """
        if self.calibration is None:
            return make_engine(self.level, self.size or working_size(picture_size))
        engine = make_engine(self.level, self.calibration.size)
        if engine.spec.sha256 != self.calibration.engine['sha256']:
            raise ConfigError(
                f'calibration {self.calibration.id} was made with another revision of engine '
                f'{self.level!r}; fit again with `flywheel fit`'
            )
        return engine

    def check_robot(self, robot: Robot) -> None:
        """Raise ConfigError if what is normal was measured on another robot, or otherwise."""
        known = self.calibration
        if known is None:
            return
        if known.robot != robot.name:
            raise ConfigError(
                f'calibration {known.id} is of robot {known.robot!r}, not of {robot.name!r}; '
                f'give --robot {known.robot}, or fit on nominal bags of {robot.name!r}'
            )
        if known.clock_hz != robot.clock.hz:
            raise ConfigError(
                f'calibration {known.id} was made at {known.clock_hz:g} Hz, robot file '
                f'{robot.name!r} says {robot.clock.hz:g} Hz; fit again with `flywheel fit`'
            )
        if known.settings_hash != settings_hash(robot):
            raise ConfigError(
                f'calibration {known.id} was made with other topics or names of {robot.name!r}, '
                f'or by another version; give the robot file of then, or fit again with '
                f'`flywheel fit`'
            )

    @property
    def calibration_id(self) -> str:
        """Empty without a calibration."""
        return '' if self.calibration is None else self.calibration.id


def settings_hash(robot: Robot) -> str:
    """64 hex digits of everything besides engine and size that scores depend on.

    Offsets of clocks are left out: they mend one recording and change nothing about the robot.
    """
    return config_hash(
        {
            'cameras': robot.cameras,
            'state': robot.state_sources,
            'action': robot.action_sources,
            'tracking_pairs': robot.tracking_pairs,
            'clock': [robot.clock.hz, robot.clock.max_age_s],
            'scoring_revision': SCORING_REVISION,
        }
    )


def working_size(picture_size: tuple[int, int] | None) -> tuple[int, int]:
    """(H, W) at which pictures are compared: 128 wide, the shape kept, whole 8-px blocks.

    What would be lower or higher than `MIN_HEIGHT_PX` … `MAX_HEIGHT_PX` then is squeezed.
    """
    height, width = picture_size or (3, 4)
    rows = max(1, round(height * WIDTH_PX / width / BLOCK_PX))
    rows = min(max(rows, MIN_HEIGHT_PX // BLOCK_PX), MAX_HEIGHT_PX // BLOCK_PX)
    return rows * BLOCK_PX, WIDTH_PX


def load_judge(folder: Path) -> Judge:
    """Read a folder that `flywheel fit` wrote.

    Raises:
        ConfigError, SchemaError: it is none, or its file does not hold; names the file.

    """
    path = folder / CALIBRATION
    if not path.is_file():
        raise ConfigError(
            f'{folder}: no model here (no {CALIBRATION}); make one with '
            f'`flywheel fit NOMINAL_BAGS --robot R -o {folder}`'
        )
    calibration = Calibration.from_mapping(schemas.load(path, SCHEMA))
    return Judge(calibration.engine['level'], calibration, calibration.size)


def require_free(folder: Path) -> None:
    """Raise ConfigError if there is a model already; worth asking before the work of a fit."""
    path = folder / CALIBRATION
    if path.exists():
        raise ConfigError(f'{path}: exists; give another folder, or --force to replace it')


def save_judge(calibration: Calibration, folder: Path) -> Path:
    """Write a model folder, over an older one if there is one.

    Raises:
        StoreError: the folder cannot be written.

    """
    path = folder / CALIBRATION
    with storing(path):
        folder.mkdir(parents=True, exist_ok=True)
        write_document(path, json.loads(json.dumps(calibration.to_mapping())), SCHEMA)
    return path
