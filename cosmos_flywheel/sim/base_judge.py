# SPDX-License-Identifier: Apache-2.0
"""What a base believes of its own task: `running`, `succeeded`, `failed: …`.

It has a bumper, a range finder at its front and its odometry. A patrol whose wheels slip believes
that it got through.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cosmos_flywheel.sim.base_drive import GAP_M, SECONDS, Drive
from cosmos_flywheel.sim.base_vehicle import FRONT_M, WHEELS, Odometry
from cosmos_flywheel.sim.render import load_mujoco
from cosmos_flywheel.sim.world import Numbers

GAP_TOLERANCE_M = 0.12
WAY_SHARE = 0.95
"""Of the planned way, counted by the wheels, that a patrol has to go."""
RANGE_HEIGHT_M = 0.25
BEAMS_M = (-0.15, 0.0, 0.15)
"""Side by side, so that none of them alone can miss the goods through a gap."""
JUDGED_S = 0.25
"""Before the end at the latest."""


class Judge:
    """Looks at one episode as it goes on."""

    def __init__(self, task: str, drive: Drive, model: Any) -> None:
        self._is_patrol = task == 'patrol'
        self._done_s = min(drive.moving_s + 0.1, SECONDS - JUDGED_S)
        self._way_m = float(np.abs(drive.commands[: round(self._done_s * drive.hz), 0]).sum())
        self._way_m /= drive.hz
        self._model = model
        self._robot = model.body('robot').id
        bodies = {self._robot, *(model.body(name).id for name in WHEELS)}
        self._own = {g for g in range(model.ngeom) if int(model.geom_bodyid[g]) in bodies}
        self._floor = model.geom('floor').id
        self.verdict = 'running'

    def look(self, at_s: float, data: Any, odometry: Odometry) -> None:
        """Take in this instant; a verdict stays."""
        if self.verdict != 'running':
            return
        if self._bumped(data):
            self.verdict = 'failed: bumped into something'
        elif at_s >= self._done_s:
            self.verdict = self._patrolled(odometry) if self._is_patrol else self._docked(data)

    def _bumped(self, data: Any) -> bool:
        pairs = data.contact.geom[: data.ncon]
        return any(
            self._floor not in pair and not self._own.isdisjoint(pair) for pair in pairs.tolist()
        )

    def _patrolled(self, odometry: Odometry) -> str:
        return 'succeeded' if odometry.way_m >= WAY_SHARE * self._way_m else 'failed: got stuck'

    def _docked(self, data: Any) -> str:
        gap_m = self._range_m(data)
        if gap_m > 2 * GAP_M:
            return 'failed: no pallet ahead'
        if abs(gap_m - GAP_M) > GAP_TOLERANCE_M:
            return f'failed: the pallet is {gap_m:.2f} m away'
        return 'succeeded'

    def _range_m(self, data: Any) -> float:
        """From the robot's front straight on to what is nearest; infinite for nothing."""
        body = data.body('robot')
        ahead, aside = body.xmat.reshape(3, 3)[:, :2].T
        found: list[float] = []
        for beam_m in BEAMS_M:
            start = body.xpos + FRONT_M * ahead + beam_m * aside
            start[2] = RANGE_HEIGHT_M
            found.append(self._ray(data, start, ahead.copy()))
        return min((away_m for away_m in found if away_m >= 0), default=np.inf)

    def _ray(self, data: Any, start: Numbers, ahead: Numbers) -> float:
        """How far it is to the next visible geom; negative for none."""
        hit = np.zeros(1, np.int32)
        cast = load_mujoco().mj_ray
        return float(cast(self._model, data, start, ahead, None, 1, self._robot, hit))
