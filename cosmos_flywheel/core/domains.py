# SPDX-License-Identifier: Apache-2.0
"""The embodiment domains that Cosmos 3 was trained on: names, ids, widths and pose conventions.

Sources: ids and widths from NVIDIA/cosmos-framework 5eee9ed
`data/generator/action/utils/domain_utils.py`; fps, chunk, view, rotation and gripper from its
`data/generator/action/datasets/*`; quantiles from its `normalizer_stats/*.json`, rounded to six
digits. Names that differ in diffusers 0.42.1 are listed beside those of cosmos-framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.normaliser import QuantileNormaliser
from cosmos_flywheel.core.rotation import (
    compose_deltas,
    inverse_pose,
    matrix_from_rot6d,
    pose_deltas,
    pose_from_parts,
    rot6d_from_matrix,
)
from cosmos_flywheel.core.settings import Section

Rows = tuple[tuple[float, float, float], ...]

VIEW_POINTS = ('ego_view', 'third_person_view', 'wrist_view', 'concat_view')
RESOLUTION_TIERS = (256, 480, 704, 720)
SLOTS = 32
"""Ids that a checkpoint has room for; 0 is `no_action` (cosmos-framework, `domain_utils.py`)."""
VECTOR = ('tx', 'ty', 'tz', 'r0', 'r1', 'r2', 'r3', 'r4', 'r5', 'openness')
"""What `Domain.vector` builds: metres, rot6d, and 0 closed … 1 open."""
DOMAIN_KEYS = ('name', 'id', 'width', 'tool_rotation')


@dataclass(frozen=True, slots=True)
class Domain:
    """One action convention of the model."""

    name: str
    id: int
    width: int
    """Numbers per action, before the model pads them to 64."""
    fps: float | None = None
    chunk: int | None = None
    """Actions per call in training; None where the sources do not say."""
    tool_rotation: Rows | None = None
    """Right-multiplied to the flange pose; None where this package does not build the vector."""
    normaliser: QuantileNormaliser | None = None

    def vector(self, poses: ArrayLike, openness: ArrayLike) -> NDArray[np.float32]:
        """Describe a path of flange poses as this domain's actions, in metres, not normalised.

        Args:
            poses: (T + 1, 4, 4) measured flange poses in one fixed frame.
            openness: (T,) commanded gripper at the first pose of each step, 0 closed … 1 open.

        Returns:
            (T, width): translation (3), rot6d (6), openness.

        Raises:
            ConfigError: the domain's vector is not built here, or the shapes disagree.
        """
        path = np.asarray(poses, np.float64)
        gripper = np.asarray(openness, np.float64)
        if path.ndim != 3 or path.shape[1:] != (4, 4) or len(path) != len(gripper) + 1:
            raise ConfigError(
                f'domain {self.name}: poses {path.shape} and gripper {gripper.shape} do not join; '
                'give T + 1 poses of 4 x 4 and T gripper values'
            )
        steps = pose_deltas(path @ self._tool())
        parts = (steps[:, :3, 3], rot6d_from_matrix(steps[:, :3, :3]), gripper[:, None])
        return np.concatenate(parts, axis=1).astype(np.float32)

    def poses(self, start: ArrayLike, vector: ArrayLike) -> NDArray[np.float64]:
        """Inverse of `vector`: a first pose (4, 4) and actions (T, width) → (T + 1, 4, 4)."""
        tool = self._tool()
        actions = np.asarray(vector, np.float64)
        steps = pose_from_parts(actions[:, :3], matrix_from_rot6d(actions[:, 3:9]))
        path: NDArray[np.float64] = compose_deltas(np.asarray(start) @ tool, steps)
        return path @ inverse_pose(tool)

    def _tool(self) -> NDArray[np.float64]:
        if self.tool_rotation is None:
            built = ', '.join(d.name for d in DOMAINS.values() if d.tool_rotation is not None)
            raise ConfigError(
                f'domain {self.name}: its action vector is not built here; built: {built}'
            )
        return pose_from_parts(np.zeros(3), np.array(self.tool_rotation))


def own_domain(section: Section) -> Domain:
    """Read a domain that the robot file itself defines, for a checkpoint post-trained on it.

    Raises:
        ConfigError: its id has no slot, its name is taken, or its rotation is none.

    """
    name, slot, width = section.text('name'), section.whole('id'), section.whole('width')
    if name == 'none' or name in DOMAINS:
        raise section.error('name', f'is {name!r}, which is known already; write "domain: {name}"')
    if slot >= SLOTS:
        raise section.error('id', f'is {slot}; the model has slots 1 to {SLOTS - 1}')
    tool = _tool_rotation(section) if 'tool_rotation' in section else None
    if tool is not None and width != len(VECTOR):
        raise section.error(
            'width', f'is {width}, but tool_rotation builds {len(VECTOR)} numbers '
            f'({", ".join(VECTOR)}); write {len(VECTOR)}, or leave tool_rotation out'
        )  # fmt: skip
    return Domain(name, slot, width, tool_rotation=tool)


def _tool_rotation(section: Section) -> Rows:
    try:
        rows = np.array(section.raw('tool_rotation'), np.float64)
    except (TypeError, ValueError):
        rows = np.empty(0)
    is_turn = rows.shape == (3, 3) and np.allclose(rows @ rows.T, np.eye(3), atol=1e-3)
    if not is_turn or np.linalg.det(rows) < 0:
        raise section.error(
            'tool_rotation', f'is {section.raw("tool_rotation")!r}; write three rows of a '
            'rotation, such as [[0, -1, 0], [1, 0, 0], [0, 0, 1]]'
        )  # fmt: skip
    first, second, third = ((float(x), float(y), float(z)) for x, y, z in rows)
    return first, second, third


DROID_QUANTILES = QuantileNormaliser(
    q01=(
        -0.0142, -0.013416, -0.015206,
        0.998459, -0.047659, -0.034774, -0.047609, 0.998428, -0.035553,
        0.0,
    ),
    q99=(
        0.014515, 0.011517, 0.01452,
        1.0, 0.047596, 0.03466, 0.047654, 1.0, 0.038888,
        1.0,
    ),
)  # fmt: skip
"""Of `normalizer_stats` for droid: tx, ty, tz in metres per step at 15 Hz, rot6d, openness."""

_PANDA_LINK8_TO_OPENCV: Rows = ((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))

_DOMAINS = (
    Domain('av', 1, 9, 10, 60),
    Domain('camera_pose', 2, 9, 30, 60),
    Domain('hand_pose', 3, 57, 15, 16),
    Domain('pusht', 4, 2, 10, 16),
    Domain('libero', 5, 10, 20, 16),
    Domain('umi', 6, 10, 10, 16),
    Domain('bridge_orig_lerobot', 7, 10, 5, 16),
    Domain('droid_lerobot', 8, 10, 15, 16, _PANDA_LINK8_TO_OPENCV, DROID_QUANTILES),
    Domain('robomind-franka', 8, 10, 10, 16),
    Domain('galbot', 9, 30, 10, 16),
    Domain('embodiment_b', 9, 30, 10, 16),
    Domain('robomind-franka-dual', 12, 20, 10, 16),
    Domain('robomind-ur', 13, 10, 10, 16),
    Domain('agibotworld', 15, 29, 10, 16),
    Domain('agibot_gear_gripper', 15, 29, 10, 16),
    Domain('embodiment_c_gripper', 15, 29, 10, 16),
    Domain('xdof_yam', 16, 20),
    Domain('robotwin', 17, 14),
    Domain('fractal', 20, 10, 3, 16),
    Domain('drawanything', 21, 3),
    Domain('behavior1k_lerobot', 22, 23),
    Domain('maniparena', 23, 20),
)

DOMAINS: Mapping[str, Domain] = {domain.name: domain for domain in _DOMAINS}
"""By name. Id 0 is `no_action`; ids of 32 slots that are missing here may be post-trained."""
