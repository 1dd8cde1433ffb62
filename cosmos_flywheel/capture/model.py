# SPDX-License-Identifier: Apache-2.0
"""A fitted model folder ↔ what judges a recording: an engine and what is normal for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from cosmos_flywheel import schemas
from cosmos_flywheel.capture.generative import (
    GenerativeModel,
    files_of,
    load_model,
    session_of,
)
from cosmos_flywheel.core import acceptance
from cosmos_flywheel.core.acceptance import Acceptance, Card
from cosmos_flywheel.core.calibration import SCHEMA, Calibration
from cosmos_flywheel.core.channels import ActionChannel
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.grounding import Grounding
from cosmos_flywheel.core.lineage import config_hash, sha256_hex
from cosmos_flywheel.core.preflight import SCHEMA as PREFLIGHT_SCHEMA
from cosmos_flywheel.core.preflight import Report
from cosmos_flywheel.core.prior import Prior
from cosmos_flywheel.core.scoring import SCORING_REVISION
from cosmos_flywheel.engines import CosmosModel, Local, LocalModel, WorldModel, make_engine
from cosmos_flywheel.store.files import storing, write_bytes, write_document

CALIBRATION = 'calibration.json'
PRIOR = 'prior.safetensors'
ACCEPTANCE = 'accept.json'
PREFLIGHT = 'preflight.json'
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
    """(H, W) of the pictures that the engine takes; None lets each recording's decide."""
    local: LocalModel | None = None
    """What engine local was fitted to."""
    prior: Prior | None = None
    """What the robot is usually told; None leaves the action channel out."""
    cosmos: GenerativeModel | None = None
    """Which checkpoint or server engine cosmos is, and how it is asked."""
    accepted: Acceptance | None = None
    """What `flywheel engine accept` found of it."""
    preflight: Report | None = None
    """Whether the action contract was true of what it was fitted on; None if nobody asked."""

    def make_engine(self, picture_size: tuple[int, int] | None) -> WorldModel:
        """The engine for pictures of this (H, W); None for a recording without a camera.

        Raises:
            ConfigError: the engine of this version is not the one that was calibrated, or the
                camera is not the one that it was fitted to.

        """
        if self.local is not None:
            self._check_camera(self.local.camera_size, picture_size)
            engine: WorldModel = Local(self.local)
        elif self.cosmos is not None:
            self._check_camera(self.cosmos.camera_size, picture_size)
            engine = session_of(self.cosmos)
        elif self.calibration is None:
            return make_engine(self.level, self.size or working_size(picture_size))
        else:
            engine = make_engine(self.level, self.calibration.size)
        if self.calibration and engine.spec.sha256 != self.calibration.engine['sha256']:
            raise ConfigError(
                f'calibration {self.calibration.id} was made with another revision of engine '
                f'{self.level!r}; fit again with `flywheel fit`'
            )
        return engine

    def with_cosmos(self, **changed: Any) -> Judge:
        """The same with other settings of engine cosmos here, such as `duty`."""
        if not isinstance(self.cosmos, CosmosModel):
            return self
        return replace(self, cosmos=self.cosmos.with_settings(**changed))

    def prepare(self) -> None:
        """Load what predictions need, where that takes long; EngineError if it cannot be."""
        if self.cosmos is not None:
            session_of(self.cosmos).prepare()

    @staticmethod
    def _check_camera(fitted: tuple[int, int], picture_size: tuple[int, int] | None) -> None:
        if picture_size is None or picture_size == fitted:
            return
        then, now = (f'{w}x{h}' for h, w in (fitted, picture_size))
        raise ConfigError(
            f'the model was fitted to a camera of {then} px, this recording has {now} px; '
            f'fit again with `flywheel fit` on nominal bags of this camera'
        )

    @property
    def engine_sha256(self) -> str:
        """Of what decides predictions."""
        if self.local is not None:
            return self.local.sha256
        if self.cosmos is not None:
            return self.cosmos.sha256
        return self.make_engine(None).spec.sha256

    def refused(self, cards: Sequence[Card]) -> str:
        """Why it may not alarm on a machine with these cards; empty if it may."""
        if not acceptance.asks_for_acceptance(self.level):
            return ''
        settings = getattr(self.cosmos, 'settings', None)
        return acceptance.refusal(
            self.level,
            self.engine_sha256,
            self.calibration_id,
            self.accepted,
            cards,
            getattr(settings, 'back_end', ''),
        )

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
    def disarmed(self) -> str:
        """Why it must not alarm, and the remedy; empty if its contract was not found wrong."""
        wrong = () if self.preflight is None else self.preflight.wrong
        if not wrong:
            return ''
        more = f' (and {len(wrong) - 1} more)' if len(wrong) > 1 else ''
        return (
            f'preflight of the model failed: {wrong[0].check}: {wrong[0].why}{more}; '
            f'{wrong[0].fix or "correct the robot file"}, see `flywheel preflight`, and fit again'
        )

    @property
    def calibration_id(self) -> str:
        """Empty without a calibration."""
        return '' if self.calibration is None else self.calibration.id


def grounding_of(judge: Judge, engine: WorldModel) -> Grounding:
    """How far the engine's predictions rest on actions, as far as anyone measured it."""
    known = judge.calibration
    if known is not None and known.grounding is not None:
        return known.grounding
    return Grounding(engine.spec.follows_actions)


def settings_hash(robot: Robot) -> str:
    """64 hex digits of everything besides engine and size that scores depend on.

    Offsets of clocks are left out: they mend one recording and change nothing about the robot.
    """
    return config_hash(
        {
            'cameras': robot.cameras,
            'state': robot.state_sources,
            'action': robot.action_sources,
            'outcome': robot.outcomes,
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
    level = calibration.engine['level']
    return Judge(
        level,
        calibration,
        calibration.size,
        LocalModel.load(folder) if level == Local.level else None,
        _load_prior(folder, calibration),
        load_model(folder, level),
        _load_acceptance(folder),
        _load_preflight(folder),
    )


def prior_bytes(prior: Prior) -> bytes:
    """As the model folder holds it."""
    return save_arrays({n: np.ascontiguousarray(a) for n, a in prior.to_arrays().items()})


def _load_prior(folder: Path, calibration: Calibration) -> Prior | None:
    if ActionChannel.name not in calibration.channels:
        return None
    path = folder / PRIOR
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f'{path}: cannot be read ({error.strerror}); copy the whole model folder, or fit '
            f'again with `flywheel fit`'
        ) from error
    if sha256_hex(data) != calibration.nominal.get('prior_sha256'):
        raise ConfigError(
            f'{path}: is not the file that was written with {CALIBRATION} (cut short or replaced, '
            f'{len(data)} bytes); copy the model folder again, or fit again with `flywheel fit`'
        )
    return Prior.from_arrays(load_arrays(data))


def _load_acceptance(folder: Path) -> Acceptance | None:
    path = folder / ACCEPTANCE
    if not path.is_file():
        return None
    return Acceptance.from_mapping(schemas.load(path, acceptance.SCHEMA))


def _load_preflight(folder: Path) -> Report | None:
    path = folder / PREFLIGHT
    return Report.from_mapping(schemas.load(path, PREFLIGHT_SCHEMA)) if path.exists() else None


def require_free(folder: Path) -> None:
    """Raise ConfigError if there is a model already; worth asking before the work of a fit."""
    path = folder / CALIBRATION
    if path.exists():
        raise ConfigError(f'{path}: exists; give another folder, or --force to replace it')


def save_judge(
    calibration: Calibration,
    folder: Path,
    local: LocalModel | None = None,
    prior: Prior | None = None,
    cosmos: GenerativeModel | None = None,
    preflight: Report | None = None,
) -> Path:
    """Write a model folder, over an older one if there is one; the calibration comes last.

    Raises:
        StoreError: the folder cannot be written.

    """
    path = folder / CALIBRATION
    with storing(path):
        folder.mkdir(parents=True, exist_ok=True)
        files = local.files() if local else {}
        if cosmos is not None:
            files |= files_of(cosmos, folder)
        if prior is not None:
            files[PRIOR] = prior_bytes(prior)
        for name, data in files.items():
            write_bytes(folder / name, data)
        (folder / PREFLIGHT).unlink(missing_ok=True)
        if preflight is not None:
            write_document(folder / PREFLIGHT, preflight.to_mapping(), PREFLIGHT_SCHEMA)
        write_document(path, json.loads(json.dumps(calibration.to_mapping())), SCHEMA)
    return path
