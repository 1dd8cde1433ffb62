# SPDX-License-Identifier: Apache-2.0
"""`flywheel init BAG -o robot.yaml`: a commented robot file with what a bag suggests."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import wrap
from typing import Any

import yaml

from cosmos_flywheel.bags.source import open_bag
from cosmos_flywheel.capture.proposal import Proposal, propose
from cosmos_flywheel.capture.survey import BagSurvey, survey_bag
from cosmos_flywheel.cli.table import printable
from cosmos_flywheel.core.contract import SCHEMA
from cosmos_flywheel.core.errors import ConfigError
from cosmos_flywheel.store.robots import load_robot, robot_from_text, robot_names

WIDTH = 96


def add_parser(subparsers: Any) -> None:
    """Declare the verb."""
    parser = subparsers.add_parser('init', help='write a robot file for a bag')
    parser.add_argument('bag', type=Path, help='a rosbag2 folder, .mcap, .db3 or .bag')
    parser.add_argument(
        '-o', '--output', type=Path, default=Path('robot.yaml'), help='default: robot.yaml'
    )
    parser.add_argument('--force', action='store_true', help='overwrite the file if it is there')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the robot file and say what to do next."""
    _refuse_overwrite(args.output, args.force)
    with open_bag(args.bag) as bag:
        survey = survey_bag(bag)
    shipped = [load_robot(name) for name in robot_names()]
    proposal = propose(survey, args.output.stem, shipped)
    document = proposal.document
    if not (document['cameras'] or document['state'] or document['action']):
        raise ConfigError(
            f'{args.bag}: no topic can be a camera, state or action; '
            'see what is there with `flywheel inspect`'
        )
    text = robot_text(survey, proposal)
    robot_from_text(text, args.output)  # what is written must load again
    _write(args.output, text)
    print(f'{args.output}: written. Read its comments, correct what is wrong, then try')
    print(f'  flywheel inspect {args.bag} --robot {args.output}')
    return 0


def robot_text(survey: BagSurvey, proposal: Proposal) -> str:
    """The robot file: YAML with a comment on every key and the reason for every choice."""
    document = proposal.document
    parts = (
        _head(survey, proposal),
        _clock(survey, document),
        _cameras(document),
        _states(document),
        _action(document),
        _rest(proposal),
    )
    return '\n'.join(line for part in parts for line in (*part, ''))


def _head(survey: BagSurvey, proposal: Proposal) -> Iterator[str]:
    yield from _comment(f'Suggested by the bag {survey.name}. What was made of its topics:')
    for choice in proposal.choices:
        yield from _comment(f'  {choice.role}: {choice.topic} ({choice.what}): {choice.why}')
    if proposal.fits:
        yield from _comment(
            f'Shipped robots that fit this bag as they are: {", ".join(proposal.fits)}'
        )
    yield ''
    yield f'schema: {SCHEMA}'
    yield f'name: {_scalar(proposal.document["name"])}'
    yield from _comment('What the robot is doing, in words; shown to world models that read text.')
    yield f'task: {_scalar(proposal.document["task"])}'


def _clock(survey: BagSurvey, document: Mapping[str, Any]) -> Iterator[str]:
    yield 'clock:'
    yield from _comment(
        'Ticks per second of the world model; a faster camera is thinned to this.', 2
    )
    yield f'  hz: {_scalar(document["clock"]["hz"])}'
    yield from _comment('A value older than this counts as unknown.', 2)
    yield '  max_age_s: 0.5'
    yield from _comment("Seconds to add to a topic's header stamps where clocks disagree.", 2)
    offsets = {t: s for t, s in survey.clock_offsets.items() if t in _topics(document)}
    yield f'  topic_offsets: {"" if offsets else "{}"}'.rstrip()
    yield from (f'    {_scalar(topic)}: {late_s:.3f}' for topic, late_s in offsets.items())


def _cameras(document: Mapping[str, Any]) -> Iterator[str]:
    if not document['cameras']:
        yield from _comment(
            'No camera is in the bag; one would be "name: {topic: …, primary: true}".'
        )
        yield 'cameras: {}'
        return
    yield from _comment('Names are yours. Exactly one is primary: the model watches that one.')
    yield from _comment(
        'view_point: ego_view, third_person_view, wrist_view or concat_view (guessed).'
    )
    yield 'cameras:'
    for name, camera in document['cameras'].items():
        yield f'  {_scalar(name)}:'
        yield f'    topic: {_scalar(camera["topic"])}'
        yield f'    primary: {_scalar(camera["primary"])}'
        yield f'    view_point: {camera["view_point"]}'


def _states(document: Mapping[str, Any]) -> Iterator[str]:
    yield from _comment('What the robot measures, laid side by side as one vector.')
    if not document['state']:
        yield from _comment('The bag has none.')
        yield 'state: []'
        return
    yield 'state:'
    yield from _source_lines(document['state'], 2)


def _action(document: Mapping[str, Any]) -> Iterator[str]:
    action = document['action']
    yield from _comment('What the robot is told.')
    if not action:
        yield from _comment('The bag has none.')
        yield 'action: {}'
        return
    yield 'action:'
    yield from _comment(
        'absolute: where to be (or how fast); delta: how far to move from here.', 2
    )
    yield f'  kind: {action["kind"]}'
    yield from _comment('The frame of the numbers: joint, base, a frame id.', 2)
    yield '  frame: ""'
    yield from _comment(
        'Form of a rotation among them: none, euler_xyz, quaternion_xyzw, rot6d, …', 2
    )
    yield f'  rotation: {action.get("rotation", "none")}'
    if 'rate_hz' in action:
        yield from _comment('How often the robot is commanded.', 2)
        yield f'  rate_hz: {_scalar(action["rate_hz"])}'
    yield from _comment('The element that is the gripper, and the commands at its two ends:', 2)
    yield from _comment('gripper: {name: gripper, closed: 0.0, open: 1.0}', 2)
    yield '  sources:'
    yield from _source_lines(action['sources'], 4)
    yield from _comment(
        'Which command moves which state, as "command: state". Left out: those of equal name and '
        'unit.', 2
    )  # fmt: skip
    yield from _comment('tracks: {}', 2)


def _rest(proposal: Proposal) -> Iterator[str]:
    yield from _comment(
        'Rules that say whether the task goes well, such as '
        "{name: task failed, topic: /task_result, field: data, bad: {equals: failed}}; sim_arm's "
        'robot file explains them.'
    )
    yield 'outcome: []'
    yield ''
    yield 'cosmos:'
    yield from _comment(
        'The trained domain of Cosmos 3 whose action convention this robot follows, such as '
        'droid_lerobot; none: local engines predict.', 2
    )  # fmt: skip
    yield f'  domain: {proposal.document["cosmos"]["domain"]}'


def _source_lines(sources: list[dict[str, Any]], indent: int) -> Iterator[str]:
    pad = ' ' * indent
    for source in sources:
        yield f'{pad}- topic: {_scalar(source["topic"])}'
        yield from _comment(_FIELD_COMMENTS.get(source['field'], _PATH_COMMENT), indent + 2)
        yield f'{pad}  field: {source["field"]}'
        yield from _list_lines('names', source['names'], indent + 2)
        if 'unit' in source:
            yield from _comment(
                'Commands and states of one unit are compared; correct it.', indent + 2
            )
            yield from _list_lines('unit', source['unit'], indent + 2)
        if source.get('frame'):
            yield f'{pad}  frame: {_scalar(source["frame"])}'


_PATH_COMMENT = 'A dotted path to a number or an array; names are its elements in order.'
_FIELD_COMMENTS = {
    'position': 'position, velocity or effort of a JointState; elements are found by name.',
    'velocity': 'position, velocity or effort of a JointState; elements are found by name.',
    'effort': 'position, velocity or effort of a JointState; elements are found by name.',
    'trajectory': 'First point of a JointTrajectory; elements are found by name.',
    'pose': 'Any of x, y, z, qx, qy, qz, qw, roll, pitch, yaw: metres and radians.',
    'twist': 'Any of linear.x … angular.z: m/s and rad/s.',
    'wrench': 'Any of force.x … torque.z: N and N·m.',
}


def _list_lines(key: str, value: str | list[str], indent: int) -> Iterator[str]:
    """One text, or a list in as many lines as it needs."""
    pad = ' ' * indent
    if isinstance(value, str):
        yield f'{pad}{key}: {_scalar(value)}'
        return
    line = f'{pad}{key}: ['
    for place, item in enumerate(value):
        text = _scalar(item) + (']' if place == len(value) - 1 else ',')
        if len(line) + len(text) > WIDTH:
            yield line.rstrip()
            line = f'{pad}  '
        line += text + ' '
    yield line.rstrip()


def _comment(text: str, indent: int = 0) -> Iterator[str]:
    hanging = ' ' * (2 * (len(text) - len(text.lstrip())))
    lines = wrap(
        printable(text), WIDTH - indent, subsequent_indent=hanging, break_on_hyphens=False
    )
    return (f'{" " * indent}# {line}' for line in lines)


def _scalar(value: str | float | bool) -> str:
    """One YAML scalar; text is quoted where YAML would read it as anything else."""
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, float):
        return f'{value:g}'
    plain = re.fullmatch(r'[A-Za-z_/][\w/.\-]*', value, re.ASCII)
    if plain and yaml.safe_load(value) == value:
        return value
    quoted: str = yaml.safe_dump(value, default_style='"', allow_unicode=True, width=10**9)
    return quoted.rstrip('\n')


def _topics(document: Mapping[str, Any]) -> set[str]:
    sources = [*document['state'], *document['action'].get('sources', [])]
    return {part['topic'] for part in (*document['cameras'].values(), *sources)}


def _refuse_overwrite(path: Path, force: bool) -> None:
    if path.exists() and not force:
        raise ConfigError(
            f'{path}: is there already; add --force to overwrite, or give another -o'
        )


def _write(path: Path, text: str) -> None:
    """Write under another name and rename, so that no half file ever has the name."""
    partial = path.with_name(f'.{path.name}.partial')
    try:
        try:
            partial.write_text(text, encoding='utf-8')
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(
            f'{path}: cannot be written ({error.strerror}); choose another -o'
        ) from error
