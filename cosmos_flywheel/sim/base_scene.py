# SPDX-License-Identifier: Apache-2.0
"""A seed to the whole model of the base: aisle, props, robot, light."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from cosmos_flywheel.sim.base_aisle import RACK_COLOUR_RGBA, aisle_xml
from cosmos_flywheel.sim.base_goods import goods_xml
from cosmos_flywheel.sim.base_props import props_xml
from cosmos_flywheel.sim.base_texture import CARTON_KINDS, make_textures
from cosmos_flywheel.sim.base_vehicle import drive_xml, vehicle_xml
from cosmos_flywheel.sim.render import load_mujoco
from cosmos_flywheel.sim.world import Numbers, Setup

PHYSICS_HZ = 240

LIGHT_SPREAD, WARMTH_SPREAD = 0.03, 0.01
"""Nominal episodes differ so much in brightness and colour: one standard deviation."""


def build_model(setup: Setup, side: int) -> Any:
    """An MjModel: equal for equal seeds and tasks, whatever the fault.

    Args:
        setup: whose seed chooses goods, colours and light.
        side: +1 where the pallet is to the left, -1 to the right.

    """
    textures = make_textures(setup.chance('textures'))
    xml = f"""
    <mujoco model="base">
      <compiler angle="degree" autolimits="true"/>
      <option timestep="{1 / PHYSICS_HZ}" integrator="implicitfast" cone="elliptic" impratio="10"/>
      <visual>
        <headlight ambient=".34 .34 .34" diffuse=".16 .16 .16" specular="0 0 0"/>
        <map znear="0.005" zfar="3"/>
        <quality shadowsize="0" offsamples="0" numslices="12" numstacks="6" numquads="1"/>
      </visual>
      <statistic extent="10" center="0 0 1"/>
      <asset>{_assets(textures)}</asset>
      <worldbody>
        {_lights(setup.chance('light'))}
        {aisle_xml()}
        {goods_xml(setup.chance('goods'))}
        {props_xml(setup.chance('props'), side)}
        {vehicle_xml()}
      </worldbody>
      {drive_xml()}
    </mujoco>"""
    files = {f'{name}.png': data for name, data in textures.items()}
    return load_mujoco().MjModel.from_xml_string(xml, files)


def _assets(textures: Iterable[str]) -> str:
    """Textures and materials; cartons and wood are mapped on all six sides of a box."""
    parts = []
    for name in textures:
        kind = '2d' if name == 'floor' else 'cube'
        parts.append(f'<texture name="{name}" type="{kind}" file="{name}.png"/>')
    parts.append(
        '<material name="floor" texture="floor" texrepeat="0.4 0.4" texuniform="true" '
        'specular="0" shininess="0"/>'
    )
    faces = ('wall', 'wood', 'steel', 'shutter', *(f'carton{n}' for n in range(CARTON_KINDS)))
    parts += [f'<material name="{face}" texture="{face}" specular="0"/>' for face in faces]
    plain = {
        'upright': RACK_COLOUR_RGBA,
        'beam': '.88 .42 .08 1',
        'board': '.42 .4 .37 1',
        'back': '.11 .115 .13 1',
        'yellow': '.93 .75 .1 1',
        'white': '.88 .88 .86 1',
    }
    parts += [f'<material name="{n}" rgba="{c}" specular="0"/>' for n, c in plain.items()]
    parts.append('<material name="lamp" rgba="1 1 .97 1" emission="1"/>')
    return ''.join(parts)


def _lights(chance: np.random.Generator) -> str:
    """From above and from both ends, so that no two faces of a box are equally bright."""
    level = 1 + LIGHT_SPREAD * chance.standard_normal()
    warmth = WARMTH_SPREAD * chance.standard_normal()
    tint = level * np.array([1 + warmth, 1.0, 1 - warmth])
    lights = (
        ((0.2, 0.1, -1), 0.5),
        ((0.6, 1, -0.3), 0.34),
        ((0.6, -1, -0.3), 0.27),
        ((-1, 0.2, -0.3), 0.16),
    )
    return ''.join(_light(direction, share * tint) for direction, share in lights)


def _light(direction: tuple[float, float, float], colour: Numbers) -> str:
    diffuse = ' '.join(f'{part:.4f}' for part in colour)
    towards = ' '.join(f'{part}' for part in direction)
    return (
        f'<light directional="true" pos="0 0 4" dir="{towards}" diffuse="{diffuse}" '
        'ambient="0 0 0" specular="0 0 0" castshadow="false"/>'
    )
