# SPDX-License-Identifier: Apache-2.0
"""A URDF's text into a chain of joints, and joint positions into the pose of its tip."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.rotation import matrix_about_axis, matrix_from_euler, pose_from_parts

Pose = NDArray[np.float64]

TURNING = ('revolute', 'continuous')
KINDS = (*TURNING, 'prismatic', 'fixed')


@dataclass(frozen=True, slots=True, eq=False)
class Joint:
    """One joint between two links."""

    name: str
    kind: str
    parent: str
    child: str
    origin: Pose
    """(4, 4), of the joint in its parent link."""
    axis: NDArray[np.float64]
    """(3,), in the joint's own frame."""
    follows: str
    """The joint whose position drives this one: itself, or the one that it mimics."""
    multiplier: float = 1.0
    offset: float = 0.0

    def pose(self, position: float) -> Pose:
        """Pose (4, 4) of the child link in the parent link; radians or metres."""
        value = self.multiplier * position + self.offset
        if self.kind in TURNING:
            return self.origin @ pose_from_parts(np.zeros(3), matrix_about_axis(self.axis, value))
        return self.origin @ pose_from_parts(self.axis * value, np.eye(3))


@dataclass(frozen=True, slots=True, eq=False)
class Chain:
    """The joints from a base link to a tip link, base first."""

    joints: tuple[Joint, ...]

    @classmethod
    def from_urdf(cls, text: str, base: str, tip: str) -> Chain:
        """Find the way from `base` out to `tip`.

        Raises:
            ConfigError: the text is no URDF, declares a document type, or has no such chain.
        """
        root = _parse(text)
        by_child = {joint.child: joint for joint in map(_joint, root.iterfind('joint'))}
        return cls(_climb(by_child, base, tip))

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Joints whose positions `forward` asks for, base first."""
        moving = (joint.follows for joint in self.joints if joint.kind != 'fixed')
        return tuple(dict.fromkeys(moving))

    def forward(self, positions: Mapping[str, float]) -> Pose:
        """Pose (4, 4) of the tip in the base; a joint without a position makes it NaN."""
        pose = np.eye(4)
        for joint in self.joints:
            if joint.kind == 'fixed':
                pose = pose @ joint.origin
            else:
                pose = pose @ joint.pose(positions.get(joint.follows, np.nan))
        return pose


@lru_cache(maxsize=16)
def cached_chain(text: str, base: str, tip: str) -> Chain:
    """`Chain.from_urdf`, parsed once for each text."""
    return Chain.from_urdf(text, base, tip)


def _parse(text: str) -> ET.Element:
    # A document type can declare entities that expand without end or name files to read.
    if '<!DOCTYPE' in text or '<!ENTITY' in text:
        raise ConfigError('URDF declares a document type or entity: remove it, URDF needs none')
    try:
        root = ET.fromstring(text)
    except ET.ParseError as error:
        raise ConfigError(f'URDF is not well-formed XML ({error}): expand xacro first') from error
    if root.tag != 'robot':
        raise ConfigError(f'URDF begins with <{root.tag}> instead of <robot>: give a URDF')
    return root


def _joint(element: ET.Element) -> Joint:
    name, kind = element.get('name', ''), element.get('type', '')
    mimic = element.find('mimic')
    origin = element.find('origin')
    return Joint(
        name=name,
        kind=kind,
        parent=_link(element, 'parent', name),
        child=_link(element, 'child', name),
        origin=pose_from_parts(
            _triple(origin, 'xyz', name), matrix_from_euler(_triple(origin, 'rpy', name))
        ),
        axis=_axis(element, name),
        follows=name if mimic is None else mimic.get('joint', ''),
        multiplier=1.0 if mimic is None else _number(mimic.get('multiplier', '1'), name),
        offset=0.0 if mimic is None else _number(mimic.get('offset', '0'), name),
    )


def _axis(element: ET.Element, joint: str) -> NDArray[np.float64]:
    found = element.find('axis')
    if found is None:
        return np.array([1.0, 0.0, 0.0])
    axis = _triple(found, 'xyz', joint)
    length = float(np.linalg.norm(axis))
    if length == 0:
        raise ConfigError(f'URDF joint {joint!r}: its axis has no length; give one like "0 0 1"')
    return axis / length


def _link(element: ET.Element, tag: str, joint: str) -> str:
    found = element.find(tag)
    if found is None or not found.get('link'):
        raise ConfigError(f'URDF joint {joint!r} names no {tag} link: add <{tag} link="…"/>')
    return found.get('link', '')


def _triple(element: ET.Element | None, attribute: str, joint: str) -> NDArray[np.float64]:
    text = '0 0 0' if element is None else element.get(attribute, '0 0 0')
    values = [_number(part, joint) for part in text.split()]
    if len(values) != 3:
        raise ConfigError(f'URDF joint {joint!r}: {attribute}="{text}" is not three numbers')
    return np.array(values)


def _number(text: str, joint: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigError(f'URDF joint {joint!r}: {text!r} is not a number') from error


def _climb(by_child: Mapping[str, Joint], base: str, tip: str) -> tuple[Joint, ...]:
    """Joints from base to tip; a tree has one way, a loop is refused."""
    chain: list[Joint] = []
    link = tip
    while link != base:
        joint = by_child.get(link)
        if joint is None or joint in chain:
            raise ConfigError(
                f'URDF has no chain from link {base!r} to link {tip!r} (stopped at {link!r}); '
                f'links that a joint moves: {", ".join(sorted(by_child)) or "none"}'
            )
        if joint.kind not in KINDS:
            raise ConfigError(
                f'URDF joint {joint.name!r} is {joint.kind!r}; a chain may hold {", ".join(KINDS)}'
            )
        chain.append(joint)
        link = joint.parent
    return tuple(reversed(chain))
