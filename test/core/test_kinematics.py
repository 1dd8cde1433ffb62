# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.core.kinematics import Chain

UPPER_M, FORE_M = 0.4, 0.3

PLANAR = f"""<?xml version="1.0" encoding="utf-8"?>
<robot name="planar">
  <link name="base"/><link name="upper"/><link name="fore"/><link name="slide"/><link name="tool"/>
  <joint name="shoulder" type="revolute">
    <parent link="base"/><child link="upper"/><axis xyz="0 0 2"/>
  </joint>
  <joint name="elbow" type="continuous">
    <origin xyz="{UPPER_M} 0 0"/><parent link="upper"/><child link="fore"/><axis xyz="0 0 1"/>
  </joint>
  <joint name="reach" type="prismatic">
    <origin xyz="{FORE_M} 0 0"/><parent link="fore"/><child link="slide"/>
  </joint>
  <joint name="flange" type="fixed">
    <origin rpy="0 0 1.5707963267948966"/><parent link="slide"/><child link="tool"/>
  </joint>
</robot>"""

joint = st.floats(-3, 3)


@given(joint, joint, st.floats(0, 0.2))
def test_a_planar_arm_reaches_where_trigonometry_says(shoulder, elbow, reach):
    chain = Chain.from_urdf(PLANAR, 'base', 'tool')
    pose = chain.forward({'shoulder': shoulder, 'elbow': elbow, 'reach': reach})
    both, length = shoulder + elbow, FORE_M + reach
    expected = [
        UPPER_M * np.cos(shoulder) + length * np.cos(both),
        UPPER_M * np.sin(shoulder) + length * np.sin(both),
        0,
    ]
    np.testing.assert_allclose(pose[:3, 3], expected, atol=1e-12)
    np.testing.assert_allclose(pose[:3, 0], [-np.sin(both), np.cos(both), 0], atol=1e-12)


def test_the_chain_names_the_joints_that_it_needs():
    assert Chain.from_urdf(PLANAR, 'base', 'tool').joint_names == ('shoulder', 'elbow', 'reach')
    assert Chain.from_urdf(PLANAR, 'slide', 'tool').joint_names == ()


def test_a_joint_without_a_position_makes_the_pose_unknown():
    pose = Chain.from_urdf(PLANAR, 'base', 'tool').forward({'shoulder': 0.1, 'reach': 0.0})
    assert np.isnan(pose[0, 3])


def test_a_mimic_joint_follows_another():
    text = PLANAR.replace(
        '<axis xyz="0 0 1"/>', '<axis xyz="0 0 1"/><mimic joint="shoulder" multiplier="-1"/>'
    )
    chain = Chain.from_urdf(text, 'base', 'fore')
    assert chain.joint_names == ('shoulder',)
    np.testing.assert_allclose(chain.forward({'shoulder': 0.7})[:3, :3], np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    ('text', 'tip', 'message'),
    [
        (PLANAR.replace('<robot', '<!DOCTYPE r [<!ENTITY a "b">]><robot'), 'tool', 'declares'),
        (PLANAR[:200], 'tool', 'not well-formed'),
        ('<sdf/>', 'tool', '<robot>'),
        (PLANAR, 'hand', "'base' to link 'hand'"),
        (PLANAR.replace('"revolute"', '"floating"'), 'tool', "'shoulder' is 'floating'"),
        (PLANAR.replace('0 0 2', '0 0 0'), 'tool', 'no length'),
        (PLANAR.replace('0 0 2', '0 up 0'), 'tool', "'up' is not a number"),
        (PLANAR.replace('0 0 2', '0 0'), 'tool', 'three numbers'),
        (PLANAR.replace('<parent link="base"/>', ''), 'tool', 'no parent link'),
        (PLANAR.replace('<parent link="base"/>', '<parent link="tool"/>'), 'tool', 'no chain'),
    ],
)  # fmt: skip
def test_a_wrong_description_is_refused_by_name(text, tip, message):
    with pytest.raises(ConfigError, match=message):
        Chain.from_urdf(text, 'base', tip)
