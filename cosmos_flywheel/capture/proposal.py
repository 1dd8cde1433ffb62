# SPDX-License-Identifier: Apache-2.0
"""What a bag shows into a proposal for its robot file: cameras, state, action, and why."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, nan
from typing import Any

from cosmos_flywheel.capture.survey import IMAGE, BagSurvey, TopicSurvey
from cosmos_flywheel.core.contract import SCHEMA, Robot
from cosmos_flywheel.core.fields import POSE

FASTEST_HZ = 15
"""The proposed clock is a whole fraction of the camera's rate and no faster than this: slower
pictures move more between ticks, and local engines keep up."""
DEFAULT_HZ = 10.0
COMMAND_WORDS = frozenset(
    ('action', 'actions', 'cmd', 'command', 'commands', 'commanded', 'control', 'desired', 'goal',
     'ref', 'reference', 'setpoint', 'target', 'targets')
)  # fmt: skip
DEPTH_WORDS = frozenset(
    ('depth', 'disparity', 'mask', 'label', 'labels', 'segmentation', 'compresseddepth')
)
DEPTH_ENCODINGS = frozenset(('16UC1', '32FC1', 'mono16'))
PLAIN_WORDS = frozenset(
    ('camera', 'image', 'raw', 'rect', 'color', 'rgb', 'compressed', 'jpeg', 'theora')
)
"""Words of a picture topic that do not tell one camera from another."""

Part = dict[str, Any]
"""One source as the robot file writes it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One topic and what was made of it."""

    role: str
    """`camera`, `state`, `action`, or `left out`."""
    topic: str
    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """A robot file's content, and the reasons for it."""

    document: dict[str, Any]
    choices: tuple[Choice, ...]
    fits: tuple[str, ...]
    """Shipped robots whose every topic and joint this bag has."""


def propose(survey: BagSurvey, name: str, shipped: Sequence[Robot] = ()) -> Proposal:
    """Choose cameras, state and action by type, by the words of topic names, and by count."""
    alive = [topic for topic in survey.topics if topic.count and topic.sample is not None]
    usable = [t for t in survey.topics if t.msgtype in _SHAPES or t.sight]
    choices = [_left_out(topic, _why_dead(topic)) for topic in usable if topic not in alive]
    cameras = _cameras([topic for topic in alive if topic.sight], choices)
    moving = sorted(
        (topic for topic in alive if topic.msgtype in _SHAPES), key=lambda t: (_rank(t), -t.count)
    )
    state = _sources('state', [t for t in moving if not _is_command(t)], choices)
    action = _sources('action', [t for t in moving if _is_command(t)], choices)
    steps_s = {topic.name: topic.pace.step_s for topic in alive}
    pacing = [camera for camera in cameras.values() if camera['primary']] + state + action
    document = {
        'schema': SCHEMA,
        'name': name,
        'task': '',
        'clock': {'hz': _clock_hz(steps_s[pacing[0]['topic']] if pacing else nan)},
        'cameras': cameras,
        'state': state,
        'action': _action(action, steps_s),
        'cosmos': {'domain': 'none'},
    }
    fits = tuple(robot.name for robot in shipped if robot_fits(robot, survey))
    return Proposal(document, tuple(choices), fits)


def proposed_robot(proposal: Proposal) -> Robot | None:
    """The proposal as a robot; None where the bag has nothing to watch."""
    document = proposal.document
    if not (document['cameras'] or document['state'] or document['action']):
        return None
    return Robot.from_mapping(document, place='proposal')


def robot_fits(robot: Robot, survey: BagSurvey) -> bool:
    """Whether the bag has every topic of the robot and the joints that it names."""
    samples = {topic.name: topic.sample for topic in survey.topics if topic.count}
    if not set(robot.topics) <= samples.keys():
        return False
    for source in (*robot.state_sources, *robot.action_sources):
        names = getattr(samples[source.topic], 'name', None)
        if names is not None and not set(source.components) <= set(names):
            return False
    return True


def _cameras(topics: list[TopicSurvey], choices: list[Choice]) -> dict[str, Part]:
    """Cameras by name; of one camera's raw and compressed topic the compressed one is taken."""
    cameras: dict[str, Part] = {}
    taken: dict[str, TopicSurvey] = {}
    for topic in sorted(topics, key=lambda t: (t.msgtype == IMAGE, t.name)):
        name = _camera_name(topic.name)
        if topic.sight is None or not topic.sight.sizes:
            choices.append(_left_out(topic, 'no picture has a size'))
        elif _is_depth(topic):
            choices.append(_left_out(topic, 'depth or labels, not what an eye sees'))
        elif name in taken and _same_camera(topic.name, taken[name].name):
            choices.append(_left_out(topic, f'the same camera as {taken[name].name}'))
        else:
            name = name if name not in taken else f'{name}_{len(taken) + 1}'
            taken[name] = topic
            cameras[name] = {'topic': topic.name, 'view_point': _view_point(topic.name)}
    _choose_primary(cameras, taken, choices)
    return cameras


def _choose_primary(
    cameras: dict[str, Part], taken: Mapping[str, TopicSurvey], choices: list[Choice]
) -> None:
    ranked = sorted(taken, key=lambda name: (-taken[name].count, name))
    for place, name in enumerate(ranked):
        cameras[name]['primary'] = place == 0
        size = taken[name].sight
        height, width = size.sizes[0] if size else (0, 0)
        why = 'the most pictures' if len(ranked) > 1 else 'the only camera'
        what = f'{name}, {width}x{height}' + (', primary' if place == 0 else '')
        why = why if place == 0 else 'fewer pictures than the primary, or later by name'
        choices.append(Choice('camera', taken[name].name, what, why))


def _sources(role: str, topics: Sequence[TopicSurvey], choices: list[Choice]) -> list[Part]:
    """Sources of the topics, in their order; one whose names are taken already is left out."""
    parts: list[Part] = []
    owner: dict[str, str] = {}
    for topic in topics:
        found = list(_SHAPES[topic.msgtype](topic))
        names = [name for part in found for name in part['names']]
        clash = next((owner[name] for name in names if name in owner), None)
        if not names:
            choices.append(_left_out(topic, 'its messages name or hold no numbers'))
        elif len(set(names)) < len(names):
            choices.append(_left_out(topic, 'it names an element twice'))
        elif clash:
            choices.append(_left_out(topic, f'the same names as {clash}, which is busier'))
        else:
            owner.update(dict.fromkeys(names, topic.name))
            parts += found
            fields = ' and '.join(part['field'] for part in found)
            what = f'{fields}, {len(names)} numbers'
            choices.append(Choice(role, topic.name, what, _why_role(topic, role)))
    return parts


def _action(sources: list[Part], steps_s: Mapping[str, float]) -> dict[str, Any]:
    if not sources:
        return {}
    action: dict[str, Any] = {'kind': 'absolute', 'sources': sources}
    step_s = steps_s[sources[0]['topic']]
    if step_s > 0:
        action['rate_hz'] = round(1 / step_s, 1)
    names = {name for source in sources for name in source['names']}
    if {'roll', 'pitch', 'yaw'} <= names:
        action['rotation'] = 'euler_xyz'
    elif {'qx', 'qy', 'qz', 'qw'} <= names:
        action['rotation'] = 'quaternion_xyzw'
    return action


def _joints(topic: TopicSurvey) -> Iterator[Part]:
    units = {'position': 'rad', 'velocity': 'rad/s', 'effort': 'N·m'}
    for field, unit in units.items():
        if len(topic.sample.name) and len(getattr(topic.sample, field)):
            names = [str(name) for name in topic.sample.name]
            yield {'topic': topic.name, 'field': field, 'names': names, 'unit': unit}
            return


def _pose(topic: TopicSurvey) -> Iterator[Part]:
    frame = topic.sample.header.frame_id
    yield {'topic': topic.name, 'field': 'pose', 'names': list(POSE), 'frame': frame}


def _twist(topic: TopicSurvey) -> Iterator[Part]:
    yield {'topic': topic.name, 'field': 'twist', 'names': ['linear.x', 'angular.z']}


def _odometry(topic: TopicSurvey) -> Iterator[Part]:
    message = topic.sample
    yield {'topic': topic.name, 'field': 'pose', 'names': ['x', 'y', 'yaw'],
           'frame': message.header.frame_id}  # fmt: skip
    for part in _twist(topic):
        yield {**part, 'frame': message.child_frame_id}


def _wrench(topic: TopicSurvey) -> Iterator[Part]:
    names = [f'{part}.{axis}' for part in ('force', 'torque') for axis in 'xyz']
    yield {'topic': topic.name, 'field': 'wrench', 'names': names}


def _array(topic: TopicSurvey) -> Iterator[Part]:
    """Named by the layout's label where it lists as many names as there are numbers."""
    width = len(topic.sample.data)
    dimensions = topic.sample.layout.dim
    labels = [part.strip() for part in dimensions[0].label.split(',')] if dimensions else []
    stem = '_'.join(_words(topic.name)) or 'data'
    names = labels if len(labels) == width else [f'{stem}_{i}' for i in range(width)]
    yield {'topic': topic.name, 'field': 'data', 'names': names, 'unit': list(map(_unit, names))}


def _trajectory(topic: TopicSurvey) -> Iterator[Part]:
    names = [str(name) for name in topic.sample.joint_names]
    yield {'topic': topic.name, 'field': 'trajectory', 'names': names, 'unit': 'rad'}


_SHAPES: Mapping[str, Callable[[TopicSurvey], Iterator[Part]]] = {
    'sensor_msgs/msg/JointState': _joints,
    'trajectory_msgs/msg/JointTrajectory': _trajectory,
    'nav_msgs/msg/Odometry': _odometry,
    'geometry_msgs/msg/PoseStamped': _pose,
    'geometry_msgs/msg/TwistStamped': _twist,
    'geometry_msgs/msg/Twist': _twist,
    'geometry_msgs/msg/WrenchStamped': _wrench,
    'std_msgs/msg/Float64MultiArray': _array,
    'std_msgs/msg/Float32MultiArray': _array,
}
"""Types that can be state or action, in the order in which they are taken."""


def _rank(topic: TopicSurvey) -> int:
    return list(_SHAPES).index(topic.msgtype)


def _unit(name: str) -> str:
    if name in ('x', 'y', 'z'):
        return 'm'
    return 'rad' if name in ('roll', 'pitch', 'yaw') else ''


def _words(topic: str) -> list[str]:
    return [word.lower() for word in re.split(r'[^A-Za-z0-9]+', topic) if word]


def _is_command(topic: TopicSurvey) -> bool:
    by_type = topic.msgtype == 'trajectory_msgs/msg/JointTrajectory'
    return by_type or bool(COMMAND_WORDS & set(_words(topic.name)))


def _why_role(topic: TopicSurvey, role: str) -> str:
    if role == 'state':
        return 'its name holds no word for a command'
    words = sorted(COMMAND_WORDS & set(_words(topic.name)))
    return f'its name says {words[0]!r}' if words else 'a trajectory is a command'


def _why_dead(topic: TopicSurvey) -> str:
    if not topic.count:
        return 'no messages'
    return topic.problem or 'its type is not known here'


def _left_out(topic: TopicSurvey, why: str) -> Choice:
    return Choice('left out', topic.name, topic.msgtype, why)


def _is_depth(topic: TopicSurvey) -> bool:
    encoding = topic.sight.encoding if topic.sight else ''
    # compressed_image_transport writes "16UC1; compressed …" for depth.
    return encoding.split(';')[0] in DEPTH_ENCODINGS or bool(DEPTH_WORDS & set(_words(topic.name)))


def _camera_name(topic: str) -> str:
    words = [word for word in _words(topic) if word not in PLAIN_WORDS]
    return '_'.join(words) or 'camera'


def _same_camera(one: str, other: str) -> bool:
    """A transport adds its own name to that of the raw topic."""
    return one.startswith(f'{other}/') or other.startswith(f'{one}/')


def _view_point(topic: str) -> str:
    words = set(_words(topic))
    if words & {'wrist', 'hand', 'gripper'}:
        return 'wrist_view'
    return 'ego_view' if words & {'head', 'ego', 'front', 'chest'} else 'third_person_view'


def _clock_hz(step_s: float) -> float:
    if not step_s > 0:
        return DEFAULT_HZ
    rate_hz = 1 / step_s
    # A rate a little above the limit through jitter is still the limit's.
    return round(rate_hz / max(1, ceil(rate_hz / FASTEST_HZ - 0.05)), 1)
