# SPDX-License-Identifier: Apache-2.0
"""Sections of a robot file into the clauses of its contract: clock, cameras, action, Cosmos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cosmos_flywheel.core.domains import (
    DOMAIN_KEYS,
    DOMAINS,
    RESOLUTION_TIERS,
    VIEW_POINTS,
    Domain,
    own_domain,
)
from cosmos_flywheel.core.fields import POSE
from cosmos_flywheel.core.normaliser import QuantileNormaliser
from cosmos_flywheel.core.settings import Section, nearest

KINDS = ('absolute', 'delta')
ROTATIONS = ('none', 'euler_xyz', 'quaternion_xyzw', 'quaternion_wxyz', 'rot6d', 'axis_angle')
NORMALISERS = ('none', 'quantile')
DEFAULT_MAX_AGE_S = 0.5
DEFAULT_TIER = 480
"""The tier that robots and cars were trained at (cosmos-framework's data sets)."""


@dataclass(frozen=True, slots=True)
class Camera:
    """One stream of pictures."""

    name: str
    topic: str
    primary: bool
    """The camera that the model watches and whose pictures pace its clock."""
    view_point: str
    """One of `VIEW_POINTS`."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The model's clock and how streams are laid on it."""

    hz: float
    max_age_s: float
    """How old a held value may be before it counts as unknown."""
    topic_offsets: Mapping[str, float]
    """Seconds to add to a topic's header stamps, for clocks that disagree; 0 where absent."""

    @property
    def max_age_ns(self) -> int:
        """`max_age_s` in nanoseconds."""
        return round(self.max_age_s * 1e9)

    def offset_ns(self, topic: str) -> int:
        """Nanoseconds to add to the header stamps of a topic."""
        return round(self.topic_offsets.get(topic, 0.0) * 1e9)


@dataclass(frozen=True, slots=True)
class Gripper:
    """Which element of the action is the gripper, and its sense and range."""

    name: str
    closed: float
    """The command that closes it."""
    open: float
    """The command that opens it."""

    def openness(self, commands: ArrayLike) -> NDArray[np.float64]:
        """Turn commands into 0 closed … 1 open, as Cosmos has it; not clamped."""
        values = np.asarray(commands, np.float64)
        scaled: NDArray[np.float64] = (values - self.closed) / (self.open - self.closed)
        return scaled

    def command(self, openness: ArrayLike) -> NDArray[np.float64]:
        """Inverse of `openness`."""
        values = np.asarray(openness, np.float64)
        scaled: NDArray[np.float64] = values * (self.open - self.closed) + self.closed
        return scaled


@dataclass(frozen=True, slots=True)
class ActionContract:
    """How the numbers of the action are meant."""

    kind: str
    """`absolute`: where to be; `delta`: how far to move from here."""
    frame: str
    """Frame of the numbers: `joint`, `base`, a frame id, …"""
    rotation: str
    """Form of the rotation among them: one of `ROTATIONS`."""
    rate_hz: float | None
    """How often the robot is commanded; None where the file does not say."""
    gripper: Gripper | None
    normaliser: QuantileNormaliser | None
    """From the domain's physical vector to the model's; None leaves it as it is."""


@dataclass(frozen=True, slots=True)
class Cosmos:
    """How the robot is shown to Cosmos 3."""

    domain: str
    """'' where the model was trained on no such robot: local engines only."""
    view_layout: str
    fps: float | None
    chunk: int | None
    resolution_tier: int
    pose: tuple[str, ...]
    """State elements that are the flange pose: x, y, z, qx, qy, qz, qw."""
    own_domain: Domain | None = None
    """The domain, where the robot file defines it; None for one of `DOMAINS`."""

    @property
    def known_domain(self) -> Domain | None:
        """The domain, whoever defines it; None for a robot of local engines only."""
        return self.own_domain or DOMAINS.get(self.domain)


def clock_from(section: Section) -> Clock:
    """Read `clock`."""
    written = section.mapping('topic_offsets')
    offsets = section.section('topic_offsets', written)
    return Clock(
        hz=section.number('hz', above=0),
        max_age_s=section.number('max_age_s', DEFAULT_MAX_AGE_S, above=0),
        topic_offsets={topic: offsets.number(topic) for topic in written},
    )


def cameras_from(section: Section) -> tuple[Camera, ...]:
    """Read `cameras` of the whole file, the primary one first."""
    found = [
        Camera(
            name=name,
            topic=camera.text('topic'),
            primary=camera.truth('primary', False),
            view_point=camera.choice('view_point', VIEW_POINTS, 'third_person_view'),
        )
        for name, camera in section.named_sections('cameras', ('topic', 'primary', 'view_point'))
    ]
    primaries = [camera.name for camera in found if camera.primary]
    if found and len(primaries) != 1:
        named = ', '.join(primaries or [camera.name for camera in found])
        raise section.error(
            'cameras', f'need one with "primary: true", not {len(primaries)}: {named}'
        )
    return tuple(sorted(found, key=lambda camera: not camera.primary))


def cosmos_from(section: Section, state_names: tuple[str, ...]) -> Cosmos:
    """Read `cosmos`; what it leaves out comes from the domain's training."""
    domain = _domain(section)
    usual_fps, usual_chunk = (domain.fps, domain.chunk) if domain else (None, None)
    tier = section.whole('resolution_tier', DEFAULT_TIER)
    if tier not in RESOLUTION_TIERS:
        raise section.error('resolution_tier', f'is {tier}; write one of {RESOLUTION_TIERS}')
    return Cosmos(
        domain='' if domain is None else domain.name,
        view_layout=section.choice('view_layout', VIEW_POINTS, 'third_person_view'),
        fps=section.number('fps', above=0) if 'fps' in section else usual_fps,
        chunk=section.whole('chunk') if 'chunk' in section else usual_chunk,
        resolution_tier=tier,
        pose=_pose_elements(section, state_names),
        own_domain=None if domain is None or domain.name in DOMAINS else domain,
    )


def action_from(section: Section, names: tuple[str, ...], domain: Domain | None) -> ActionContract:
    """Read the contract of `action`; `names` are the elements of the action vector."""
    return ActionContract(
        kind=section.choice('kind', KINDS, 'absolute'),
        frame=section.text('frame', ''),
        rotation=section.choice('rotation', ROTATIONS, 'none'),
        rate_hz=section.number('rate_hz', above=0) if 'rate_hz' in section else None,
        gripper=_gripper(section, names) if 'gripper' in section else None,
        normaliser=_normaliser(section, len(names) if domain is None else domain.width, domain),
    )


def _domain(section: Section) -> Domain | None:
    if isinstance(section.raw('domain'), Mapping):
        return own_domain(section.section('domain', DOMAIN_KEYS))
    return DOMAINS.get(section.choice('domain', ('none', *DOMAINS), 'none'))


def _pose_elements(section: Section, state_names: tuple[str, ...]) -> tuple[str, ...]:
    if 'pose' not in section:
        return POSE if set(POSE) <= set(state_names) else ()
    elements = section.words('pose')
    if len(elements) != len(POSE):
        raise section.error('pose', f'names {len(elements)} elements; name {", ".join(POSE)}')
    for element in elements:
        if element not in state_names:
            raise section.error('pose', f'names {element!r}; {nearest(element, state_names)}')
    return elements


def _gripper(section: Section, names: tuple[str, ...]) -> Gripper:
    gripper = section.section('gripper', ('name', 'closed', 'open'))
    name = gripper.choice('name', names)
    closed, opened = gripper.number('closed'), gripper.number('open')
    if closed == opened:
        raise gripper.error('open', f'is {opened:g}, as closed is; give the two ends of its range')
    return Gripper(name, closed, opened)


def _normaliser(section: Section, width: int, domain: Domain | None) -> QuantileNormaliser | None:
    if isinstance(section.raw('normaliser', 'none'), Mapping):
        return _own_normaliser(section.section('normaliser', ('q01', 'q99', 'clamp')), width)
    if section.choice('normaliser', NORMALISERS, 'none') == 'none':
        return None
    if domain is None or domain.normaliser is None:
        raise section.error(
            'normaliser', 'is quantile, but the domain has none here; write {q01: […], q99: […]}'
        )
    return domain.normaliser


def _own_normaliser(section: Section, width: int) -> QuantileNormaliser:
    low, high = section.numbers('q01'), section.numbers('q99')
    if len(low) != len(high):
        raise section.error('q99', f'holds {len(high)} numbers and q01 {len(low)}; give as many')
    if len(low) != width:
        raise section.error(
            'q01', f'holds {len(low)} numbers for actions of {width}; compute both with '
            '`flywheel fit --stats`'
        )  # fmt: skip
    return QuantileNormaliser(low, high, section.truth('clamp', True))
