# SPDX-License-Identifier: Apache-2.0
"""What stands, falls, rolls and walks in the aisle: pallet, carton, roll cage and person, as MJCF.

All but the pallet wait behind the racks, where no nominal drive can see them.
"""

from __future__ import annotations

import numpy as np

from cosmos_flywheel.sim.base_aisle import RACK_COLOUR_RGBA, STATIC, box
from cosmos_flywheel.sim.base_drive import PALLET_FRONT_M
from cosmos_flywheel.sim.base_goods import carton_look
from cosmos_flywheel.sim.world import Numbers

PALLET_HALF_M = (0.4, 0.6)
"""EUR pallet: along the aisle, into the passage."""
WAIT_M = 2.95
"""How far from the middle of the aisle props wait."""
CARTON_KG = 4.0
MOST_CARTON_HALF_M = 0.26

PLACED_M, PLACED_DEG = 0.02, 0.8
"""How exactly nominal runs have it there, at the worst."""
MOST_SHIFT_M, MOST_CLOSER_M = 0.4, 0.55
"""How far the pallet may be displaced sideways, and towards the aisle or away from it."""

CAGE_HALF_M = (0.36, 0.44)
"""Along the aisle, across it."""

PERSON_HALF_M = 0.2
LEG_M, HIP_M = 0.86, 0.09
"""A person's leg, and how far it stands from the middle."""
STRIDE_M = 1.3
"""Two steps."""
SWING_RAD = 0.42

_TOUCH = 'contype="3" conaffinity="3" friction="0.6 0.005 0.0001"'


def props_xml(chance: np.random.Generator, side: int) -> str:
    """Bodies beside the robot; the pallet on this side, what waits on the other."""
    return ''.join(
        [_pallet(chance, side), _person(chance, -side), _cage(chance, -side), _carton(-side)]
    )


def pallet_pose(side: int) -> Numbers:
    """Where nominal runs have the pallet's middle: x and y."""
    return np.array([0.0, side * (PALLET_FRONT_M + PALLET_HALF_M[1])])


def _pallet(chance: np.random.Generator, side: int) -> str:
    x, y = pallet_pose(side) + chance.uniform(-PLACED_M, PLACED_M, 2)
    turn = chance.uniform(-PLACED_DEG, PLACED_DEG)
    wide, deep = PALLET_HALF_M
    geoms = []
    for across in (-0.34, -0.17, 0.0, 0.17, 0.34):
        geoms.append(box((across, 0, 0.133), (0.065, deep, 0.011), 'material="wood"'))
    for along in (-deep + 0.07, 0.0, deep - 0.07):
        geoms.append(box((0, along, 0.11), (wide, 0.07, 0.011), 'material="wood"'))
        for across in (-0.33, 0.0, 0.33):
            geoms.append(box((across, along, 0.055), (0.06, 0.07, 0.05), 'material="wood"'))
    shadow = 'rgba=".07 .07 .07 1"'
    geoms.append(box((0, 0, 0.005), (wide - 0.02, deep - 0.02, 0.002), shadow))
    for layer in range(int(chance.integers(2, 4))):
        for place in range(4):
            look = carton_look(chance)
            across, along = (-0.19 if place % 2 else 0.19), (-0.28 if place < 2 else 0.28)
            height = 0.15
            centre = (across, along, 0.144 + height * (2 * layer + 1))
            geoms.append(box(centre, (0.185, 0.27, height - 0.004), look))
    body = box((0, 0, 0.3), (wide, deep, 0.3), 'rgba="0 0 0 0"', _TOUCH)
    return (
        f'<body name="pallet" mocap="true" pos="{x} {y} 0" euler="0 0 {turn}">'
        f'{"".join(geoms)}{body}</body>'
    )


def _person(chance: np.random.Generator, side: int) -> str:
    """Capsules in a vest: the trunk is one body, each leg another that swings from the hip."""
    vest = '.95 .55 .08 1' if chance.random() < 0.5 else '.75 .85 .1 1'
    trousers = '.13 .16 .25 1' if chance.random() < 0.5 else '.22 .2 .18 1'
    skin = chance.choice(['.86 .68 .55 1', '.62 .43 .3 1', '.42 .28 .2 1'])
    limb = f'type="capsule" {STATIC}'
    trunk = (
        f'<geom type="capsule" fromto="0 -.11 1.06 0 .11 1.06" size=".13" rgba="{vest}" {STATIC}/>'
        f'<geom {limb} fromto="0 0 .98 0 0 1.36" size=".165" rgba="{vest}"/>'
        f'<geom type="box" pos="0 0 1.12" size=".168 .15 .025" rgba=".9 .9 .86 1" {STATIC}/>'
        f'<geom {limb} fromto="0 -.13 1.4 0 .13 1.4" size=".085" rgba="{vest}"/>'
        f'<geom {limb} fromto="0 .22 1.4 .03 .25 1.14" size=".052" rgba="{vest}"/>'
        f'<geom {limb} fromto=".03 .25 1.14 .16 .23 .92" size=".042" rgba="{skin}"/>'
        f'<geom {limb} fromto="0 -.22 1.4 .03 -.25 1.14" size=".052" rgba="{vest}"/>'
        f'<geom {limb} fromto=".03 -.25 1.14 .16 -.23 .92" size=".042" rgba="{skin}"/>'
        f'<geom type="sphere" pos=".01 0 1.66" size=".11" rgba="{skin}" {STATIC}/>'
        f'<geom type="ellipsoid" pos="0 0 1.72" size=".12 .11 .08" rgba=".95 .95 .95 1" {STATIC}/>'
        f'<geom type="capsule" fromto="0 0 .18 0 0 .9" size=".17" rgba="0 0 0 0" {_TOUCH}/>'
    )
    leg = (
        f'<geom {limb} fromto="0 0 0 0 0 -.42" size=".085" rgba="{trousers}"/>'
        f'<geom {limb} fromto="0 0 -.42 0 0 -.78" size=".068" rgba="{trousers}"/>'
        f'<geom {limb} fromto="-.03 0 -.81 .13 0 -.82" size=".045" rgba=".1 .09 .08 1"/>'
    )
    x, y = -2.3, side * WAIT_M
    legs = ''.join(
        f'<body name="leg{which}" mocap="true" pos="{x} {y} {LEG_M}">{leg}</body>'
        for which in range(2)
    )
    return f'<body name="person" mocap="true" pos="{x} {y} 0">{trunk}</body>{legs}'


def _cage(chance: np.random.Generator, side: int) -> str:
    """A roll cage with goods, long side across the aisle."""
    wide, deep = CAGE_HALF_M
    geoms = [box((0, 0, 0.17), (wide, deep, 0.02), f'rgba="{RACK_COLOUR_RGBA}"')]
    geoms.append(box((0, 0, 0.005), (wide, deep, 0.002), 'rgba=".12 .12 .12 1"'))
    for across in (-wide, wide):
        for along in (-deep, deep):
            geoms.append(box((across, along, 0.85), (0.018, 0.018, 0.7), 'material="steel"'))
            wheel = (across * 0.85, along * 0.85, 0.075)
            geoms.append(box(wheel, (0.06, 0.02, 0.07), 'rgba=".1 .1 .1 1"'))
        for height in np.linspace(0.35, 1.53, 6):
            geoms.append(box((across, 0, float(height)), (0.009, deep, 0.009), 'material="steel"'))
    for layer, (height, half) in enumerate(((0.38, 0.185), (0.73, 0.155), (1.01, 0.115))):
        for along in (-0.21, 0.21):
            inset = 0.03 * layer
            look = carton_look(chance)
            geoms.append(box((0, along, height), (0.31 - inset, 0.2, half), look))
    body = box((0, 0, 0.6), (wide, deep, 0.6), 'rgba="0 0 0 0"', _TOUCH)
    x, y = -1.6, side * (WAIT_M + 0.15)
    return f'<body name="cage" mocap="true" pos="{x} {y} 0">{"".join(geoms)}{body}</body>'


def _carton(side: int) -> str:
    """Weightless until it falls: it waits in mid-air, and touches nothing."""
    half = MOST_CARTON_HALF_M
    return (
        f'<body name="carton" pos="-3.1 {side * WAIT_M} 1" gravcomp="1">'
        f'<freejoint name="carton"/><geom name="carton" type="box" size="{half} {half} {half}" '
        f'mass="{CARTON_KG}" material="carton0" rgba=".82 .64 .43 1" '
        'contype="2" conaffinity="2" friction="0.5 0.005 0.0001"/></body>'
    )
