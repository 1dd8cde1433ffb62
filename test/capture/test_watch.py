# SPDX-License-Identifier: Apache-2.0
"""Messages become moments: decoded, aligned, with what had been predicted for them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from push_bags import (
    AXES,
    CAMERA,
    COMMANDS,
    START_NS,
    STATES,
    Row,
    changed,
    joints,
    jpeg,
    picture,
    recording,
    scene,
    without,
)

from cosmos_flywheel.capture.watch import Watcher
from cosmos_flywheel.core.channels import Moment
from cosmos_flywheel.core.contract import Robot
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.engines import make_engine
from cosmos_flywheel.store.robots import load_robot

ROBOT = load_robot('mujoco_push')
SIZE = 48, 64
NS = 10**9


def make_watcher(robot: Robot = ROBOT, topics=(CAMERA, STATES, COMMANDS), level='flow') -> Watcher:
    return Watcher(robot, make_engine(level, SIZE), topics)


def take(watcher: Watcher, row: Row, log_offset_s: float = 0.0) -> list[Moment]:
    """One message, recorded `log_offset_s` later on the recorder's clock than it was stamped."""
    log_ns = START_NS + round((row.at_s + log_offset_s) * NS)
    return watcher.take(row.topic, watcher.stamp_ns(row.topic, log_ns, row.message), row.message)


def watch(rows, watcher: Watcher | None = None, log_offset_s: float = 0.0) -> list[Moment]:
    watcher = watcher or make_watcher()
    return [m for row in rows for m in take(watcher, row, log_offset_s)] + watcher.finish()


def seconds(moments: list[Moment]) -> list[float]:
    return [(m.tick.stamp_ns - START_NS) / NS for m in moments]


def reasons(watcher: Watcher) -> list[tuple[str, str]]:
    return [(loss.topic, loss.reason) for loss in watcher.take_losses()]


def drive_robot() -> Robot:
    """A base whose commands, like those of most, have no header."""
    return Robot.from_mapping(
        {
            'schema': 'robot-v1',
            'name': 'base',
            'clock': {'hz': 15},
            'cameras': {'top': {'topic': CAMERA, 'primary': True}},
            'action': {
                'kind': 'absolute',
                'sources': [{'topic': '/cmd_vel', 'field': 'twist', 'names': ['linear.x']}],
            },
        }
    )


def twist(at_s: float, speed: float = 0.5) -> Row:
    linear = SimpleNamespace(x=speed, y=0.0, z=0.0)
    angular = SimpleNamespace(x=0.0, y=0.0, z=0.0)
    return Row('/cmd_vel', at_s, SimpleNamespace(linear=linear, angular=angular))


def test_every_picture_of_the_models_rate_is_a_moment():
    moments = watch(recording(2.0))
    assert seconds(moments) == pytest.approx([i / 15 for i in range(30)], abs=1e-6)
    assert all(m.tick.picture.shape == (*SIZE, 3) for m in moments)


def test_a_prediction_is_there_once_the_session_has_a_past():
    watcher = make_watcher()
    moments = watch(recording(1.0), watcher)
    known = [m.residual is not None for m in moments]
    assert known == [False, False] + [True] * 13
    assert watcher.predictions == 13
    assert watcher.pictures == 15


def test_the_prediction_beside_a_moment_is_the_one_made_for_it():
    for moment in watch(recording(1.0), make_watcher(level='persistence'))[2:]:
        assert moment.predicted.shape == moment.tick.picture.shape
        assert moment.predicted_state.shape == moment.tick.state.shape
    earlier, _, now = watch(recording(1.0), make_watcher(level='persistence'))[5:8]
    assert (now.predicted == earlier.tick.picture).all()
    assert (now.predicted_state == earlier.tick.state).all()


def test_a_corrupt_picture_is_counted_and_has_not_come():
    rows = recording(1.0)
    bad = next(r for r in rows if r.topic == CAMERA and r.at_s > 0.5)
    broken = replace(bad.message, data=bad.message.data[:40])
    watcher = make_watcher()
    moments = watch([replace(r, message=broken) if r is bad else r for r in rows], watcher)
    assert reasons(watcher) == [(CAMERA, 'undecodable')]
    assert watcher.pictures == 14
    assert all(m.tick.stamp_ns != START_NS + round(bad.at_s * NS) for m in moments)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_a_number_that_is_none_is_counted_and_unknown(value):
    rows = changed(
        recording(1.0), STATES, lambda r: replace(r, message=joints(r.at_s, (value, 0.1)))
    )
    watcher = make_watcher()
    moments = watch(rows, watcher)
    assert set(reasons(watcher)) == {(STATES, 'not_finite')}
    assert np.isnan(moments[-1].tick.state[0])
    assert moments[-1].tick.state[1] == pytest.approx(0.1)


def test_joints_are_found_by_name_in_whatever_order_they_come():
    rows = changed(
        recording(1.0),
        STATES,
        lambda r: replace(r, message=joints(r.at_s, (2.0, 1.0), names=AXES[::-1])),
    )
    assert watch(rows)[-1].tick.state.tolist() == [1, 2]


def test_a_picture_that_changes_its_size_is_told_once_and_still_compared():
    def grow(row: Row) -> Row:
        large = np.repeat(np.repeat(scene(row.at_s), 2, axis=0), 2, axis=1)
        return replace(row, message=picture(row.at_s, jpeg(large)))

    rows = changed(recording(1.0), CAMERA, lambda r: grow(r) if r.at_s > 0.5 else r)
    watcher = make_watcher()
    moments = watch(rows, watcher)
    assert reasons(watcher) == [(CAMERA, 'resized')]
    assert moments[-1].residual.shape == SIZE


def test_stamps_that_step_back_a_little_are_counted():
    rows = recording(1.0)
    watcher = make_watcher()
    watch([*rows, rows[-1]], watcher)
    assert [reason for _, reason in reasons(watcher)] == ['out_of_order']


def test_a_clock_that_begins_anew_is_counted_and_nothing_is_predicted_across_it():
    watcher = make_watcher()
    moments = watch([*recording(3.0), *recording(1.0)], watcher)
    assert (CAMERA, 'clock_reset') in reasons(watcher)
    fresh = [m for m in moments if m.tick.segment > 0]
    assert [m.residual is not None for m in fresh][:3] == [False, False, True]


def test_without_a_camera_moments_have_states_and_no_picture():
    watcher = make_watcher(topics=(STATES, COMMANDS))
    moments = watch(without(recording(1.0), CAMERA), watcher)
    assert len(moments) > 10
    assert all(m.tick.picture is None and m.residual is None for m in moments)
    assert moments[-1].predicted_state is not None
    assert 'picture' not in {c.name for c in watcher.channels}


def test_pictures_alone_are_enough():
    watcher = make_watcher(topics=(CAMERA,))
    moments = watch(without(recording(1.0), STATES, COMMANDS), watcher)
    assert moments[-1].residual is not None
    assert {c.name for c in watcher.channels} == {'picture', 'stream_health', 'clock_health'}


def test_a_source_without_any_of_the_robots_topics_is_refused():
    with pytest.raises(ConfigError, match=r'none of the topics.*flywheel inspect.*flywheel init'):
        make_watcher(topics=('/other',))


def test_the_order_of_arrival_within_the_lateness_changes_no_moment():
    rows = recording(2.0)
    late = sorted(rows, key=lambda r: r.at_s + (0.15 if r.topic == CAMERA else 0.0))
    assert late != rows
    for one, other in zip(watch(rows), watch(late), strict=True):
        assert one.tick.stamp_ns == other.tick.stamp_ns
        assert np.array_equal(one.tick.state, other.tick.state, equal_nan=True)
        assert np.array_equal(one.tick.action, other.tick.action, equal_nan=True)
        assert one.tick.arrived == other.tick.arrived
        assert (one.residual is None) == (other.residual is None)
        assert one.residual is None or np.array_equal(one.residual, other.residual)


def test_a_known_offset_of_a_topics_clock_is_taken_off():
    clock = replace(ROBOT.clock, topic_offsets={STATES: 0.5})
    watcher = make_watcher(replace(ROBOT, clock=clock))
    assert watcher.stamp_ns(STATES, 0, joints(0.0, (0, 0))) == START_NS + NS // 2


def drive(header_offset_s: float) -> tuple[Watcher, list[Moment]]:
    """Commands that come before the first picture; headers tell another time than the recorder."""
    watcher = make_watcher(drive_robot(), (CAMERA, '/cmd_vel'))
    pictures = [r for r in recording(3.0) if r.topic == CAMERA]
    commands = [twist(i / 20 - 0.01, speed=i / 20) for i in range(60)]
    rows = sorted([*pictures, *commands], key=lambda r: r.at_s)
    return watcher, watch(rows, watcher, log_offset_s=-header_offset_s)


@pytest.mark.parametrize('header_offset_s', [0.0, 0.3, -3600.0, 3600.0])
def test_messages_without_a_header_are_laid_on_the_headers_clock(header_offset_s):
    watcher, moments = drive(header_offset_s)
    pictured = [m for m in moments if m.tick.picture is not None]
    assert len(pictured) >= 44
    assert watcher.log_ns(pictured[-1]) == pytest.approx(
        pictured[-1].tick.stamp_ns - round(header_offset_s * NS), abs=NS
    )
    assert pictured[-1].tick.action[0] == pytest.approx(2.8, abs=0.4)


@pytest.mark.parametrize('header_offset_s', [0.0, -3600.0])
def test_messages_without_a_header_follow_the_headers_when_their_clock_begins_anew(
    header_offset_s,
):
    watcher = make_watcher(drive_robot(), (CAMERA, '/cmd_vel'))
    pictures = [r for r in recording(3.0) if r.topic == CAMERA]
    moments = []
    for lap in range(2):  # the headers' clock begins anew, the recorder's goes on
        for number, row in enumerate(pictures):
            later_s = 3.0 * lap - header_offset_s
            moments += take(watcher, row, later_s)
            moments += take(watcher, twist(row.at_s + 0.01, number), later_s)
    anew = [m for m in moments if m.tick.segment == 1]
    assert len([m for m in anew if m.tick.picture is not None]) >= 40
    assert {m.tick.segment for m in moments} == {0, 1}
    assert anew[-1].tick.action[0] == pytest.approx(len(pictures) - 2, abs=3)


def test_messages_without_a_header_raise_no_doubt_about_clocks():
    watcher, moments = drive(-3600.0)
    (clock,) = (c for c in watcher.channels if c.name == 'clock_health')
    assert moments
    assert clock.evidence(moments[-1]).max() <= 0.1
