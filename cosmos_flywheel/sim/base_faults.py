# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with the base, and when."""

from __future__ import annotations

import numpy as np

from cosmos_flywheel.sim.base_aisle import PITCH_M
from cosmos_flywheel.sim.base_drive import SECONDS, TASKS, Drive
from cosmos_flywheel.sim.base_props import MOST_CLOSER_M, MOST_SHIFT_M, PALLET_HALF_M, pallet_pose
from cosmos_flywheel.sim.base_vehicle import CAMERA_M, HALF_VIEW_RAD
from cosmos_flywheel.sim.camera import camera_faults, lasts_s
from cosmos_flywheel.sim.world import Fault, Setup, Span, by_name, draw_span

BOTH, DOCK = tuple(TASKS), ('dock',)

FAULTS = by_name((
    Fault(
        'wheel_slip', 'world', BOTH, 'the left wheel, the right one or both lose their grip',
        'grip for 100 % … 0 % of the push that the drive needs, to the end',
    ),
    Fault(
        'fallen_carton', 'world', BOTH, 'a carton falls off a rack into the aisle',
        'edges of 12 cm … 50 cm; it lands 80 cm … 0 cm beside the middle of the aisle',
    ),
    Fault(
        'person', 'world', BOTH, 'someone steps out of the passage and stays',
        'from the edge of the aisle … to the middle of the way',
    ),
    Fault(
        'blocked_aisle', 'world', BOTH, 'a roll cage rolls out of the passage and stands there',
        '29 cm into the aisle … across the way',
    ),
    Fault(
        'relocated_pallet', 'world', DOCK, 'the pallet stands elsewhere when it comes into view',
        'displaced by 2 cm … 55 cm, turned by up to 1° … 12°',
    ),
    Fault(
        'dirty_lens', 'sensor', BOTH, 'dirt on the lens, to the end',
        '3 … 16 blotches that take away 15 % … 90 %',
    ),
    *camera_faults(BOTH),
    Fault('light', 'benign', BOTH, 'the lamps change', 'by ±0 % … ±35 %, to the end'),
    Fault(
        'other_goods', 'benign', BOTH, 'other goods on the racks, from the start',
        '5 % … 100 % of them in colours that no nominal run has',
    ),
))  # fmt: skip

_ENTERS = ('fallen_carton', 'person', 'blocked_aisle')
"""What must begin while the robot still is some way before the passage …"""
_ENTERS_S = (1.5, 2.1)
"""… between these instants."""
_LEFT_OVER_S = 2.5
"""The least that is seen of any other fault."""


def span_of(setup: Setup, drive: Drive, hz: int) -> Span | None:
    """When the fault of a setup acts; `hz` is the camera's rate."""
    fault = setup.fault
    if fault is None:
        return None
    if fault.name == 'other_goods':
        return Span(0.0, np.inf)
    if fault.name in _ENTERS:
        return draw_span(setup, _ENTERS_S, hz, None)
    if fault.name == 'relocated_pallet':
        seen_s = _pallet_seen_s(drive)
        return draw_span(setup, (seen_s, seen_s), hz, None)
    window_s = (0.0, SECONDS - _LEFT_OVER_S)
    if fault.name == 'wheel_slip':
        # While the robot stands, wheels without grip change nothing.
        window_s = (0.0, drive.moving_s - _LEFT_OVER_S)
    return draw_span(setup, window_s, hz, lasts_s(setup))


def _pallet_seen_s(drive: Drive) -> float:
    """Just before the place where the pallet is, or may be, comes into the picture."""
    x, y = pallet_pose(drive.side)
    half = np.add(PALLET_HALF_M, (MOST_SHIFT_M, MOST_CLOSER_M))
    corners = np.array([(x + a * half[0], y + b * half[1]) for a in (-1, 1) for b in (-1, 1)])
    headings = drive.poses[:, 2, None]
    eyes = drive.poses[:, :2] + CAMERA_M * np.hstack([np.cos(headings), np.sin(headings)])
    right, up = np.moveaxis(corners - eyes[:, None], -1, 0)
    bearings = np.abs(np.arctan2(up, right) - headings).min(axis=1)
    early = drive.poses[:, 0] < x - PITCH_M / 3
    return float(np.flatnonzero((bearings < HALF_VIEW_RAD) & ~early)[0] - 1) / drive.hz
