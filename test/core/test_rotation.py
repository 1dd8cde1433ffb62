# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cosmos_flywheel.core.normaliser import QuantileNormaliser
from cosmos_flywheel.core.rotation import (
    compose_deltas,
    euler_from_matrix,
    inverse_pose,
    matrix_about_axis,
    matrix_from_euler,
    matrix_from_quaternion,
    matrix_from_rot6d,
    pose_deltas,
    pose_from_parts,
    quaternion_from_matrix,
    rot6d_from_matrix,
)

angle = st.floats(-np.pi, np.pi)
angles = hnp.arrays(np.float64, (5, 3), elements=angle)
positions = hnp.arrays(np.float64, (5, 3), elements=st.floats(-10, 10))


@given(angles)
def test_every_form_of_a_rotation_leads_back_to_it(euler):
    rotation = matrix_from_euler(euler)
    for there, back in (
        (quaternion_from_matrix, matrix_from_quaternion),
        (rot6d_from_matrix, matrix_from_rot6d),
        (euler_from_matrix, matrix_from_euler),
    ):
        np.testing.assert_allclose(back(there(rotation)), rotation, atol=1e-7)


@given(angles)
def test_a_rotation_is_orthonormal_and_keeps_handedness(euler):
    rotation = matrix_from_euler(euler)
    np.testing.assert_allclose(
        rotation @ np.swapaxes(rotation, -1, -2), np.eye(3) + np.zeros((5, 1, 1)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotation), 1)


@given(angle)
def test_euler_angles_turn_about_fixed_x_then_y_then_z(value):
    roll, pitch, yaw = (matrix_about_axis(axis, value) for axis in np.eye(3))
    np.testing.assert_allclose(matrix_from_euler([value] * 3), yaw @ pitch @ roll, atol=1e-12)


def test_pitch_of_a_right_angle_still_gives_the_rotation_back():
    for roll in (-1.0, 0.3):
        for pitch in (np.pi / 2, -np.pi / 2):
            rotation = matrix_from_euler([roll, pitch, 0.7])
            euler = euler_from_matrix(rotation)
            assert euler[2] == 0
            np.testing.assert_allclose(matrix_from_euler(euler), rotation, atol=1e-9)


def test_a_quarter_turn_about_z_is_known_in_every_form():
    rotation = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    half = np.sqrt(0.5)
    np.testing.assert_allclose(matrix_from_quaternion([0, 0, half, half]), rotation, atol=1e-12)
    np.testing.assert_allclose(quaternion_from_matrix(rotation), [0, 0, half, half])
    np.testing.assert_allclose(quaternion_from_matrix(rotation, 'wxyz'), [half, 0, 0, half])
    np.testing.assert_allclose(rot6d_from_matrix(rotation), [0, 1, 0, -1, 0, 0])
    np.testing.assert_allclose(euler_from_matrix(rotation), [0, 0, np.pi / 2])


def test_both_orders_of_a_quaternion_mean_the_same():
    xyzw = np.array([0.1, -0.2, 0.3, 0.9])
    np.testing.assert_allclose(
        matrix_from_quaternion(np.roll(xyzw, 1), 'wxyz'), matrix_from_quaternion(xyzw)
    )


@pytest.mark.parametrize('axis', np.eye(3))
def test_half_turns_keep_their_digits_as_quaternions(axis):
    rotation = matrix_about_axis(axis, np.pi)
    np.testing.assert_allclose(np.abs(quaternion_from_matrix(rotation)[:3]), axis, atol=1e-12)


def test_a_quaternion_of_no_length_and_nan_are_unknown():
    assert np.isnan(matrix_from_quaternion([0, 0, 0, 0])).all()
    assert np.isnan(quaternion_from_matrix(matrix_from_quaternion([np.nan, 0, 0, 1]))).all()


def test_rot6d_of_the_identity_is_1_0_0_0_1_0():
    assert rot6d_from_matrix(np.eye(3)).tolist() == [1, 0, 0, 0, 1, 0]


def test_rot6d_that_is_not_orthonormal_is_made_so():
    rotation = matrix_from_rot6d([2, 0, 0, 0.5, 3, 0])
    np.testing.assert_allclose(rotation, np.eye(3), atol=1e-12)


@given(positions, angles)
def test_steps_of_a_path_compose_back_to_the_path(position, euler):
    path = pose_from_parts(position, matrix_from_euler(euler))
    np.testing.assert_allclose(compose_deltas(path[0], pose_deltas(path)), path, atol=1e-9)


@given(positions, angles)
def test_a_pose_times_its_inverse_is_the_identity(position, euler):
    path = pose_from_parts(position, matrix_from_euler(euler))
    np.testing.assert_allclose(
        inverse_pose(path) @ path, np.broadcast_to(np.eye(4), path.shape), atol=1e-9
    )


def test_a_step_is_given_in_the_frame_it_starts_from():
    turned = matrix_from_euler([0, 0, np.pi / 2])
    path = pose_from_parts([[0, 0, 0], [0, 1, 0]], turned)
    np.testing.assert_allclose(pose_deltas(path)[0, :3, 3], [1, 0, 0], atol=1e-12)


@given(hnp.arrays(np.float64, (4, 2), elements=st.floats(-0.99, 4.99)))
def test_normalised_values_inside_the_quantiles_lead_back(values):
    normaliser = QuantileNormaliser((-1.0, -1.0), (5.0, 5.0))
    np.testing.assert_allclose(normaliser.inverse(normaliser.forward(values)), values, atol=1e-12)


def test_values_beyond_the_quantiles_are_clamped_only_if_asked_and_nan_stays():
    values = [-3.0, 1.0, np.nan]
    clamped = QuantileNormaliser((0.0,), (2.0,)).forward(values)
    np.testing.assert_array_equal(clamped, [-1, 0, np.nan])
    free = QuantileNormaliser((0.0,), (2.0,), clamp=False)
    np.testing.assert_array_equal(free.forward(values), [-4, 0, np.nan])
    np.testing.assert_array_equal(free.inverse([-4, 0]), [-3, 1])


def test_a_constant_channel_is_finite():
    assert np.isfinite(QuantileNormaliser((1.0,), (1.0,)).forward([1.0, 1.5])).all()
