# SPDX-License-Identifier: Apache-2.0
"""Episode after episode, without a clock; seen with a world of one number."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from test_sim_record import ONSET_S, STOP_S, Toy

from cosmos_flywheel.core.errors import SimError
from cosmos_flywheel.sim import find_robot
from cosmos_flywheel.sim.live import Objects, Pace, Stage, Truth, Watch, Wish, check_wish
from cosmos_flywheel.sim.record import record
from cosmos_flywheel.sim.world import Said, setup_of

PERIOD_NS = 10**9 // 30


class Told(Toy):
    """The toy, with ears."""

    command_topic, command_type = '/go', 'std_msgs/msg/String'

    def heard(self, message, before):
        if not message:
            raise SimError('/go: empty')
        return np.array([float(message)])

    def standing(self, before):
        return np.zeros(1)


@dataclass
class Seen:
    stage: Stage
    stamp_ns: int = 0
    events: list = field(default_factory=list)

    def go_on(self, ticks: int) -> None:
        for _ in range(ticks):
            if not self.stage.is_ready:
                self.stage.prepare()
            self.events += self.stage.go_on(self.stamp_ns)
            self.stamp_ns += PERIOD_NS

    def truths(self, event: str) -> list:
        found = [e.content for e in self.events if isinstance(e, Truth)]
        return [content for content in found if content['event'] == event]

    def watched(self) -> list[bool]:
        return [e.on for e in self.events if isinstance(e, Watch)]


def on_stage(fault='none', strength=0.4, **options) -> Seen:
    return Seen(Stage(Told(), lambda: Wish('go', fault, strength), **options))


def test_seeds_count_up_and_each_episode_is_told_and_watched():
    seen = on_stage(seed=7)
    seen.go_on(2 * 120)
    assert [t['seed'] for t in seen.truths('start')] == [7, 8]
    assert [t['episode'] for t in seen.truths('end')] == [1, 2]
    assert seen.watched() == [True, False, True, False]
    assert not seen.truths('onset')
    assert seen.truths('end')[0]['onset_ns'] is None


def test_a_fault_is_told_at_its_onset_with_the_stamps_of_its_frames():
    seen = on_stage('shove', 0.004)
    seen.go_on(120)
    (onset,), (end,) = seen.truths('onset'), seen.truths('end')
    assert onset['stamp_ns'] == round(ONSET_S * 30) * PERIOD_NS == end['onset_ns']
    assert end['end_ns'] == round(STOP_S * 30) * PERIOD_NS
    assert end['label']['fault'] == 'shove'
    assert not end['cut']
    assert seen.truths('start')[0]['is_failure'] is True


def test_what_is_said_is_what_a_recording_holds():
    robot = Told()
    seen = on_stage('shove', seed=4)
    seen.go_on(120)
    recording = record(robot, setup_of(robot, 'go', 4, 'shove', 0.4), film=False)
    recorded = [m for m in recording.messages if m.topic == '/place']
    said = [e for e in seen.events if isinstance(e, Said) and e.topic == '/place']
    assert [s.content for s in said] == [m.content for m in recorded]
    pictures = [e for e in seen.events if isinstance(e, Said) and e.topic == '/camera']
    shot = [m for m in recording.messages if m.topic == '/camera']
    assert [bytes(p.content['data']) for p in pictures] == [bytes(m.content['data']) for m in shot]
    assert seen.truths('end')[0]['label'].items() <= recording.label.items()


@pytest.mark.parametrize(('robot', 'task'), [('arm', 'push'), ('base', 'patrol')])
def test_a_real_robot_shows_what_a_recording_shows(rendering, robot, task):
    chosen = find_robot(robot)
    recording = record(chosen, setup_of(chosen, task, 5, 'none', 1.0), seconds=1.0, film=False)
    seen = Seen(Stage(chosen, lambda: Wish(task, 'none', 1.0), seed=5))
    seen.go_on(30)
    seen.stage.close()
    shot = [m.content['data'] for m in recording.messages if m.topic == chosen.camera_topic]
    live = [
        e.content['data']
        for e in seen.events
        if isinstance(e, Said) and e.topic == chosen.camera_topic
    ]
    assert list(map(bytes, live)) == list(map(bytes, shot))


def test_while_it_rests_it_speaks_and_is_not_watched():
    seen = on_stage(pause_s=1.0)
    seen.go_on(120)
    before = len(seen.events)
    seen.go_on(30)
    rest = seen.events[before:]
    assert sum(isinstance(e, Said) and e.topic == '/place' for e in rest) == 30
    assert not any(isinstance(e, Watch | Truth) for e in rest)
    assert not seen.stage.is_ready


def test_an_episode_that_is_cut_says_so_and_the_next_has_the_next_seed():
    seen = on_stage('shove')
    seen.go_on(10)
    seen.events += seen.stage.cut(seen.stamp_ns)
    (end,) = seen.truths('end')
    assert (end['cut'], end['onset_ns']) == (True, None)
    seen.go_on(1)
    assert [t['seed'] for t in seen.truths('start')] == [0, 1]
    assert seen.watched() == [True, False, True]


def test_another_wish_holds_from_the_next_episode_on():
    wishes = [Wish('go', 'none', 1.0)]
    seen = Seen(Stage(Told(), lambda: wishes[-1]))
    seen.go_on(10)
    wishes.append(Wish('go', 'shove', 0.5))
    seen.go_on(111)
    assert [t['fault'] for t in seen.truths('start')] == ['none', 'shove']


def test_commands_from_outside_move_it_until_they_cease():
    seen = on_stage(outside=True)
    seen.go_on(30)
    seen.stage.obey('3')
    seen.go_on(60)
    places = [
        e.content['data'] for e in seen.events if isinstance(e, Said) and e.topic == '/place'
    ]
    assert places[29] == '0.000'
    assert float(places[44]) == pytest.approx(1.5, abs=0.15)
    assert float(places[-1]) == pytest.approx(1.5, abs=0.15)
    with pytest.raises(SimError, match='/go: empty'):
        seen.stage.obey('')


def test_faults_of_the_policy_need_the_policy():
    check_wish(Told(), Wish('go', 'lazy', 1.0), outside=False)
    with pytest.raises(SimError, match="fault 'lazy' changes the commands"):
        check_wish(Told(), Wish('go', 'lazy', 1.0), outside=True)
    with pytest.raises(SimError, match='has no fault'):
        check_wish(Told(), Wish('go', 'shuv', 1.0), outside=False)


def test_objects_come_with_each_frame():
    seen = on_stage()
    seen.go_on(4)
    frames = [e for e in seen.events if isinstance(e, Objects)]
    assert [f.stamp_ns for f in frames] == [0, 2 * PERIOD_NS]
    assert frames[0].poses[0].shape == (7,)
    assert seen.truths('start')[0]['objects'] == ['thing']


def test_worlds_are_closed():
    robot = Told()
    seen = Seen(Stage(robot, lambda: Wish('go', 'none', 1.0)))
    seen.go_on(121)
    seen.stage.close()
    assert [world.closed for world in robot.worlds] == [True] * 4


@dataclass
class Joints:
    name: list
    position: list


def test_the_arm_hears_joints_by_name():
    arm, before = find_robot('arm'), np.arange(6.0)
    heard = arm.heard(Joints(['gripper', 'base'], [0.04, -1.0]), before)
    assert heard.tolist() == [-1.0, 1, 2, 3, 4, 0.04]
    with pytest.raises(SimError, match='names none of base'):
        arm.heard(Joints(['wheel'], [1.0]), before)
    with pytest.raises(SimError, match='finite'):
        arm.heard(Joints(['base'], [np.nan]), before)


def test_periods_are_due_in_real_time_and_lost_time_is_counted():
    pace = Pace(10, 1.0)
    pace.begin(100.0)
    assert pace.take(100.0) == 100.0
    assert pace.take(100.05) is None
    assert pace.take(100.12) == pytest.approx(100.1)
    assert pace.take(101.2) == 101.2  # a second late: lost
    assert pace.lost_s == pytest.approx(1.0)
    assert pace.take(101.25) is None
    assert pace.real_time_factor() == pytest.approx(0.2 / 1.2)


def test_real_time_that_is_kept_is_one():
    pace = Pace(30, 2.0)
    pace.begin(0.0)
    for tick in range(200):
        assert pace.take(tick / 60) is not None
    assert pace.real_time_factor() == pytest.approx(1.0)
