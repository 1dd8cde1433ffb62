# SPDX-License-Identifier: Apache-2.0
"""A robot's measured states and commands ↔ rows of its Cosmos domain, as the model has them.

Domains that describe steps of the flange were trained on differences of measured poses, not of
commands (technical report of Cosmos 3, §2.1.3). So what was executed is read from the states; only
a plan, of which nothing is measured yet, is read from its commands. Other domains take the
robot's commands as they are, element for element. Rows that the model predicts go back the same
way: steps are composed from the measured pose on, and the commands are to be there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.domains import Domain
from cosmos_flywheel.core.errors import ConfigError, EngineError
from cosmos_flywheel.core.normaliser import QuantileNormaliser
from cosmos_flywheel.core.rotation import (
    euler_from_matrix,
    matrix_from_euler,
    matrix_from_quaternion,
    pose_from_parts,
    quaternion_from_matrix,
)
from cosmos_flywheel.core.types import Vector

POSITION = ('x', 'y', 'z')
ROTATIONS: Mapping[str, tuple[str, ...]] = {
    'euler_xyz': ('roll', 'pitch', 'yaw'),
    'quaternion_xyzw': ('qx', 'qy', 'qz', 'qw'),
}
"""Forms of a commanded rotation that a plan may have, and what their elements are called."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ActionMap:
    """Everything of a robot file that decides the rows."""

    domain: str
    id: int
    width: int
    """Numbers per row."""
    tool: tuple[tuple[float, ...], ...] | None
    """The domain's fixed rotation; None where commands are taken as they are."""
    pose: tuple[int, ...]
    """State elements x, y, z, qx, qy, qz, qw of the flange; empty without `tool`."""
    gripper: tuple[int, float, float] | None
    """Command element, and its values closed and open."""
    planned: tuple[int, ...]
    """Command elements of an absolute flange pose; empty where there are none."""
    rotation: str
    """Form of the rotation among them."""
    q01: tuple[float, ...] | None
    """None leaves the numbers as they are."""
    q99: tuple[float, ...] | None
    clamp: bool
    count: int = 0
    """Command elements; 0 in models of before rows could go back."""

    @classmethod
    def of(cls, robot: Robot) -> ActionMap:
        """Of a robot with a Cosmos domain.

        Raises:
            ConfigError: the robot has no domain, or not what the domain's rows are made of.

        """
        domain = robot.domain
        if domain is None:
            raise ConfigError(
                f'robot {robot.name}: Cosmos was trained on no such robot (cosmos.domain is '
                'none); name the domain that is nearest, or fit engine local'
            )
        normaliser = robot.action.normaliser
        wide = domain.width if normaliser is None else len(normaliser.q01)
        if wide != domain.width:
            raise ConfigError(
                f'robot {robot.name}: the normaliser has {wide} numbers, domain {domain.name} '
                f'{domain.width}; give q01 and q99 of as many'
            )
        rows, names = domain.tool_rotation, robot.action_names
        if rows is None and len(names) != domain.width:
            raise ConfigError(
                f'robot {robot.name}: actions have {len(names)} numbers, domain {domain.name} '
                f'{domain.width}; list under action.sources what the domain wants, in its order'
            )
        return cls(
            domain.name,
            domain.id,
            domain.width,
            rows,
            () if rows is None else _pose(robot),
            None if rows is None else _gripper(robot),
            () if rows is None else _planned(robot),
            robot.action.rotation,
            None if normaliser is None else tuple(normaliser.q01),
            None if normaliser is None else tuple(normaliser.q99),
            normaliser is None or normaliser.clamp,
            len(names),
        )

    def to_mapping(self) -> dict[str, Any]:
        """As a model folder keeps it; without `count` where it is not known."""
        return {k: v for k, v in asdict(self).items() if v or k != 'count'}

    @classmethod
    def from_mapping(cls, written: Mapping[str, Any]) -> ActionMap:
        """Inverse of `to_mapping`."""

        def numbers(key: str) -> tuple[Any, ...] | None:
            return None if written[key] is None else tuple(written[key])

        tool, gripper = written['tool'], numbers('gripper')
        return cls(
            written['domain'],
            written['id'],
            written['width'],
            None if tool is None else tuple(tuple(row) for row in tool),
            tuple(written['pose']),
            None if gripper is None else (gripper[0], gripper[1], gripper[2]),
            tuple(written['planned']),
            written['rotation'],
            numbers('q01'),
            numbers('q99'),
            written['clamp'],
            written.get('count', 0),
        )

    def executed(self, states: Vector, commands: Vector) -> Vector:
        """Rows (T, width) of what was done, in model space.

        Args:
            states: (T + 1, S) measured, the first where the chunk begins.
            commands: (T, A), in force at each step's start.

        Raises:
            EngineError: the commands are not as wide as the domain.

        """
        if self.tool is None:
            return self._as_they_are(commands)
        seven = np.asarray(states, np.float64)[:, list(self.pose)]
        return self._steps(_poses(seven[:, :3], seven[:, 3:], 'quaternion_xyzw'), commands)

    def ahead(self, state: Vector, commands: Vector) -> Vector:
        """Rows (T, width) of a plan, in model space.

        Args:
            state: (S,) measured where the plan begins.
            commands: (T, A) planned.

        Raises:
            EngineError: no flange pose can be read from the commands, or they have another width.

        """
        if self.tool is None:
            return self._as_they_are(commands)
        if not self.planned:
            raise EngineError(
                f'domain {self.domain}: no flange pose can be read from a plan of these commands; '
                'give absolute x, y, z with roll, pitch, yaw or qx, qy, qz, qw, or mode hindsight'
            )
        seven = np.asarray(state, np.float64)[None, list(self.pose)]
        now = _poses(seven[:, :3], seven[:, 3:], 'quaternion_xyzw')
        told = np.asarray(commands, np.float64)[:, list(self.planned)]
        return self._steps(
            np.concatenate([now, _poses(told[:, :3], told[:, 3:], self.rotation)]), commands
        )

    def commands(self, state: Vector, rows: Vector) -> tuple[Vector, Floats | None]:
        """What to tell the robot so that it does what rows in model space say.

        Args:
            state: (S,) measured where they begin.
            rows: (T, width) in model space.

        Returns:
            (T, A) commands, NaN in elements of which the domain says nothing, as joints; and for
            a domain of poses those of the flange, (T + 1, 4, 4). The gripper stays within its
            ends.

        Raises:
            EngineError: rows have another width or hold NaN, or no pose is known to begin with.

        """
        if rows.ndim != 2 or rows.shape[1] != self.width or not np.isfinite(rows).all():
            raise EngineError(
                f'rows {rows.shape} do not fit or hold NaN; domain {self.domain} wants '
                f'(T, {self.width})'
            )
        physical = self._physical(rows)
        if self.tool is None:
            return physical.astype(np.float32), None
        if not self.count:
            raise EngineError('this model knows no command elements; fit again with this version')
        seven = np.asarray(state, np.float64)[list(self.pose)]
        if not np.isfinite(seven).all():
            raise EngineError(
                'the flange pose where the actions begin is not known; give an observation with '
                'a state'
            )
        now = _poses(seven[:3], seven[3:], 'quaternion_xyzw')
        path = self._domain().poses(now, physical)
        return self._told(path[1:], physical[:, -1]), path

    def _told(self, poses: Floats, openness: Floats) -> Vector:
        """Commands (T, A) to be at poses (T, 4, 4), as far as they have elements for that."""
        assert self.gripper is not None
        index, closed, opened = self.gripper
        told = np.full((len(poses), self.count), np.nan)
        told[:, index] = closed + np.clip(openness, 0, 1) * (opened - closed)
        if self.planned:
            turned = poses[:, :3, :3]
            is_euler = self.rotation == 'euler_xyz'
            rotation = euler_from_matrix(turned) if is_euler else quaternion_from_matrix(turned)
            told[:, list(self.planned)] = np.concatenate([poses[:, :3, 3], rotation], 1)
        return told.astype(np.float32)

    def _steps(self, poses: Floats, commands: Vector) -> Vector:
        assert self.gripper is not None
        index, closed, opened = self.gripper
        openness = (np.asarray(commands, np.float64)[:, index] - closed) / (opened - closed)
        return self._normalised(self._domain().vector(poses, openness))

    def _domain(self) -> Domain:
        rows: Any = self.tool
        return Domain(self.domain, self.id, self.width, tool_rotation=rows)

    def _as_they_are(self, commands: Vector) -> Vector:
        if commands.ndim != 2 or commands.shape[1] != self.width:
            raise EngineError(
                f'actions {commands.shape} do not fit; domain {self.domain} wants '
                f'(T, {self.width})'
            )
        return self._normalised(commands)

    def _normalised(self, rows: Vector) -> Vector:
        if self.q01 is None or self.q99 is None:
            return np.asarray(rows, np.float32)
        made = QuantileNormaliser(self.q01, self.q99, self.clamp)
        return made.forward(rows).astype(np.float32)

    def _physical(self, rows: Vector) -> Floats:
        if self.q01 is None or self.q99 is None:
            return np.asarray(rows, np.float64)
        return QuantileNormaliser(self.q01, self.q99, self.clamp).inverse(rows)


def _poses(position: Floats, rotation: Floats, form: str) -> Floats:
    turned = (
        matrix_from_euler(rotation) if form == 'euler_xyz' else matrix_from_quaternion(rotation)
    )
    return pose_from_parts(position, turned)


def _pose(robot: Robot) -> tuple[int, ...]:
    if not robot.cosmos.pose:
        raise ConfigError(
            f'robot {robot.name}: no flange pose in the state; add a pose source, or name its '
            'elements in cosmos.pose'
        )
    return tuple(robot.state_names.index(name) for name in robot.cosmos.pose)


def _gripper(robot: Robot) -> tuple[int, float, float]:
    gripper = robot.action.gripper
    if gripper is None:
        raise ConfigError(f'robot {robot.name}: no gripper; set action.gripper')
    return robot.action_names.index(gripper.name), gripper.closed, gripper.open


def _planned(robot: Robot) -> tuple[int, ...]:
    names = (*POSITION, *ROTATIONS.get(robot.action.rotation, ()))
    held = set(names) <= set(robot.action_names) and len(names) > len(POSITION)
    if robot.action.kind != 'absolute' or not held:
        return ()
    return tuple(robot.action_names.index(name) for name in names)
